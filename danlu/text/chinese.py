"""Traditional and Simplified Chinese, one into the other, by OpenCC's dictionaries.

A conversion by words: 头发 and 发展 become 頭髮 and 發展. From Simplified to Traditional it has to guess where one
character stands for several, and some of its guesses are wrong (a novel taken there and back differs in 0.07 % of its
characters); from Traditional to Simplified it hardly has to.

The library is ``opencc`` 1.4.2 (C++, Apache-2.0, dictionaries included): 7.5 MB/s to Traditional and 15 MB/s back on
one busy core, where ``opencc-python-reimplemented`` 0.1.7 (pure Python, Apache-2.0) does 0.8 MB/s both ways and
differs in twice as many characters.
"""

import importlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

from danlu.base.errors import MissingExtra, UserError
from danlu.text.document import Document, Dropped, changed
from danlu.text.prose import HAN

Conversion = Literal["", "t2s", "s2t", "tw2s", "tw2sp", "s2tw", "s2twp", "hk2s", "s2hk"]
CHINESE = re.compile(f"[{HAN}]")
UNFIT = re.compile("([\x00\ud800-\udfff]+)")  # what the library ends at, or cannot encode


@dataclass(frozen=True)
class Chinese:
    """Write Chinese in one script; the report counts the lines that changed as ``chinese.t2s`` and so on."""

    convert: Conversion = ""
    """From and to: t traditional, s simplified, tw Taiwan, hk Hong Kong; with p Taiwan's words too (軟體, 软件)."""

    def __post_init__(self) -> None:
        """A `UserError` for a conversion that there is not."""
        if self.convert not in get_args(Conversion):
            rule = f"must be one of {', '.join(map(repr, get_args(Conversion)))}"
            raise UserError(f"{rule}, found {self.convert!r}", where="recipe: convert")

    def __call__(self, document: Document) -> Document | Dropped:
        """The document in the script that was asked for."""
        before = document.text
        if not self.convert or before.isascii() or not CHINESE.search(before):
            return document
        converter = _converter(self.convert)
        text = "".join(part if UNFIT.match(part) else converter.convert(part) for part in UNFIT.split(before) if part)
        lines = zip(before.split("\n"), text.split("\n"), strict=False)
        return changed(document, text, {f"chinese.{self.convert}": sum(old != new for old, new in lines)})


@lru_cache(maxsize=4)
def _converter(convert: str) -> Any:
    try:
        opencc = importlib.import_module("opencc")
    except ImportError:
        raise MissingExtra("opencc", "chinese", f"converting Chinese ({convert})") from None
    return opencc.OpenCC(convert)
