"""Questions and answers made from docstrings: a few thousand true ones, in English, for a first instruction tuning.

The answer is the docstring's first paragraph, word for word; nothing is invented. The phrasing is chosen by a hash of
the name, so that the same installation gives the same chats. One function in four is asked a second question, its
signature, so that there are conversations of two rounds.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator

from danlu.text.docstrings import Entry
from danlu.text.document import Chat

SHORTEST, LONGEST = 20, 600  # characters of an answer: no stubs, nothing a small model cannot finish
PHRASINGS = {
    "function": ("What does {} do?", "What is {} for?", "Explain {}.", "Tell me about {}.", "what does {} do"),
    "class": ("What is {}?", "What is the class {} for?", "Explain the class {}.", "Tell me about {}."),
    "module": ("What is the module {} for?", "What is {}?", "Tell me about the {} module."),
}
SIGNATURES = ("How do I call it?", "What is its signature?", "Which arguments does it take?")
# An answer that points elsewhere, announces a list, or is a heading, a call or a directive rather than prose.
UNANSWERING = re.compile(
    r"(?i)(see|same as|deprecated|internal|todo|alias)\b|[^\w`'\"(*]|\*\*|[\w.]+\(|.*(===|---|:$|\.\.\.$)|\W*$"
)


def questions(entries: Iterable[Entry]) -> Iterator[Chat]:
    """One chat for each public entry that has an answer; the first of two with the same name counts."""
    seen: set[str] = set()
    for entry in entries:
        answer = first_paragraph(entry.text)
        if not entry.public or entry.name in seen or answer is None:
            continue
        seen.add(entry.name)
        number = int.from_bytes(hashlib.blake2b(entry.name.encode(), digest_size=8).digest(), "big")
        asked = PHRASINGS[entry.kind][number % len(PHRASINGS[entry.kind])].format(entry.name)
        chat = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        if entry.signature and len(entry.signature) < 200 and number // 64 % 4 == 0:
            chat.append({"role": "user", "content": SIGNATURES[number // 256 % len(SIGNATURES)]})
            chat.append({"role": "assistant", "content": f"`{entry.name}{entry.signature}`"})
        yield chat


def first_paragraph(text: str) -> str | None:
    """The first paragraph on one line, ended with a full stop, or None where it answers nothing."""
    answer = " ".join(text.split("\n\n")[0].split()).replace("``", "`")
    if not SHORTEST <= len(answer) <= LONGEST or UNANSWERING.match(answer):
        return None
    answer = answer[0].upper() + answer[1:] if answer[0].islower() and " " in answer else answer
    return answer if answer[-1] in ".!?)" else f"{answer}."
