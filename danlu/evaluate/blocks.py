"""Unicode's blocks (Blocks.txt of the Unicode Character Database) that text for language models is written in.

The common ones by name, 128 of the 340 and more aside, whose characters count as ``other``.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CODES = 0x110000
OTHER = "other"
# First and last code point in hexadecimal, and the name
TABLE = """
0000-007F Basic Latin
0080-00FF Latin-1 Supplement
0100-017F Latin Extended-A
0180-024F Latin Extended-B
0250-02AF IPA Extensions
02B0-02FF Spacing Modifier Letters
0300-036F Combining Diacritical Marks
0370-03FF Greek and Coptic
0400-04FF Cyrillic
0530-058F Armenian
0590-05FF Hebrew
0600-06FF Arabic
0900-097F Devanagari
0980-09FF Bengali
0A00-0A7F Gurmukhi
0A80-0AFF Gujarati
0B80-0BFF Tamil
0C00-0C7F Telugu
0C80-0CFF Kannada
0D00-0D7F Malayalam
0D80-0DFF Sinhala
0E00-0E7F Thai
0E80-0EFF Lao
0F00-0FFF Tibetan
1000-109F Myanmar
10A0-10FF Georgian
1100-11FF Hangul Jamo
1200-137F Ethiopic
1780-17FF Khmer
1800-18AF Mongolian
1E00-1EFF Latin Extended Additional
1F00-1FFF Greek Extended
2000-206F General Punctuation
2070-209F Superscripts and Subscripts
20A0-20CF Currency Symbols
2100-214F Letterlike Symbols
2150-218F Number Forms
2190-21FF Arrows
2200-22FF Mathematical Operators
2300-23FF Miscellaneous Technical
2460-24FF Enclosed Alphanumerics
2500-257F Box Drawing
2580-259F Block Elements
25A0-25FF Geometric Shapes
2600-26FF Miscellaneous Symbols
2700-27BF Dingbats
2E80-2EFF CJK Radicals Supplement
2F00-2FDF Kangxi Radicals
3000-303F CJK Symbols and Punctuation
3040-309F Hiragana
30A0-30FF Katakana
3100-312F Bopomofo
3200-32FF Enclosed CJK Letters and Months
3300-33FF CJK Compatibility
3400-4DBF CJK Unified Ideographs Extension A
4E00-9FFF CJK Unified Ideographs
AC00-D7AF Hangul Syllables
E000-F8FF Private Use Area
F900-FAFF CJK Compatibility Ideographs
FB50-FDFF Arabic Presentation Forms-A
FE00-FE0F Variation Selectors
FE30-FE4F CJK Compatibility Forms
FE70-FEFF Arabic Presentation Forms-B
FF00-FFEF Halfwidth and Fullwidth Forms
1D400-1D7FF Mathematical Alphanumeric Symbols
1F300-1F5FF Miscellaneous Symbols and Pictographs
1F600-1F64F Emoticons
1F680-1F6FF Transport and Map Symbols
1F900-1F9FF Supplemental Symbols and Pictographs
20000-2A6DF CJK Unified Ideographs Extension B
"""
BLOCKS = tuple(
    (int(first, 16), int(last, 16), name)
    for span, _, name in (line.partition(" ") for line in TABLE.strip().splitlines())
    for first, _, last in [span.partition("-")]
)
NAMES = (*(name for _, _, name in BLOCKS), OTHER)


@lru_cache(maxsize=1)
def table() -> NDArray[np.uint8]:
    """The number of the block of each code point, an index into `NAMES`."""
    found = np.full(CODES, len(BLOCKS), np.uint8)
    for number, (first, last, _) in enumerate(BLOCKS):
        found[first : last + 1] = number
    return found
