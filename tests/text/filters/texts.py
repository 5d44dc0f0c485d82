"""Texts written for the filters: prose that passes all of them, and edits of it that each provoke one reason.

Shared by the tests here and by ``bench/filters.py``, which shows them to datatrove. Every text is made from these few
sentences and from numbers, so it is the same everywhere.
"""

SENTENCES = (
    "The ferry leaves the old harbour at seven, and by noon it has reached the outer islands.",
    "Most of the passengers are farmers who carry seed, tools and letters for their neighbours.",
    "When the weather turns, the captain waits behind the long sandbank until the wind has dropped.",
    "Nobody complains about the delay, because there is coffee below deck and plenty of time to talk.",
    "An engineer from the mainland once offered to dredge a straight channel through the shallows.",
    "The council thanked her politely, read the report twice, and decided to leave everything as it was.",
    "Their reasons were simple: seals rest on the bank in winter, and children learn to sail beside it.",
    "In spring the whole village paints its boats, some in blue, some in a green that fades within a year.",
    "Visitors often ask why the church has no tower; a storm took it two centuries ago.",
    "They rebuilt the walls with stones from the beach, but nobody could agree on the shape of a spire.",
    "So the bell hangs from a wooden frame near the gate, where anyone may ring it in fog.",
    "A teacher keeps the record of tides in a thick ledger that has been passed on for generations.",
    "Her pupils compare her figures with those of the weather service and are usually pleased.",
    "Every autumn a small fair takes place on the meadow, with cheese, wool and two or three musicians.",
    "The baker closes early on that day, and even the ferry stays an hour longer than it should.",
    "Electricity came late to the islands, carried by a cable that fishermen still curse when they drift.",
    "Some families kept their oil lamps and light them on the shortest night of the year.",
    "It is an odd custom, yet strangers who have seen it tend to remember little else.",
    "The young leave for school at fifteen and come back, if they come back, with other accents.",
    "What draws them home is hard to say: the quiet, perhaps, or the way the light changes over water.",
    "Last summer a biologist counted forty kinds of moss on a single wall behind the post office.",
    "She wrote a guide with careful drawings, which the postmaster now sells together with stamps.",
    "Letters arrive twice a week unless there is ice, and then they arrive whenever they can.",
    "An old rule says that mail for the lighthouse must be delivered first, whatever the hour.",
    "The keeper retired long ago, but the rule remains, and so does the lamp that turns by itself.",
    "If you walk the northern path you will find a bench made from the rudder of a wreck.",
    "From there one can see three countries on a clear morning, or none at all for weeks.",
    "Somebody has carved a question into the wood, and each year another hand adds an answer.",
    "None of the answers agree with one another, which seems to be the point of the bench.",
    "I have sat there often, waiting for the boat that brings the newspapers and the bread.",
)
PARAGRAPHS = tuple(" ".join(SENTENCES[start : start + 5]) for start in range(0, 30, 5))
PROSE = "\n\n".join(PARAGRAPHS)
LINES = "\n".join(SENTENCES)
CHINESE = (
    "渡船早上七点离开旧港口，中午就到了外面的岛上。船上的人大多是农民，他们带着种子、工具和给邻居的信。",
    "天气变坏的时候，船长会在长长的沙洲后面等着，一直等到风停下来。没有人抱怨，因为船舱里有热茶，大家有很多话可以说。",
    "有一位工程师曾经建议在浅滩上挖一条直的水道。村里的人很客气地谢了她，把报告读了两遍，然后决定什么也不改变。",
    "他们的理由很简单：冬天海豹在沙洲上休息，孩子们在旁边学习驾船。春天来了，全村人一起给船刷油漆，有的蓝，有的绿。",
    "客人常常问为什么教堂没有塔。两百年前的一场风暴把它吹倒了，后来人们用海边的石头重新砌了墙，可是对塔的样子一直有不同的意见。",
    "所以钟就挂在大门旁边的木架上，起雾的日子谁都可以去敲。老师把潮水的记录写在一本厚厚的册子里，这本册子已经传了好几代人。",
)
MANDARIN = "\n".join(CHINESE)


def numbered(count: int, form: str, start: int = 0) -> list[str]:
    """``form`` with ``count`` numbers in it, one after the other."""
    return [form.format(number) for number in range(start, start + count)]


def spelt(number: int) -> str:
    """A number in made-up words of three syllables, so that no two texts share them by chance."""
    first, second, third = "bcdfghklmnprstvw", "aeiou", "lmnrst"
    out = []
    for _ in range(3):
        out.append(first[number % 16] + second[number % 5] + third[number % 6])
        number = number * 7 // 5 + 11
    return "".join(out)


def strange(count: int, start: int = 0) -> str:
    """``count`` words that occur nowhere else, with a stop word among every three."""
    stops = ("the", "of", "and", "with")
    return " ".join(stops[n // 3 % 4] if n % 3 == 2 else spelt(start + n) for n in range(count))


def copies(n: int, kinds: int, times: int) -> str:
    """``kinds`` runs of exactly ``n`` words that come ``times`` times, each time between other words."""
    runs = [strange(n, 9000 + 100 * kind) for kind in range(kinds)]
    parts = [f"{strange(4, 5000 + 40 * turn)} {runs[turn % kinds]}" for turn in range(kinds * times)]
    return f"{PROSE} {' '.join(parts)}."


TEXTS: dict[str, str] = {
    "prose": PROSE,
    "lines": LINES,
    "empty": "",
    "line feed": "\n",
    "blank": " \n\n \t\n",
    "one line": " ".join(SENTENCES),
    "paragraphs again": "\n\n".join(PARAGRAPHS + PARAGRAPHS[:4] + PARAGRAPHS[:2]),
    "long paragraph again": "\n\n".join((*SENTENCES[:10], PARAGRAPHS[3], PARAGRAPHS[3] + "", "Done.")),
    "lines again": "\n".join(SENTENCES[:8] + ("And so on.",) * 6),
    "long line again": "\n".join((*SENTENCES[:9], PARAGRAPHS[4], PARAGRAPHS[4])),
    "pair of words": PROSE + " " + "very well " * 90,
    "three words": PROSE + " " + "".join(f"day by day {spelt(n)} " for n in range(100)),
    "four words": PROSE + " " + "".join(f"one day at sea {spelt(n)} " for n in range(70)),
    "five words": copies(5, 6, 5),
    "six words": copies(6, 5, 4),
    "seven words": copies(7, 6, 3),
    "eight words": copies(8, 11, 2),
    "nine words": copies(9, 8, 2),
    "ten words": copies(10, 7, 2),
    "twelve words": copies(12, 3, 2),
    "too short": " ".join(SENTENCES[:3]),
    "too long": " ".join(f"{strange(40, 50 * n)}." for n in range(2600)),
    "short words": " ".join("I am in a go to it be of an on up we as by at" for _ in range(2)) + " so to be of. " * 8,
    "long words": " ".join(spelt(n) + spelt(n + 5) for n in range(80)) + " the of and to be.",
    "hashes": PROSE + "\n" + " ".join("#" + spelt(n) for n in range(90)),
    "ellipses": PROSE.replace(", ", "... ").replace(" and ", "... ").replace(" the ", "... ").replace(" of ", "... "),
    "bullets": "\n".join(f"- {sentence}" for sentence in SENTENCES),
    "round bullets": "\n".join(f"  • {sentence}" for sentence in SENTENCES),
    "lines that trail off": "\n".join(
        sentence[:-1] + ("..." if n % 5 < 2 else ".") for n, sentence in enumerate(SENTENCES)
    ),
    "figures": "\n".join(f"{SENTENCES[n]} {n} {n * 17} {n * 29} {n * 3} {n + 5} {n + 40}" for n in range(20)),
    "without stop words": "\n".join(
        " ".join(word for word in sentence.split() if word.lower() not in {"the", "be", "to", "of", "and", "that", "have", "with"})
        for sentence in SENTENCES
    ),
    "placeholder": PROSE + "\n\nLorem ipsum dolor sit amet, and so forth.",
    "cited placeholder": PROSE + "\n\nLorem[3] ipsum dolor sit amet[edit], and so forth.",
    "code": PROSE + "\n\nThe function begins with { and ends when it likes.",
    "code in a short line": PROSE + "\n\n{ }",
    "four sentences": "\n".join((*SENTENCES[:3], " ".join(word for word in SENTENCES[3].split()))),
    "four lines, many sentences": "\n".join(" ".join(SENTENCES[n : n + 3]) for n in range(0, 12, 3)),
    "abbreviations": "Mr. Hall met Dr. Lee in St. Paul at 3.14 p.m. on Jan. 5 e.g. for tea.\nShe paid $3.50 vs. 4.20 in Ill. and left.",
    "no full stops": "\n".join(sentence[:-1] for sentence in SENTENCES),
    "javascript": "\n".join((*SENTENCES, "Please enable JavaScript to see this page properly.")),
    "policies": "\n".join((*SENTENCES, "This site uses cookies as our Privacy Policy explains.", "Terms of use apply to all.")),
    "citations": "\n".join(f"{sentence[:-1]}[{n}]." for n, sentence in enumerate(SENTENCES)),
    "only citations": "[1] [2] [3]\n" * 6,
    "a long word": "\n".join((*SENTENCES, "This is " + "x" * 1001 + " indeed.")),
    "few lines finished": "\n".join(sentence[:-1] if n % 10 else sentence for n, sentence in enumerate(SENTENCES)),
    "short lines": "\n".join((*(SENTENCES[:8]), *numbered(20, "Item {} is here.", 3))),
    "line again": "\n".join((*SENTENCES, SENTENCES[3])),
    "spread out": "\n\n".join(f"{spelt(n)}{spelt(n + 40)} {spelt(n + 7)}{spelt(n + 90)}." for n in range(60)),
    "list": "\n".join(" ".join(sentence.split()[:3]) + "." for sentence in SENTENCES) + " " + SENTENCES[0],
    "poem": "\n\n\n".join(" ".join(SENTENCES[n].split()[:8]) + "," for n in range(30)),
    "mandarin": MANDARIN,
    "mandarin in english": f"{PROSE}\n\n{MANDARIN}",
    "carriage returns": PROSE.replace("\n", "\r\n"),
    "windows marks": PROSE.replace("'", "’").replace(",", " —"),
    "contractions": "\n".join(f"I don't think they'll go; it's what we'd've said on day {n}." for n in range(40)),
    "addresses": "\n".join(f"See https://example.com/a/{n}?b=c or write to me{n}@example.org, and that is it." for n in range(30)),
    "source code": "\n".join(f"    x_{n} = foo.bar(y[{n}], z='a-b/c') # the {n}" for n in range(40)),
    "table": "\n".join(f"{n} | {n * n} | {n * n * n} | 12.5% | 3km" for n in range(40)),
}  # fmt: skip
MANDARIN_TEXTS: dict[str, str] = {
    "mandarin": MANDARIN,
    "one paragraph": MANDARIN.replace("\n", ""),
    "again": MANDARIN + "\n" + MANDARIN,
    "line again": "\n".join((*CHINESE, CHINESE[1], CHINESE[2], CHINESE[3])),
    "pair of words": MANDARIN + "今天天气" * 60,
    "no marks": "\n".join(line.replace("。", "，").rstrip("，") for line in CHINESE),
    "short lines": MANDARIN.replace("，", "\n").replace("。", "。\n"),
    "too short": CHINESE[0],
    "spread out": "\n\n".join(part + "。" for part in MANDARIN.replace("\n", "").split("。") if part)[:200],
    "verse": "。\n".join("高山流水春花秋叶冬雪夏雨清风明星飞鸟走兽日月江河"[n : n + 4] for n in range(20)) + "。",
    "english": PROSE,
    "figures": "。\n".join(
        f"{line[:30]}{' '.join(str(n * 977 + k * k) for k in range(9))}" for n, line in enumerate(CHINESE)
    )
    + "。",
    "without stop words": "。".join(["高山流水春花秋叶冬雪夏雨清风明星飞鸟走兽"[n : n + 7] for n in range(14)] * 3)
    + "。",
    "long words": " ".join("Hochgeschwindigkeit" + str(n) for n in range(60)) + "的。年的。",
}
