"""Spelling correction: how often it is right, how much it finds, how much it spoils in text that was right.

    make bench NAME=spelling

English (symspell): sentences of an installed package (hsg) with one letter of one word in ten wrong, swapped, missing
or doubled, and the same sentences untouched. Chinese (pycorrector, where it and kenlm are installed): the SIGHAN-2015
test set that pycorrector brings, with a trigram model of characters made here from hsg's sentences, for it brings no
model. The numbers stand in the docstring of `danlu.text.spelling`, so that users know what they ask for.
"""

import importlib.util
import math
import random
import re
import string
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from common import Record, options, write
from private_cases import EN, ZH, sentences

DISCOUNT = 0.75  # of absolute discounting, the usual value (Ney, Essen and Kneser 1994)


def typo(draw: random.Random, word: str) -> str:
    """One letter wrong, as fingers do it."""
    at = draw.randrange(len(word) - 1)
    wrong = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + draw.choice(string.ascii_lowercase) + word[at + 1 :],
    )
    return draw.choice(wrong)


def english(number: int) -> list[Record]:
    """Words put right, words spoilt, and words touched in sentences that were right."""
    from danlu.text.document import Document
    from danlu.text.spelling import Spelling

    draw, step = random.Random(0), Spelling("symspell")
    counts, words = Counter[str](), re.compile("[a-z]{4,}")
    for line in draw.sample(sentences(EN), number):
        wrong = words.sub(lambda found: typo(draw, found[0]) if draw.random() < 0.1 else found[0], line)
        tried = step(Document(wrong, "", ""))
        clean = step(Document(line, "", ""))
        assert isinstance(tried, Document)
        assert isinstance(clean, Document)
        rows = (text.split() for text in (line, wrong, tried.text, clean.text))
        for right, given, now, kept in zip(*rows, strict=True):
            counts["words"] += 1
            counts["touched"] += kept != right
            counts["wrong"] += given != right
            counts["changed"] += now != given
            counts["mended"] += now != given and now == right
    mended, changed, wrong_words = counts["mended"], counts["changed"], counts["wrong"]
    details = {**counts, "touched in 10,000 right words": round(10_000 * counts["touched"] / counts["words"], 1)}
    return [
        Record("English: corrections that are right (symspell)", "all", mended / changed, 1, "share", "more", None,
               runs=changed, details=details),
        Record("English: wrong words put right (symspell)", "all", mended / wrong_words, 1, "share", "more", None,
               runs=wrong_words),
    ]  # fmt: skip


def trigrams(lines: list[str], path: Path) -> None:
    """A character trigram model in ARPA's format, interpolated by absolute discounting."""
    counts: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(4)]
    for line in lines:
        symbols = ["<s>", *line.replace(" ", ""), "</s>"]
        for size in (1, 2, 3):
            counts[size].update(tuple(symbols[at : at + size]) for at in range(len(symbols) - size + 1))
    number = sum(counts[1].values()) - counts[1][("<s>",)]
    unseen = DISCOUNT * len(counts[1]) / number
    chances = {gram: max(count - DISCOUNT, 0) / number + unseen / len(counts[1]) for gram, count in counts[1].items()}
    weights: dict[tuple[str, ...], float] = {}
    for size in (2, 3):
        sums, kinds = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
        for gram, count in counts[size].items():
            sums[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        weights |= {before: DISCOUNT * kinds[before] / sums[before] for before in sums}
        for gram, count in counts[size].items():
            before = gram[:-1]
            chances[gram] = (count - DISCOUNT) / sums[before] + weights[before] * chances[gram[1:]]
    chances[("<unk>",)] = unseen / len(counts[1])
    with path.open("w", encoding="utf-8") as file:
        sizes = [[gram for gram in chances if len(gram) == size] for size in (1, 2, 3)]
        file.write("\\data\\\n" + "".join(f"ngram {size}={len(grams)}\n" for size, grams in enumerate(sizes, 1)))
        for size, grams in enumerate(sizes, 1):
            file.write(f"\n\\{size}-grams:\n")
            for gram in grams:
                chance = -99 if gram == ("<s>",) else math.log10(max(chances[gram], 1e-12))
                weight = f"\t{math.log10(weights.get(gram, 1.0)):.5f}" if size < 3 else ""
                file.write(f"{chance:.5f}\t{' '.join(gram)}{weight}\n")
        file.write("\n\\end\\\n")


def chinese(number: int) -> list[Record]:
    """Characters of SIGHAN-2015 put right and spoilt."""
    from danlu.text.document import Document
    from danlu.text.spelling import Spelling

    found = importlib.util.find_spec("pycorrector")
    if not found or not found.submodule_search_locations or not importlib.util.find_spec("kenlm"):
        print("Chinese is left out: pycorrector and kenlm are not installed")
        return []
    data = Path(found.submodule_search_locations[0]) / "data" / "sighan2015_test.tsv"
    pairs = [line.split("\t") for line in data.read_text(encoding="utf-8").splitlines()[:number]]
    counts = Counter[str]()
    with TemporaryDirectory() as folder:
        model = Path(folder) / "characters.arpa"
        trigrams(sentences(ZH), model)
        step = Spelling("pycorrector", model)
        for given, right in pairs:
            result = step(Document(given, "", ""))
            assert isinstance(result, Document)
            counts["right sentences"] += given == right
            counts["right sentences spoilt"] += given == right != result.text
            for old, new, wanted in zip(given, result.text, right, strict=False):
                counts["wrong"] += old != wanted
                counts["changed"] += old != new
                counts["mended"] += old != new and new == wanted
    mended, changed, wrong = counts["mended"], counts["changed"], counts["wrong"]
    return [
        Record("Chinese: corrections that are right (pycorrector)", "all", mended / max(changed, 1), 1, "share", "more",
               None, runs=changed, details=dict(counts)),
        Record("Chinese: wrong characters put right (pycorrector)", "all", mended / wrong, 1, "share", "more", None,
               runs=wrong),
    ]  # fmt: skip


def main() -> None:
    """Measure and write."""
    given = options(__doc__)
    records = english(300 if given.quick else 10_000) + chinese(20 if given.quick else 10_000)
    write("spelling", records, peers={"symspellpy": "6.10.1", "pycorrector": "1.1.4"}, quick=given.quick)


if __name__ == "__main__":
    main()
