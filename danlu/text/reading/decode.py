"""Bytes to text, whatever they are in: line by line where one file mixes encodings, and never an error.

UTF-8 is tried first, because bytes that happen to be valid UTF-8 are UTF-8 (a line of other text passes by chance only
when it is a few characters long, and then the neighbouring lines decide). A line that is UTF-8 but for a damaged spot
keeps its text and gets U+FFFD there; any other line is in what the file declares or, by `charset`, most looks like.
"""

import codecs
import re
from collections import Counter

from danlu.text.reading import charset
from danlu.text.reading.faults import Faults

# What the web means by a name (WHATWG Encoding Standard) where Python takes it more narrowly.
WIDER = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030",
    "big5": "big5hkscs", "cp950": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949", "tis-620": "cp874",
    "iso8859-11": "cp874",
}  # fmt: skip
NAMES = {"x-sjis": "cp932", "x-gbk": "gb18030", "x-euc-jp": "euc_jp"}  # unknown to Python
ESCAPED = {"iso2022_jp": b"\x1b", "hz": b"~{"}  # pure ASCII to look at: read only where declared and begun
# In <meta charset=…>, <meta http-equiv=… content="text/html; charset=…">, <?xml encoding=…?>
DECLARED = re.compile(rb"""(?:charset|<\?xml[^>]{0,80}?encoding)\s*=\s*["']?\s*([\w.:-]{2,40})""", re.IGNORECASE)
DECLARED_WITHIN = 2048  # browsers look at 1,024 bytes
HIGH = bytes(range(128, 256))
UNSEEN = bytes([*range(9), *range(14, 27), *range(28, 32), 127])  # controls that no text holds; escape is in some
BINARY_SHARE = 0.05  # random bytes have 0.11, text none; 0.05 leaves room for a damaged one


def known(label: str) -> str:
    """Python's name for a declared encoding, '' if there is none such or it says nothing."""
    label = label.strip().strip("\"'").lower()
    try:
        name = codecs.lookup(NAMES.get(label, label)).name
        b"a".decode(name, "replace")
    except (LookupError, ValueError):
        return ""
    return "" if name.startswith("utf") else WIDER.get(name, name)  # UTF-8 and UTF-16 are tried in any case


def binary(data: bytes) -> bool:
    """Is this no text in any encoding? Null bytes do not count: they stand in damaged text, and in UTF-16."""
    seen = data[: 1 << 16].translate(None, b"\0")
    return len(seen) - len(seen.translate(None, UNSEEN)) > BINARY_SHARE * len(seen)


class Decoder:
    """Decodes one file, a block of whole lines at a time.

    ``legacy`` is what its lines are in that are not UTF-8 ('' while there was none), ``here`` the same for the block
    that was decoded last, and ``utf8`` whether there were lines of UTF-8 too.
    """

    def __init__(self, encoding: str = "auto", declared: str = "") -> None:
        name = "" if encoding == "auto" else codecs.lookup(encoding).name
        self.fixed = "utf-8" if name.startswith(("utf-16", "utf-32")) else name  # `narrow` has made UTF-8 of it
        self.declared, self.legacy, self.here = declared, "", ""
        self.utf8 = False
        self._odd: Counter[str] = Counter()  # lines by encoding
        self._lost = 0
        self._sample = b""

    def __call__(self, data: bytes) -> str:
        """The text of ``data``, which holds whole lines, or one."""
        self.here = ""
        if self.fixed:
            return self._replacing(data, self.fixed)
        escape = ESCAPED.get(self.declared)
        if escape and escape in data:
            return self._replacing(data, self.declared)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return self._mixed(data)
        self.utf8 = self.utf8 or not data.isascii()
        return text

    def whole(self, data: bytes) -> int:
        """How much of ``data`` can be decoded now, where no line ends in it: all but half a character."""
        name = self.fixed or ("utf-8" if _utf8(data) is not None else self.legacy)
        name = name or charset.likeliest(data, self.declared)
        decoder = codecs.getincrementaldecoder(name)("replace")
        decoder.decode(data)
        state = decoder.getstate()[0]
        return (len(data) - len(state)) or len(data)

    def _mixed(self, data: bytes) -> str:
        rows = data.split(b"\n")
        texts = [_utf8(row) for row in rows]
        odd = [row for row, text in zip(rows, texts, strict=True) if text is None]
        if len(self._sample) < charset.SAMPLE:  # what is known grows until there is enough of it
            self._sample += b"\n".join(odd)[: charset.SAMPLE]
            if self._sample:
                self.legacy = charset.likeliest(self._sample, self.declared)
        return "\n".join(self._row(row, text) for row, text in zip(rows, texts, strict=True))

    def _row(self, row: bytes, text: str | None) -> str:
        two_bytes = text is not None and not row.isascii() and max(text) < "\u0800"
        if text is None or (two_bytes and self.legacy and self._by_chance(row)):
            self._odd[self.legacy] += 1
            self.here = self.legacy
            return self._replacing(row, self.legacy)
        if "\ufffd" in text and b"\xef\xbf\xbd" not in row:
            self._lost += text.count("\ufffd")
        self.utf8 = self.utf8 or not row.isascii()
        return text

    def _by_chance(self, row: bytes) -> bool:
        """Is this line with two bytes a character rather in what its neighbours are in?"""
        return charset.bits(row, self.legacy) < charset.bits(row, "utf-8")

    def _replacing(self, data: bytes, encoding: str) -> str:
        text = data.decode(encoding, "replace")
        self._lost += text.count("\ufffd")
        return text

    @property
    def found(self) -> dict[str, str]:
        """For a document's ``meta``: what the last block was in, if that is not UTF-8."""
        return {"encoding": self.here} if self.here else {}

    def tell(self, faults: Faults) -> None:
        """Report what was mixed and what was lost."""
        if self.utf8:
            for encoding, number in self._odd.items():
                faults.mended(f"lines not in UTF-8 like the others, read as {encoding}", number)
        if self._lost:
            faults.mended("characters that could not be decoded, replaced by U+FFFD", self._lost)


def _utf8(row: bytes) -> str | None:
    """The row, if it is UTF-8, or was before it was cut off inside a character or a few bytes of it were damaged."""
    try:
        return row.decode()
    except UnicodeDecodeError as error:
        text = row.decode("utf-8", "replace")
        # One byte of a character after ASCII alone may as well be an accented letter at the end of a line.
        cut_off = error.reason == "unexpected end of data"
        if cut_off and (len(row) - error.start > 1 or not row[: error.start].isascii()):
            return text
        bad = text.count("\ufffd")
        good = len(text) - bad - len(row.translate(None, HIGH))
        return text if good > 3 * bad else None


def page(data: bytes, encoding: str, declared: str, faults: Faults) -> tuple[str, dict[str, str]]:
    """The text of an HTML page and what to note of it. ``declared`` is the HTTP header's charset; a mark goes first."""
    decoder = Decoder(encoding, known(declared))
    if not decoder.declared and (found := DECLARED.search(data, 0, DECLARED_WITHIN)):
        decoder.declared = known(found[1].decode("ascii"))
    text = decoder(data)
    decoder.tell(faults)
    return text, decoder.found
