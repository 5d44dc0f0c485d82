"""Lists of words: a small one of our own, and a user's files.

**Turned, not hashed.** The words below are written with each letter moved thirteen places and each Chinese character
half of its block (`turned` turns them back), so that nobody reads them who did not mean to. A hash would hide them
better and is worse: a list that decides what a model never sees must be open to inspection, and ``turned`` is enough
for that. The list is small and holds only what is hardly ever meant otherwise; words that are also names, animals,
medicine, a topic of the news or part of a harmless Chinese word are left out or stand with exceptions. For more, give
a file.

A file has one entry a line. ``[name]`` begins a category, ``#`` a comment, and an entry after ``!`` is an exception:
what lies inside it does not count (``!体操作品`` beside ``操作``).
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from danlu.base.errors import UserError
from danlu.base.files import existing
from danlu.text.units import Index, Units, runs, units

EXCEPTION = ""  # the category of what does not count
MOST_UNITS = 32  # of one entry
OWN = {
    "profanity": """
shpx, shpxf, shpxrq, shpxre, shpxref, shpxvat, zbgureshpxre, zbgureshpxref, zbgureshpxvat, fuvg, fuvgf, fuvggl,
ohyyfuvg, nffubyr, nffubyrf, ovgpu, ovgpurf, phag, phagf, qvpxurnq, jnaxre, jnaxref, gjng, gjngf, fba bs n ovgpu,
cvrpr bs fuvg, 跍硠芈, 婉硠芈, 跍硠舧鬷, 跍硠偖蒗, 粻硠芈龄, 韚硠芈, 硠芈朼, 硠矖芈, 丟矖芈, 航矖芈, 矖芈朼, 芈瞆眪朼,
离朼, 离蕄, 鲋穫巋, 雷搦眜恿, 鯗軥龄, 鯗茘穻, 鯗遂働, 皟葙葐, 荊葐, 搱搧, 跍巋, 堑钋, 婉闥煬
""",
    "slur": """
avttre, avttref, snttbg, snttbgf, xvxrf, tbbx, tbbxf, jrgonpx, jrgonpxf, enturnq, enturnqf, gbjryurnq, gbjryurnqf,
踯枣鰪, 痑爼, 鑻胺硬, 鑻紌褧襋, 燘眽釒葐, 糰蛴葐
""",
    "sexual": """
oybjwbo, oybjwbof, unaqwbo, tnatonat, phzfubg, phzfubgf, ohxxnxr, qrrcguebng, uneqpber cbea, yvir frk pnzf,
ubg zvysf, oneryl yrtny grraf, 熚朼, 熚搧, 雫锴, 雫婡, 忸坊, 軠企魇, 謐瞺鸵衱看晽
""",
    "threat": """
tb xvyy lbhefrys, v ubcr lbh qvr, 粻鑻紧, 蠄鑻硠, 伍鑻硠, 鑻穨蒶
""",
    EXCEPTION: "硠矖芈芈, 丟矖芈芈, 航矖芈芈, 堑钋鹙, 堑钋麾, 粻鑻紧糰",
}
HALF, BLOCK, CHINESE = 10496, 20992, 0x4E00  # of the block of Chinese characters, as 13 is of the alphabet
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TURN = str.maketrans(LETTERS, LETTERS[13:] + LETTERS[:13]) | {
    CHINESE + i: CHINESE + (i + HALF) % BLOCK for i in range(BLOCK)
}


class Entry(NamedTuple):
    """A word or phrase to look for."""

    text: str
    category: str


class Hit(NamedTuple):
    """An entry met in a text: its first unit, how many units it has, its category."""

    first: int
    size: int
    category: str


def turned(text: str) -> str:
    """``text`` made readable, or unreadable: turning twice changes nothing."""
    return text.translate(TURN)


def own() -> list[Entry]:
    """Our own list, readable."""
    spelled = ((category, turned(words)) for category, words in OWN.items())
    return [Entry(" ".join(word.split()), category) for category, words in spelled for word in words.split(",")]


def read(path: Path) -> list[Entry]:
    """The entries of a user's file."""
    existing(path, remedy="Give a text file with one word a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"invalid UTF-8 at byte {error.start}", where=path, remedy="Save it as UTF-8") from None
    category, found = "words", []
    for number, line in enumerate(lines, 1):
        word = line.partition("#")[0].strip()
        if word.startswith("[") and word.endswith("]") and len(word) > 2:
            category = word[1:-1].strip()
            continue
        if not word:
            continue
        entry = Entry(word.lstrip("! "), EXCEPTION) if word.startswith("!") else Entry(word, category)
        if not 0 < len(units(entry.text).hashes) <= MOST_UNITS:
            what = f"'{word}' has no letters, or more than {MOST_UNITS} words"
            raise UserError(what, where=f"{path}, line {number}", remedy="Give words or phrases")
        found.append(entry)
    if not found:
        raise UserError("holds no words", where=path, remedy="Give a text file with one word a line")
    return found


class Words:
    """Entries to be found in texts, whole words only; a Chinese entry is found wherever its characters stand."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        sizes: dict[int, dict[int, str]] = {}
        for entry in entries:
            hashes = units(entry.text).hashes
            sizes.setdefault(len(hashes), {}).setdefault(int(runs(hashes, len(hashes))[0]), entry.category)
        self._sizes = []  # the longest first: a phrase counts once, and not again for the word in it
        for size in sorted(sizes, reverse=True):
            index = Index(np.array(list(sizes[size]), np.uint64))
            self._sizes.append((size, index, [sizes[size][key] for key in index.keys.tolist()]))

    def hits(self, found: Units) -> Iterator[Hit]:
        """What is met among the units of a text, none inside another; exceptions hide what they cover."""
        taken = None
        for size, index, categories in self._sizes:
            firsts, keys = index.find(runs(found.hashes, size))
            for first, key in zip(firsts.tolist(), keys.tolist(), strict=True):
                if taken is None:
                    taken = np.zeros(len(found.hashes), bool)
                if not taken[first : first + size].all():
                    taken[first : first + size] = True
                    if categories[key] != EXCEPTION:
                        yield Hit(first, size, categories[key])


@lru_cache(maxsize=8)
def listed(files: tuple[Path, ...], with_own: bool) -> Words:
    """The words of ``files`` and of our own list, read once in each process."""
    return Words([entry for path in files for entry in read(path)] + (own() if with_own else []))
