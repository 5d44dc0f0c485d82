"""English words and sentences, cut where spaCy's blank English pipeline cuts them.

The filters of Gopher, C4 and FineWeb are counts of words and sentences, and the numbers in their papers and in
datatrove mean the words of that one tokenizer (spaCy 3.8, ``spacy.blank("en")`` with its sentencizer, MIT). So its
rules are restated here, facts about strings, in another shape: spaCy searches each piece of text with three long
regular expressions again and again; here the two ends of a piece are judged by one character each, and
`danlu.text.filters.words` cuts each distinct piece once.

A piece is what stands between white space. From its ends come off punctuation, quotes, symbols, and behind a digit
units and currencies, one at a time from both sides, until what is left is a known exception (``don't`` → ``do`` and
``n't``) or nothing more comes off. An address on the web stays whole; the rest is split at hyphens, slashes and the
like between letters. At last neighbours that spell an exception are joined again (``Mr`` ``.`` in ``Mr.Smith``).

Left out: symbols newer than Unicode 11 are cut off here and are letters to spaCy 3.8, and an exception that would
only come about across white space (spaCy lets ``( :)`` hide what follows it).
"""

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

from danlu.text.filters.contractions import LONGEST, Cut, exceptions

# fmt: off
# Scripts without capitals count as both cases: Hebrew, Arabic, Indic, Korean, Ethiopic, Chinese, Japanese, ...
UNCASED = (
    "\u0591-\u05f4\u0620-\u064a\u066e-\u06d5\u06e5-\u06ff\u0750-\u077f\u08a0-\u08bd\u0900-\u09ff\u0b80-\u0cff"
    "\u0d80-\u0dff\u1100-\u137f\u2e80-\u2fdf\u2ff0-\u30ff\u31c0-\u31ef\u3200-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\ufb1d-\ufbb1\ufbd3-\ufd3d\ufd50-\ufdc7\ufdf0-\ufdfb\ufe30-\ufe4f\ufe70-\ufefc"
    "\U0001ee00-\U0001eebb\U0001f200-\U0001f2ff\U00020000-\U0002a6df\U0002a700-\U0002ebef\U0002f800-\U0002fa1f"
)
# Where the capitals and small letters are taken from: Latin, Greek, and Cyrillic of Russian and its neighbours.
CASED = (
    (0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x2AF), (0x386, 0x386), (0x388, 0x3A9), (0x3AC, 0x3AF), (0x3B1, 0x3C9),
    (0x3CC, 0x3CE), (0x400, 0x401), (0x403, 0x40A), (0x40C, 0x40D), (0x410, 0x451), (0x453, 0x45A), (0x45C, 0x45D),
    (0x490, 0x491), (0x496, 0x497), (0x4A2, 0x4A3), (0x4AE, 0x4AF), (0x4BA, 0x4BB), (0x4D8, 0x4D9), (0x4E8, 0x4E9),
    (0x1D00, 0x1D25), (0x1D6B, 0x1D77), (0x1D79, 0x1D9A), (0x1E00, 0x1EFF), (0x2C60, 0x2C7B), (0x2C7E, 0x2C7F),
    (0xA722, 0xA76F), (0xA771, 0xA787), (0xA78B, 0xA78E), (0xA790, 0xA7B9), (0xA7FA, 0xA7FA), (0xAB30, 0xAB5A),
    (0xAB60, 0xAB64), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A),
)
MARKS = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
CURRENCIES = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
DOLLARS = ("US$", "C$", "A$")
UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa "
    "Pa mbar mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с "
    "км/ч кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ كم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ غرام جرام جم كغ ملغ "
    "كوب اكواب"
)
# fmt: on
UNIT = frozenset(UNITS.split())
LEADING = frozenset("§%=—–" + MARKS + QUOTES + CURRENCIES)
TRAILING = frozenset("—–" + MARKS + QUOTES)
BEFORE_STOP = frozenset("0123456789%²-+|" + MARKS + QUOTES)  # a full stop after one of these, or a small letter
DIGITS = frozenset("0123456789")
DIGITS_OR_MINUS = DIGITS | {"-"}
HYPHENS = ("-", "–", "—", "~", "--", "---", "——")  # as spaCy tries them
SPLITTING = re.compile(r"[-.,:<>=/+*^~]|[^\w\x00-\x7f]")  # what may split a piece in its middle
LOWER, UPPER, OTHER = 1, 2, 4
# The same for ASCII alone. Each alternative begins with its mark, so that `re` can skip to the next one.
LEADING_ASCII = "".join(mark for mark in sorted(LEADING) if mark.isascii())
TRAILING_ASCII = "." + "".join(mark for mark in sorted(TRAILING) if mark.isascii())
BETWEEN = "(?<=[A-Za-z0-9]{0})(?=[A-Za-z])"
ASCII_MARKS = re.compile(
    r"""(\.(?:\.+|(?<=[a-z'"`,]\.)(?=[A-Z'"`,]))|,(?<=[A-Za-z],)(?=[A-Za-z])"""
    r"|-(?:(?<=[0-9]-)(?=[0-9-])|(?<=[A-Za-z0-9]-)(?:|-|--)(?=[A-Za-z]))"
    + "".join(rf"|{mark}(?<=[0-9]{mark})(?=[0-9-])" for mark in (r"\+", r"\*", r"\^"))
    + "".join(rf"|{mark}{BETWEEN.format(mark)}" for mark in "~:<>=/")
    + ")"
)
LAST_DIGIT = re.compile(r"[0-9][^0-9]*\Z")
# The most frequent shapes, for speed: a word of plain letters, one opening mark before it, one mark behind it.
PLAIN = re.compile(r"""(["(\[]?)([A-Za-z]+)([.,;:!?)"\]]?)""")


def cut(piece: str) -> Cut:
    """The words of a ``piece`` that holds no white space; joined again they are the piece."""
    known = exceptions()
    special = known.get(piece)
    if special is not None:
        return special
    plain = PLAIN.fullmatch(piece)
    if plain is not None:
        before, word, after = plain.groups()
        if not after:
            return (before, *known.get(word, (word,))) if before else (word,)
        if word not in known and (after != "." or (word[-1] >= "a" and word + after not in known)):
            return (before, word, after) if before else (word, after)
    return _joined((piece.isascii() and _simple(piece, known)) or _cut(piece, known))


def _simple(piece: str, known: dict[str, Cut]) -> list[str] | None:
    """What `_cut` gives, in a third of the time, for ASCII without units, currencies, initials and exceptions."""
    rest = piece.lstrip(LEADING_ASCII)
    core = rest.rstrip(TRAILING_ASCII)
    lead, trail = piece[: len(piece) - len(rest)], rest[len(core) :]
    if len(core) < 2 or core[0] in "+." or core[-1] in "+%" or "$" in core or ".." in trail:
        return None
    if trail and trail[0] == "." and not _stops(core + ".", 0, len(core) + 1):
        return None
    if len(core) <= LONGEST and not known.keys().isdisjoint(
        (core, core + trail[:1], lead[-1:] + core, lead[-1:] + core + trail[:1])
    ):
        return None
    own = core[-2:] if core[-1] in "sS" and core[-2] == "'" else ""
    stem = core[:-2] if own else core
    if own and (len(stem) < 2 or not stem.isalpha() or stem in known or lead[-1:] + stem in known):
        return None
    if not core[-1].isdigit() and (digit := LAST_DIGIT.search(core)) and core[digit.start() + 1 :] in UNIT:
        return None
    if not SPLITTING.search(stem, 1) or ("." in stem and _is_address(stem)):
        words = [*lead, stem]
    else:
        words = [*lead, *filter(None, ASCII_MARKS.split(stem))]
    if own:
        words.append(own)
    words.extend(trail)
    return words


def _cut(piece: str, known: dict[str, Cut]) -> list[str]:
    """Take off what comes off the ends of a piece, and split what remains."""
    low, high = 0, len(piece)
    before: list[str] = []
    after: list[str] = []
    while low < high and not _among(known, piece, low, high):
        lead = _leading(piece, low, high)
        if lead and _among(known, piece, low + lead, high):
            before.append(piece[low : low + lead])
            low += lead
            break
        trail = _trailing(piece, low + lead, high)
        if trail and _among(known, piece, low, high - trail):
            after.append(piece[high - trail : high])
            high -= trail
            break
        if not lead and not trail:
            break
        if lead:
            before.append(piece[low : low + lead])
        if trail:
            after.append(piece[high - trail : high])
        low, high = low + lead, high - trail
    if low < high:
        middle = piece[low:high]
        special = known.get(middle)
        if special is not None:
            before += special
        elif not SPLITTING.search(middle, 1) or ("." in middle and _is_address(middle)):
            before.append(middle)
        else:
            before += _split(middle)
    after.reverse()
    return before + after if after else before


def _among(known: dict[str, Cut], piece: str, low: int, high: int) -> bool:
    return 0 < high - low <= LONGEST and piece[low:high] in known


def _leading(piece: str, low: int, high: int) -> int:
    """How many characters come off the front."""
    first = piece[low]
    if first in LEADING:
        return 1
    if first == ".":
        end = low
        while end < high and piece[end] == ".":
            end += 1
        return end - low if end - low > 1 else 0
    if first == "+":
        return 0 if low + 1 < high and piece[low + 1] in DIGITS else 1
    if first in "UCA":
        return next((len(sign) for sign in DOLLARS if piece.startswith(sign, low, high)), 0)
    return 1 if first > "\xa5" and _is_symbol(first) else 0


def _trailing(piece: str, low: int, high: int) -> int:
    """How many characters come off the back; what was taken off the front is not looked at."""
    if low >= high:
        return 0
    last = piece[high - 1]
    if last in TRAILING:
        return 2 if last == "…" and piece.endswith("……", low, high) else 1
    if last == ".":
        start = high
        while start > low and piece[start - 1] == ".":
            start -= 1
        return high - start if high - start > 1 else int(_stops(piece, low, high))
    if last in "sS" and high - low > 1 and piece[high - 2] in "'’":
        return 2
    if last == "+":
        return int(high - 2 >= low and piece[high - 2] in DIGITS)
    if last > "\xa5" and _is_symbol(last):
        return 1
    if last.isalpha() or last in "²³%$" or last in CURRENCIES:
        digit = LAST_DIGIT.search(piece, max(low, high - LONGEST), high)
        rest = piece[digit.start() + 1 : high] if digit else ""
        return len(rest) if rest in UNIT or rest in DOLLARS or (len(rest) == 1 and rest in CURRENCIES) else 0
    return 0


def _stops(piece: str, low: int, high: int) -> bool:
    """Is the single full stop at the end a word of its own, and not part of an initial or a number?"""
    if high - low < 2:
        return False
    previous = piece[high - 2]
    if previous in BEFORE_STOP or _kind(previous) & LOWER:
        return True
    if high - low < 3:
        return False
    two = piece[high - 3]
    return bool(_kind(two) & _kind(previous) & UPPER) or (two == "°" and previous in "FfCcKk")


@lru_cache(maxsize=4096)
def _is_symbol(character: str) -> bool:
    return unicodedata.category(character) == "So"


@lru_cache(maxsize=1)
def _kinds() -> bytes:
    """Code point → `LOWER`, `UPPER`, both, or `OTHER` for the few letters that are neither; 0 is no letter."""
    table = bytearray(0x30000)
    for first, last in CASED:
        for code in range(first, last + 1):
            table[code] = LOWER * chr(code).islower() | UPPER * chr(code).isupper()
    for first, last in re.findall("(.)-(.)", UNCASED):
        table[ord(first) : ord(last) + 1] = bytes([LOWER | UPPER]) * (ord(last) - ord(first) + 1)
    for letter in "ƻǅǈǋǲ":
        table[ord(letter)] = OTHER
    return bytes(table)


def _kind(character: str) -> int:
    code = ord(character)
    return _kinds()[code] if code < 0x30000 else 0


def _split(middle: str) -> list[str]:
    """Split at marks between letters or digits; a mark at the very front belongs to the word behind it."""
    words: list[str] = []
    start = 0
    for found in SPLITTING.finditer(middle, 1):
        at = found.start()
        if at >= start and (length := _mark(middle, at)):
            if at > start:
                words.append(middle[start:at])
            words.append(middle[at : at + length])
            start = at + length
    if start < len(middle):
        words.append(middle[start:])
    return words


def _mark(text: str, at: int) -> int:
    """The length of the mark at ``at`` (not 0) that splits ``text``, 0 if it does not split it."""
    mark, previous = text[at], text[at - 1]
    following = text[at + 1] if at + 1 < len(text) else ""
    if mark == ".":
        if following == ".":
            return next((n for n in range(2, len(text) - at) if text[at + n] != "."), len(text) - at)
        left = previous in QUOTES or _kind(previous) & LOWER
        return int(bool(left and following and (following in QUOTES or _kind(following) & UPPER)))
    if mark == "," or mark in ":<>=/":
        left = _kind(previous) or (mark != "," and previous in DIGITS)
        return int(bool(left and following and _kind(following)))
    if mark in "+-*^" and previous in DIGITS and following and following in DIGITS_OR_MINUS:
        return 1
    if mark in "-–—~":
        left = previous in DIGITS or _kind(previous)
        return next((len(h) for h in HYPHENS if left and text.startswith(h, at) and _letter_at(text, at + len(h))), 0)
    return int(mark == "…" or (mark > "\xa5" and _is_symbol(mark)))


def _letter_at(text: str, at: int) -> bool:
    return at < len(text) and _kind(text[at]) > 0


@lru_cache(maxsize=1)
def _host() -> re.Pattern[str]:
    """A domain, or four octets, then a port and a path, up to the end."""
    letter = "A-Za-z0-9\u00a1-\uffff"
    lower = "".join(chr(code) for code, kind in enumerate(_kinds()[:0x10000]) if kind & LOWER)
    domain = rf"(?:(?:[{letter}][{letter}_-]{{0,62}})?[{letter}]\.)+[{lower}]{{2,63}}"
    return re.compile(
        rf"(?:(?P<octets>\d{{1,3}}(?:\.\d{{1,3}}){{3}})|{domain})(?::\d{{2,5}})?(?:[/?#].*)?\Z", re.DOTALL
    )


SCHEME = re.compile(r"[\w+\-.]{2,}://")
AT = re.compile("@")


def _is_address(text: str) -> bool:
    """A web or mail address: perhaps a scheme, perhaps a user and ``@``, then a host."""
    if _is_host(text, 0):
        return True
    scheme = SCHEME.match(text) if "://" in text else None
    if scheme and _is_host(text, scheme.end()):
        return True
    return any(_is_host(text, at.end()) for at in AT.finditer(text, 1)) if "@" in text else False


def _is_host(text: str, start: int) -> bool:
    found = _host().match(text, start)
    if found is None or found["octets"] is None:
        return found is not None
    first, second, third, last = map(int, found["octets"].split("."))
    private = first in (10, 127) or (first, second) in ((169, 254), (192, 168)) or (first == 172 and 16 <= second <= 31)
    return 1 <= first <= 223 and not private and second <= 255 and third <= 255 and 1 <= last <= 254


Joinable = dict[tuple[str, str], list[tuple[Cut, Cut]]]


@lru_cache(maxsize=1)
def _joinable() -> tuple[frozenset[tuple[str, str]], Joinable]:
    """First two words → sequences that begin with them and spell an exception, with the words of that exception.

    Only exceptions that the rules alone would have cut elsewhere: those that something comes off of or that split.
    """
    found: Joinable = {}
    for piece, words in exceptions().items():
        plain = tuple(_cut(piece, {}))
        if len(plain) > 1 and plain != words:
            found.setdefault((plain[0], plain[1]), []).append((plain, words))
    return frozenset(found), found


def _joined(words: list[str]) -> Cut:
    """Neighbours that spell an exception become its words; of two that overlap the longer counts, then the first."""
    pairs, joinable = _joinable()
    if pairs.isdisjoint(pairwise(words)):
        return tuple(words)
    spans = [
        (-len(plain), start, whole)
        for start, pair in enumerate(pairwise(words))
        for plain, whole in joinable.get(pair, ())
        if tuple(words[start : start + len(plain)]) == plain
    ]
    taken: set[int] = set()
    chosen: dict[int, tuple[int, Cut]] = {}
    for negative, start, whole in sorted(spans):
        span = range(start, start - negative)
        if start not in taken and span[-1] not in taken:
            chosen[start] = (len(span), whole)
        taken.update(span)
    out: list[str] = []
    index = 0
    while index < len(words):
        length, whole = chosen.get(index, (1, (words[index],)))
        out += whole
        index += length
    return tuple(out)
