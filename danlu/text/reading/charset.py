"""Which encoding bytes are in that are not UTF-8: the likeliest reading under a model of characters.

Each language is a list of its commonest characters outside ASCII; the one in place r has the probability c / (r + 3)
(Zipf's law), any other a floor by its kind. An encoding's score is the sum of log2 over its reading of the bytes for
its best language, so encodings of one and of two bytes a character are compared on equal terms.

Measured on 9,320 passages of 30 to 2,000 characters, 23 pairs of encoding and language, half of them from other
documents than those counted: 24 wrong, none of the 2,880 Chinese, Japanese and Korean ones; chardet 7.7 174 wrong,
faust-cchardet 928, charset-normalizer 3.5 2,264. 2 ms a passage, the same as chardet; it runs on files that are not
UTF-8 only. Left out: encodings in the language table of none (a declared one is believed), and ISO-2022-JP and HZ,
which look like ASCII and are read where they are declared.
"""

import math
import re
import unicodedata
from collections import Counter
from functools import lru_cache

# Counted in Debian's handbook, reference and Edu manual, Tatoeba's sentences and 三国演义, the commonest first; the
# Traditional list with the last two converted. Latin lists ordered by hand from the same counts.
# fmt: off
LANGUAGES = {
    "zh": "，。的不：“”我一曰之是有人在了大？来军你兵可他以为将中用下马上于、个此件出到；而！也去这见操后如明何要"
          "自得其子使吾能文时令公天与今行德日说相入言知曹前们二回安会城事引张孔乃主无所本多玄关只分都问生先包很作三"
          "当已地必她者和杀起至正十然命数面被过方从就好看姆那定进皆路同心发又等名取成若刘汝软道布小长里",
    "zh-Hant": "，。的用在不是一”“有個可以使：我件來這之你了曰檔於能中統人案系下要時式者其、行包如大上此程令他它定安到"
               "後文為將作見自體本動軟出與多會也套和器入？們資軍而或爲面同裝過相兵所分新理方；服些名設通對組內字應路需被"
               "指版馬（數問得網命何）地由置前就工從機必明料發說參主進去當取操常選成都子並提管節碼備關！示間",
    "ja": "のすーにを。はるま、でしれていとンストなこルがたイさックらジりフシプリかうティパデドア定ロバ使ラくもけケ"
          "サョよっァきムタュマあグレ合能めセコ場んメせ用ばえ要可的設ブそェ行わネだ作カつ実モ対ウ「」べ理最",
    "ko": "다이어에지을는하용사한시트서로들의니를은모자정가파해기설일듈리있면비고대맵안그수프아스만도치적소데할인여"
          "과으습문라버부명와게유웨보위분전것제나상주드되요장러입실합된내포작컴경토거반려때디신개터며관든야",
    "ru": "оеаитнсрвлмкпдуыязьбчйгжхюцфщшэПё",
    "el": "αοειτνρυσμπκλςηίγάέόδήθωύφώχβΚΤΕΑΣΠξΓΟΙΗ",
    "ar": "الميتنرودةبعهفسحأكقخج،ذصإطزىشثضظغئء”“",
    "fa": "ایردنهمتبوسکزشلفگخج،عپصآقحطچظذضغ؛“”ثژئ",
    "de": "üäöß„“Üé–ÄÖ”", "fr": "éàèê’«»ôâîçùÉœÀûïëÊ°", "es": "óáíúéñ«»“”¿¡üÁÓÍÉÑ—", "it": "èàòùéì«»“”’ÈÀ",
    "pt": "ãçáéíóõêúâà“”ôÁÉÇÍÀ", "sv": "äöåéÄÖÅ”", "nl": "éëïöü’‘“”", "nb": "øåæ«»ØÅéÆ",
    "pl": "ąłóżęśćńź”„śŚŁŻ–", "cs": "íáéžěčřýůšúťďňóŽČŠŘÚ„“", "hr": "čšćžđŽŠČ„”", "ro": "ăîâşţșțŞÎĂ”„",
    "tr": "ıüşçğöİÖŞÇÜ’“”",
}
ENCODINGS = {
    "gb18030": ("zh", "zh-Hant"), "big5hkscs": ("zh-Hant",), "cp932": ("ja",), "euc_jp": ("ja",), "cp949": ("ko",),
    "cp1252": ("fr", "de", "es", "pt", "it", "sv", "nb", "nl"), "cp1250": ("pl", "cs", "hr", "ro"), "cp1254": ("tr",),
    "cp1251": ("ru",), "koi8_r": ("ru",), "cp1253": ("el",), "cp1256": ("ar", "fa"),
}
# fmt: on
DOUBLE = frozenset(["gb18030", "big5hkscs", "cp932", "euc_jp", "cp949"])  # up to two bytes a character and more
EVERY = frozenset(LANGUAGES)
SAMPLE = 1 << 12  # bytes; accuracy does not grow beyond 400 characters
ASCII_BITS, MIXED_BITS = 6.0, 8.0
# A word that goes on from Latin into Greek, Cyrillic or Arabic is an accented letter misread.
MIXED = re.compile(r"[A-Za-z][\u0370-\u06ff]|[\u0370-\u06ff][A-Za-z]")


@lru_cache(maxsize=1)
def _common() -> dict[str, dict[str, float]]:
    """Bits for each common character of each language; a fifth of the probability is left to all the others."""
    tables = {}
    for language, characters in LANGUAGES.items():
        total = 1.25 * sum(1 / (place + 3) for place in range(len(characters)))
        tables[language] = {c: -math.log2(1 / (place + 3) / total) for place, c in enumerate(characters)}
    return tables


@lru_cache(maxsize=1 << 16)
def _rare(character: str, wide: bool) -> float:
    """Bits for a character that is not on the list; ``wide``: in an encoding of Chinese, Japanese or Korean."""
    category, place = unicodedata.category(character), ord(character)
    if character == "\ufffd" or category[0] == "C":  # undecodable; a control, or a place without a character
        return 30.0 if character == "\ufffd" else 25.0
    if not wide:
        return 12.0 if category[0] == "L" else 11.0
    if 0x2500 <= place < 0x2580:  # boxes drawn with lines
        return 9.0
    if 0x3000 <= place < 0x3040 or 0xFF00 <= place <= 0xFF60 or 0x2000 <= place < 0x2070:  # punctuation
        return 11.0
    known = 0x4E00 <= place <= 0x9FFF or 0xAC00 <= place <= 0xD7A3 or 0x3040 <= place <= 0x30FF
    return 14.0 if known else 17.0


def bits(data: bytes, encoding: str) -> float:
    """How unlikely ``data`` is as text in ``encoding``: the bits that its best language needs for it."""
    text = data.decode(encoding, "replace")
    characters = Counter(text)
    ascii_count = sum(number for character, number in characters.items() if character < "\x80")
    others = [(character, number) for character, number in characters.items() if character >= "\x80"]
    languages = ENCODINGS.get(encoding, EVERY)
    wide = encoding in DOUBLE or encoding == "utf-8"
    mixed = 0.0 if wide or "fr" in languages else MIXED_BITS * len(MIXED.findall(text))
    common = _common()
    best = math.inf
    for language in languages:
        table = common[language]
        needed = sum(n * (table[c] if c in table else _rare(c, wide)) for c, n in others)
        best = min(best, needed)
    return best + ASCII_BITS * ascii_count + mixed


def likeliest(data: bytes, declared: str = "") -> str:
    """The encoding of ``data``, which is not UTF-8. What the document declares wins unless it fits clearly worse."""
    sample = data[:SAMPLE]
    needed = {encoding: bits(sample, encoding) for encoding in ENCODINGS}
    best = min(needed, key=needed.__getitem__)
    if declared in needed:
        return declared if needed[declared] <= 1.15 * needed[best] + 20 else best
    if declared:
        undecodable = sample.decode(declared, "replace").count("\ufffd")
        return declared if undecodable * 100 <= len(sample) else best
    return best
