"""What a corpus is made of, and what was taken out of it: the numbers behind the bias and composition report.

Three sides are counted alike: documents that were kept, that a filter dropped, and that were copies of others. So
every share can be read both ways: what the corpus holds, and whether a language, a host or a group of people lost
more than others on the way. Each task of a run counts its own documents and the counts are merged in the order of
tasks; memory is bounded whatever the corpus, and the result does not depend on the number of workers.

Documents wait in a small buffer, because words and scripts are counted by arithmetic on whole arrays, which costs
the same for one short text as for fifty.
"""

import hashlib
import re
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.text.document import Document
from danlu.text.people import LANGUAGES, People, look
from danlu.text.sketch import Lengths, Sample, Tally, printable

SIDES = ("kept", "filtered", "copies")
COPIES = frozenset({"duplicate", "near_duplicate"})  # reasons that mean that another one stayed, here or in an index
SAMPLES, KEPT_SAMPLES, SAMPLE_CHARACTERS = 5, 20, 600
BUFFER, MOST_WAITING = 1 << 18, 1 << 12  # characters (1 MB as numbers), documents
SPOKEN, NONE_SPOKEN = frozenset(LANGUAGES), frozenset[str]()
ALONE = {language: frozenset({language}) for language in LANGUAGES}
UNKNOWN = "unknown"
HOST = re.compile(r"^[a-z][a-z0-9+.-]*://(?:[^/?#@]*@)?(\[[^\]]*\]|[^/?#:@]*)", re.IGNORECASE)
SCRIPTS = (
    ("Latin", ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF), (0xFF21, 0xFF3A), (0xFF41, 0xFF5A))),
    (
        "Han",
        ((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
    ),
    ("Kana", ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F))),
    ("Hangul", ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF))),
    ("Cyrillic", ((0x400, 0x52F),)),
    ("Greek", ((0x370, 0x3FF), (0x1F00, 0x1FFF))),
    ("Arabic", ((0x600, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC))),
    ("Hebrew", ((0x590, 0x5FF),)),
    ("Indic", ((0x900, 0xDFF),)),
    ("Thai, Lao, Khmer, Burmese", ((0xE00, 0xEFF), (0x1000, 0x109F), (0x1780, 0x17FF))),
    ("digits", ((0x30, 0x39), (0xFF10, 0xFF19))),
    ("white space", ((0x9, 0xD), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x2000, 0x200A), (0x3000, 0x3000))),
    ("emoji", ((0x1F300, 0x1FAFF), (0x2600, 0x27BF))),
    (
        "punctuation and symbols",
        ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0xA1, 0xBF), (0x2010, 0x25FF), (0x3001, 0x3004),
         (0x3008, 0x3030), (0xFF01, 0xFF0F), (0xFF1A, 0xFF20), (0xFF3B, 0xFF40), (0xFF5B, 0xFF65)),
    ),
    ("other", ()),
)  # fmt: skip
OTHER = len(SCRIPTS) - 1


@lru_cache(maxsize=1)
def _scripts() -> NDArray[np.uint8]:
    """The number of the script of each character."""
    table = np.full(0x110000, OTHER, np.uint8)
    for number, (_, ranges) in enumerate(SCRIPTS):
        for first, last in ranges:
            table[first : last + 1] = number
    return table


class _Side:
    """The documents of one side."""

    def __init__(self) -> None:
        self.documents = self.bytes = self.characters = self.mixed = 0
        self.tallies = {name: Tally() for name in ("languages", "sources", "domains")}
        self.lengths = {name: Lengths() for name in ("characters", "bytes")}
        self.scripts = np.zeros(len(SCRIPTS), np.int64)
        self.people = People()

    def add(self, documents: list[Document], sizes: list[int]) -> None:
        """Count what is known of ``documents`` without reading them; ``sizes`` are their bytes."""
        lengths, metas = [len(document.text) for document in documents], [document.meta for document in documents]
        self.documents += len(documents)
        self.bytes += sum(sizes)
        self.characters += sum(lengths)
        self.mixed += sum("language_shares" in meta and len(_shares(meta)) > 1 for meta in metas)
        self.tallies["languages"].add_all(zip([meta.get("language") or UNKNOWN for meta in metas], sizes))
        self.tallies["sources"].add_all(zip([document.source for document in documents], sizes))
        hosts = [(host(meta["url"]), size) for meta, size in zip(metas, sizes) if "url" in meta]
        self.tallies["domains"].add_all(hosts)
        self.lengths["characters"].add_all(lengths)
        self.lengths["bytes"].add_all(sizes)
        _count_scripts(self.scripts, [document.text for document in documents])

    def merge(self, other: "_Side") -> None:
        for name in ("documents", "bytes", "characters", "mixed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, tally in self.tallies.items():
            tally.merge(other.tallies[name])
        for name, lengths in self.lengths.items():
            lengths.merge(other.lengths[name])
        self.scripts = self.scripts + other.scripts
        self.people.merge(other.people)

    def to_dict(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in ("documents", "bytes", "characters", "mixed")}
        found |= {name: tally.to_dict() for name, tally in self.tallies.items()}
        found["lengths"] = {name: lengths.bins for name, lengths in self.lengths.items()}
        numbers = zip(SCRIPTS, self.scripts.tolist(), strict=True)
        found["scripts"] = {name: number for (name, _), number in numbers if number}
        found["people"] = self.people.to_dict()
        return found

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "_Side":
        side = cls()
        for name in ("documents", "bytes", "characters", "mixed"):
            setattr(side, name, values[name])
        side.tallies = {name: Tally.from_dict(values[name]) for name in side.tallies}
        for name, lengths in side.lengths.items():
            lengths.bins = list(values["lengths"][name])
        side.scripts = np.array([values["scripts"].get(name, 0) for name, _ in SCRIPTS], np.int64)
        side.people = People.from_dict(values["people"])
        return side


class Composition:
    """Counts documents as they are `kept` or `dropped`; merge them, write them, read them back.

    Words for people are looked for in a ``share`` of the kept and filtered documents, chosen by the hash of their id,
    and only where the language is English, Chinese or not known.
    """

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self.sides = {name: _Side() for name in SIDES}
        self.reasons = Tally()
        self.samples: dict[str, Sample] = {"": Sample(KEPT_SAMPLES)}  # by reason; the kept ones have none
        self._waiting: list[tuple[_Side, Document, int, frozenset[str]]] = []  # the languages to look for words in
        self._characters = 0

    def kept(self, document: Document) -> None:
        """A document that every step handed on, as it is written."""
        self._add("kept", document, "")

    def dropped(self, document: Document, reason: str) -> None:
        """A document that a step dropped for ``reason``."""
        self._add("copies" if reason.removesuffix("_of_index") in COPIES else "filtered", document, reason)

    def _add(self, side: str, document: Document, reason: str) -> None:
        size, place = document.bytes, _place(document.id)
        if reason:
            self.reasons.add(reason, size)
        sample = self.samples.get(reason)
        if sample is None:
            sample = self.samples[reason] = Sample(SAMPLES)
        if sample.wants(place):
            sample.offer(place, printable(document.id, 500), lambda: _shown(document))
        looked_at = side != "copies" and place < self.share * 2**64
        self._waiting.append((self.sides[side], document, size, _languages(document) if looked_at else NONE_SPOKEN))
        self._characters += len(document.text)
        if self._characters >= BUFFER or len(self._waiting) >= MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Count the documents that wait."""
        waiting, self._waiting, self._characters = self._waiting, [], 0
        chosen = [item for item in waiting if item[3]]
        texts = look([document.text for _, document, _, _ in chosen], [spoken for _, _, _, spoken in chosen])
        for side in self.sides.values():
            own = [(document, size) for owner, document, size, _ in waiting if owner is side]
            side.add([document for document, _ in own], [size for _, size in own])
            mine = [number for number, (owner, _, _, _) in enumerate(chosen) if owner is side]
            side.people.count(texts, mine, [chosen[number][2] for number in mine])

    def merge(self, other: "Composition") -> None:
        """Add what a later task counted."""
        self.flush()
        other.flush()
        for name, side in self.sides.items():
            side.merge(other.sides[name])
        self.reasons.merge(other.reasons)
        for reason, sample in other.samples.items():
            self.samples.setdefault(reason, Sample(sample.size)).merge(sample)

    def to_dict(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        self.flush()
        found: dict[str, Any] = {name: side.to_dict() for name, side in self.sides.items()}
        found["reasons"] = self.reasons.to_dict()
        found["samples"] = {
            reason: [{"hash": place, "id": name, **shown} for place, name, shown in sample.items]
            for reason, sample in sorted(self.samples.items())
        }
        return found | {"share": self.share}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Composition":
        """What `to_dict` gave."""
        made = cls(values["share"])
        made.sides = {name: _Side.from_dict(values[name]) for name in SIDES}
        made.reasons = Tally.from_dict(values["reasons"])
        for reason, items in values["samples"].items():
            sample = made.samples.setdefault(reason, Sample(SAMPLES))
            for item in items:
                rest = {key: value for key, value in item.items() if key not in ("hash", "id")}
                sample.items.append((item["hash"], item["id"], rest))
        return made


def host(url: object) -> str:
    """``https://user@www.Example.com:8080/x`` → ``example.com``."""
    match = HOST.match(url) if isinstance(url, str) else None
    return (match[1].lower().removeprefix("www.") if match else "") or UNKNOWN


def _place(name: str) -> int:
    """A number that is as good as random, the same for a document wherever it is met."""
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8, person=b"composition").digest()
    return int.from_bytes(digest, "big")


def _shown(document: Document) -> dict[str, Any]:
    """What the report shows of a document."""
    meta = document.meta
    known = {key: printable(str(meta[key]), 200) for key in ("url", "title", "language") if meta.get(key)}
    return {
        "source": printable(document.source, 200),
        **known,
        "text": printable(document.text, SAMPLE_CHARACTERS),
        "characters": len(document.text),
    }


def _shares(meta: dict[str, Any]) -> dict[str, float]:
    """The languages of a document in several."""
    shares = meta.get("language_shares")
    return shares if isinstance(shares, dict) else {}


def _languages(document: Document) -> frozenset[str]:
    """In which of the languages of the word lists a document is written, as far as is known."""
    language = document.meta.get("language")
    if not language or not isinstance(language, str):
        return SPOKEN
    alone = ALONE.get(language, NONE_SPOKEN)
    return alone | SPOKEN.intersection(_shares(document.meta)) if "language_shares" in document.meta else alone


def _count_scripts(counts: NDArray[np.int64], texts: list[str]) -> None:
    joined = "".join(texts)
    for start in range(0, len(joined), BUFFER):
        part = joined[start : start + BUFFER]
        form, width = ("ascii", "u1") if part.isascii() else ("utf-32-le", "<u4")
        scripts = _scripts().take(np.frombuffer(part.encode(form, "surrogatepass"), width))
        for number in range(len(SCRIPTS)):  # fifteen quick looks: bincount turns each byte into eight first
            counts[number] += np.count_nonzero(scripts == number)
