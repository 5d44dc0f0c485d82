"""Chinese typesetting: the width of letters and marks, spaces between characters, and marks in a row.

What people type and what scanners read mixes half and full width: ``你好,世界`` and ``你好，世界`` are the same words,
and different tokens. So are ``ＧＰＴ`` and ``GPT``. The rules follow GB/T 15834 (marks in Chinese text are full-width)
and change a mark only where a Chinese character or mark stands right before it: numbers, English, code stay.

Left out on purpose: single quotes (apostrophes), and joining Chinese words that are set apart, unless asked for (张三
李四 are two people).
"""

import re

from danlu.text.prose import HAN, Count, Lines, Spans, replace

WIDE_LETTERS = re.compile("[０-９Ａ-Ｚａ-ｚ]+")
NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}

OPENING, CLOSING = "“‘「『（《〈【", "”’」』）》〉】"
MARKS = {",": "，", ";": "；", ":": "：", "?": "？", "!": "！", ".": "。"}
# After a Chinese character or closing mark, and before another (a space may stand between), the end of the line, or a
# closing mark. A point between characters may be that of a name, see `_ends_sentence`.
MARK = re.compile(
    rf"[,;:?!.](?<=[{HAN}{CLOSING}].)[?!]*(?:[ \t]+(?=[{HAN}{OPENING}])|(?=[{HAN}{OPENING}{CLOSING}\n]|\Z))"
)  # the class stands first because then the search skips to it
NUMERAL = re.compile(r"(?:^|\n)[ \t\u3000]*(?:第?[一二三四五六七八九十百甲乙丙丁]+[章节回篇条]?)\Z")
BRACKETS = re.compile(r"\(([^()\n]{1,100})\)")
QUOTES = re.compile(r'"([^"\n]{1,300})"')
CHINESE = re.compile(f"[{HAN}]")
FOUR, FOUR_BEFORE = re.compile(f"[{HAN}]{{4}}"), re.compile(rf"[{HAN}]{{4}}\Z")
HALF_WIDTH = re.compile(f"[{HAN}][,;!?][{HAN}]")
CHINESE_SIDE = re.compile(f"[{HAN}{OPENING}{CLOSING}，。；：？！、…—]")
TO_ASCII = str.maketrans({**{full: half for half, full in MARKS.items()}, "、": ",", "（": "(", "）": ")"} | {
    "“": '"', "”": '"', "‘": "'", "’": "'", "　": " "})  # fmt: skip
ANY_FULL = re.compile("[，；：？！。、（）“”‘’\u3000]")

LETTER_SPACED = re.compile(f"[{HAN}](?<![{HAN}].)(?:[ \u3000]{{1,2}}[{HAN}]){{2,}}(?![{HAN}])")
ALL_SPACED = re.compile(f"[ \u3000](?<=[{HAN}，。；：？！、].)[ \u3000]*(?=[{HAN}，。；：？！、])")
SPACE = re.compile("[ \u3000]+")
REPEATABLE = "!?.！？。，、；：…～"


def ascii_letters(text: str) -> Count:
    """Full-width Latin letters and digits in ASCII: the part of NFKC that changes no meaning."""
    if text.isascii():
        return text, 0
    return WIDE_LETTERS.subn(lambda found: found.group().translate(NARROW), text)


def chinese_width(text: str) -> Count:
    """Brackets, double quotes and marks between Chinese in full width."""
    if text.isascii() or not CHINESE.search(text):
        return text, 0
    text, brackets = _brackets(text)
    text, quotes = _quotes(text)
    lines = Lines(text)

    def mark(found: re.Match[str]) -> str:
        marks = found.group().rstrip(" \t")
        if lines.is_code(found.start()) or (marks[0] == "." and not _ends_sentence(text, found)):
            return found.group()
        return "".join(MARKS[character] for character in marks)

    text, marks = replace(MARK, mark, text, addresses=True)
    return text, brackets + quotes + marks


def _ends_sentence(text: str, found: re.Match[str]) -> bool:
    """Is a point after a Chinese character a full stop?

    Before a space or the end of a line it is, after a numeral that opens the line excepted (一. 概述). Right before
    another character it is one only where half-width commas stand near and both parts are long: 乔治.华盛顿 is a name.
    """
    point = found.start()
    if found.group() != "." or not FOUR.match(text, found.end()):
        inside = found.end() < len(text) and CHINESE.match(text, found.end()) and found.group() == "."
        return not inside and not NUMERAL.search(text, max(0, point - 12), point)
    near = text[max(0, point - 60) : point + 60].split("\n")
    return bool(FOUR_BEFORE.search(text, max(0, point - 4), point)) and any(map(HALF_WIDTH.search, near))


def _brackets(text: str) -> Count:
    lines = Lines(text)

    def bracket(found: re.Match[str]) -> str:
        before, after = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
        alone = before in ("", "\n") and after in ("", "\n")
        beside = alone or CHINESE_SIDE.match(before) or CHINESE_SIDE.match(after)
        attached = before.isascii() and (before.isalnum() or before in ("_", "]", ")"))  # a call: f(甲)
        if not CHINESE.search(found[1]) or not beside or attached or lines.is_code(found.start()):
            return found.group()
        return f"（{found[1]}）"

    return replace(BRACKETS, bracket, text, addresses=True)


def _quotes(text: str) -> Count:
    if '"' not in text:
        return text, 0
    lines, odd = Lines(text), Spans(_odd_lines(text))

    def quote(found: re.Match[str]) -> str:
        inside, before = found[1], text[found.start() - 1 : found.start()]
        attached = before.isascii() and (before.isalnum() or before in tuple("=([{<_\\"))
        chinese = CHINESE_SIDE.match(inside[0]) or CHINESE_SIDE.match(inside[-1])
        if not chinese or attached or odd.touches(*found.span()) or lines.is_code(found.start()):
            return found.group()
        return f"“{inside}”"

    return replace(QUOTES, quote, text, addresses=True)


def _odd_lines(text: str) -> list[tuple[int, int]]:
    """Lines whose quotes do not pair; which of them open would be a guess."""
    found, start = [], 0
    for line in text.split("\n"):
        if line.count('"') % 2:
            found.append((start, start + len(line)))
        start += len(line) + 1
    return found


def ascii_width(text: str) -> Count:
    """Every full-width mark in ASCII, for those who want one alphabet of marks."""
    return replace(ANY_FULL, lambda found: found.group().translate(TO_ASCII), text)


def join_letters(text: str) -> Count:
    """``今 天 天 气`` without its spaces: three single characters or more, as scanners and justified lines have."""
    if text.isascii():
        return text, 0
    return replace(LETTER_SPACED, lambda found: SPACE.sub("", found.group()), text)


def join_all(text: str) -> Count:
    """No space between any two Chinese characters, for text that was cut into words."""
    return replace(ALL_SPACED, "", text)


def shorten(text: str, most: int) -> Count:
    """No mark that ends or parts sentences more than ``most`` times in a row; rules of one mark alone stay."""
    marks = [mark for mark in ("!?." if text.isascii() else REPEATABLE) if mark * (most + 1) in text]
    if not marks:
        return text, 0
    runs = re.compile(rf"([{''.join(marks)}])\1{{{most},}}")

    def cut(found: re.Match[str]) -> str:
        start, end = found.span()
        alone = (start == 0 or text[start - 1] == "\n") and (end == len(text) or text[end] == "\n")
        return found.group() if alone and found[1].isascii() else found[1] * most

    return replace(runs, cut, text, addresses=True)
