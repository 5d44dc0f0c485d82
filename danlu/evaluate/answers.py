"""What a chat model's answers show without a judge: does it stop by itself, in the right language, unrepeating?"""

import re
from collections import Counter
from dataclasses import dataclass

HAN = re.compile(r"[㐀-鿿豈-﫿]")
LATIN = re.compile(r"[A-Za-z]")


@dataclass(frozen=True)
class Answer:
    """One answer to one prompt."""

    prompt: str
    text: str
    stopped: bool


def language(text: str) -> str:
    """'zh' where Chinese characters are more than a fifth of the letters, 'en' for other letters, '' for none.

    A fifth, because Chinese sentences quote English names freely and a Chinese character says as much as
    several letters.
    """
    han, latin = len(HAN.findall(text)), len(LATIN.findall(text))
    if han + latin == 0:
        return ""
    return "zh" if han > 0.2 * (han + latin) else "en"


def repetition(text: str, size: int = 4) -> float:
    """The share of character 4-grams (white space aside) that occurred earlier in the text: near 1 is a loop."""
    squeezed = "".join(text.split())
    grams = Counter(squeezed[i : i + size] for i in range(len(squeezed) - size + 1))
    total = sum(grams.values())
    return 1 - len(grams) / total if total else 0.0


def stop_rate(answers: list[Answer]) -> float:
    """The share of answers that ended by themselves."""
    return sum(answer.stopped for answer in answers) / max(len(answers), 1)


def same_language_rate(answers: list[Answer]) -> float:
    """The share of answers in the language of their prompt, among prompts that have one."""
    asked = [answer for answer in answers if language(answer.prompt)]
    return sum(language(a.text) == language(a.prompt) for a in asked) / max(len(asked), 1)


def similarity(text: str, reference: str, size: int = 2) -> float:
    """F1 of character pairs (case and white space aside): 1 for the same text, 0 for nothing in common."""
    ours, theirs = (_grams(value, size) for value in (text, reference))
    shared = sum((ours & theirs).values())
    return 2 * shared / max(sum(ours.values()) + sum(theirs.values()), 1)


def _grams(text: str, size: int) -> Counter[str]:
    squeezed = "".join(text.casefold().split())
    return Counter(squeezed[i : i + size] for i in range(max(len(squeezed) - size + 1, 1)))


def quality(answer: Answer, reference: str) -> float:
    """How good an answer is by rules that anyone can check, between 0 and 4.

    One point each for stopping by itself, for the language of the prompt and for not repeating itself, and
    up to one for likeness to the reference.
    """
    stops = float(answer.stopped and bool(answer.text.strip()))
    speaks = float(language(answer.text) == language(answer.prompt))
    return stops + speaks + (1 - repetition(answer.text)) + similarity(answer.text, reference)
