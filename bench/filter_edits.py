"""Edits of real documents for `filters`, each of which provokes a reason that real text seldom gives.

An edit takes a document and a generator of its own and returns another document; none invents sentences, so what comes
out stays as real as a damaged page is.
"""

import re
import sys
from collections.abc import Callable
from random import Random

Edit = Callable[[str, Random], str]


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _some_again(join: str, share: float) -> Edit:
    def edit(text: str, draw: Random) -> str:
        parts = [part for part in text.split(join) if part.strip()]
        for _ in range(int(share * len(parts))):
            parts.insert(draw.randrange(len(parts) + 1), draw.choice(parts))
        return join.join(parts)

    return edit


def _run_again(words: int, gap: int) -> Edit:
    def edit(text: str, draw: Random) -> str:
        found = text.split(" ")
        start = draw.randrange(max(len(found) - words, 1))
        run = found[start : start + words]
        return " ".join(w for n in range(0, len(found), gap) for w in (*found[n : n + gap], *run))

    return edit


def _each_line(change: Callable[[str, int], str]) -> Edit:
    return lambda text, draw: "\n".join(change(line, n) for n, line in enumerate(_lines(text)))


def _each_word(change: Callable[[str, int], str]) -> Edit:
    return lambda text, draw: "".join(change(part, n) for n, part in enumerate(re.split(r"(\s+)", text)))


def _with_line(line: str) -> Edit:
    def edit(text: str, draw: Random) -> str:
        found = _lines(text)
        found.insert(draw.randrange(len(found) + 1), line)
        return "\n".join(found)

    return edit


def _shuffled(text: str, draw: Random) -> str:
    words = text.split()
    draw.shuffle(words)
    return " ".join(words)


STOP_WORDS = re.compile(r"\b(the|be|to|of|and|that|have|with)\b", re.IGNORECASE)
EDITS: dict[str, Edit] = {
    "lines again": _some_again("\n", 0.5),
    "a few lines again": _some_again("\n", 0.05),
    "paragraphs again": _some_again("\n\n", 0.6),
    "two words again": _run_again(2, 6),
    "three words again": _run_again(3, 10),
    "four words again": _run_again(4, 14),
    "five words again": _run_again(5, 24),
    "eight words again": _run_again(8, 48),
    "ten words again": _run_again(10, 70),
    "bullets": _each_line(lambda line, n: f"- {line}"),
    "round bullets": _each_line(lambda line, n: f" • {line}" if n % 12 else line),
    "lines that trail off": _each_line(lambda line, n: line.rstrip(".") + "..." if n % 3 else line),
    "one ellipsis in six words": _each_word(lambda word, n: f"{word}…" if n % 12 == 0 else word),
    "hashes": _each_word(lambda word, n: f"#{word}" if n % 8 == 0 else word),
    "figures": _each_word(lambda word, n: f"{word} {n * 17 % 1000}" if n % 6 == 0 else word),
    "long words": lambda text, draw: re.sub(r"(\w+) (\w+)(?= )", r"\1\2", text),
    "without stop words": lambda text, draw: STOP_WORDS.sub("", text),
    "short": lambda text, draw: " ".join(text.split()[: draw.randrange(20, 70)]),
    "a brace": _with_line("This line has a { in it."),
    "a placeholder": _with_line("Lorem ipsum dolor sit amet, as they say."),
    "javascript": _with_line("Please enable JavaScript in your browser."),
    "cookies": _with_line("This site uses cookies; see our privacy policy."),
    "a very long word": _with_line("Here it is: " + "0123456789" * 101 + "."),
    "citations": _each_word(lambda word, n: f"{word}[{n}]" if n % 14 == 0 else word),
    "unfinished": _each_line(lambda line, n: line.rstrip(".!?") + ","),
    "short lines": lambda text, draw: re.sub(r"((?:\S+ ){4})", r"\1\n", text),
    "empty lines": lambda text, draw: re.sub(r"((?:\S+ ){3})", r"\1\n\n", text),
    "carriage returns": lambda text, draw: text.replace("\n", "\r\n"),
    "tabs and wide spaces": lambda text, draw: text.replace(" ", "\t", 40).replace("\n", "\u2003\n", 9),
    "no spaces": lambda text, draw: text.replace(" ", ""),
    "capitals": lambda text, draw: text.upper(),
    "curly quotation marks": lambda text, draw: re.sub(r"\"(\w)", r"“\1", text).replace('"', "”").replace("'", "’"),
    "words in random order": _shuffled,
}


def edited(texts: list[str], number: int, seed: int = 0) -> list[tuple[str, str]]:
    """``number`` edits, each of another of ``texts``, in turn: the edit's name and the text."""
    draw = Random(seed)
    chosen = draw.sample(texts, min(number, len(texts)))
    names = list(EDITS)
    return [(names[n % len(names)], EDITS[names[n % len(names)]](text, draw)) for n, text in enumerate(chosen)]


if __name__ == "__main__":
    sys.exit("This is what filters compares with; run filters.")
