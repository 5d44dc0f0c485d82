"""What happened to every document: the numbers behind the report, as one JSON-able dictionary.

Workers fill a funnel each, and `Funnel.merge` adds them up in the order of the tasks, so that the sum does not depend
on who worked. Left out on purpose: drawing. The report page is another room's; this one only counts.
"""

from dataclasses import dataclass, field
from typing import Any

from danlu.text.document import Document

SAMPLES_A_REASON, SAMPLE_CHARACTERS = 5, 200
PROBLEMS_KEPT = 200  # of a file with a million bad lines the first two hundred say enough
DETAILS_KEPT = 1000  # which test item met which document, and the like


@dataclass
class Flow:
    """Documents and bytes into and out of one step, and what the step changed in those that it kept."""

    documents_in: int = 0
    bytes_in: int = 0
    documents_out: int = 0
    bytes_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Flow") -> None:
        """Add another worker's counts."""
        self.documents_in += other.documents_in
        self.bytes_in += other.bytes_in
        self.documents_out += other.documents_out
        self.bytes_out += other.bytes_out
        _add(self.dropped, other.dropped)
        _add(self.changes, other.changes)


@dataclass
class Funnel:
    """Counts by source and by step, skipped records by name, and a few samples of what was dropped."""

    steps: dict[str, Flow] = field(default_factory=dict)
    sources: dict[str, list[int]] = field(default_factory=dict)  # source → [documents, bytes]
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0
    samples: dict[str, list[str]] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)  # "document: reason, detail"
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # step → what it wants known

    def read(self, document: Document, source: str) -> None:
        """A document came in from ``source``: a path or a package as the person wrote it."""
        counts = self.sources.setdefault(source, [0, 0])
        counts[0] += 1
        counts[1] += document.bytes

    def problem(self, sentence: str) -> None:
        """A record or file was skipped; ``sentence`` names it."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(sentence)

    def kept(self, step: str, before: Document, after: Document) -> None:
        """``step`` handed a document on."""
        flow = self.steps.setdefault(step, Flow())
        flow.documents_in += 1
        flow.documents_out += 1
        size = before.bytes
        flow.bytes_in += size
        if after is before:
            flow.bytes_out += size
            return
        flow.bytes_out += after.bytes
        old, new = before.meta.get("changes", {}), after.meta.get("changes", {})
        if new != old:
            added = {name: number - old.get(name, 0) for name, number in new.items()}
            _add(flow.changes, {name: number for name, number in added.items() if number})

    def drop(self, step: str, document: Document, reason: str, detail: str = "") -> None:
        """``step`` dropped a document."""
        flow = self.steps.setdefault(step, Flow())
        flow.documents_in += 1
        flow.bytes_in += document.bytes
        flow.dropped[reason] = flow.dropped.get(reason, 0) + 1
        kept = self.samples.setdefault(reason, [])
        if len(kept) < SAMPLES_A_REASON:
            kept.append(document.text[:SAMPLE_CHARACTERS])
        if detail and len(self.details) < DETAILS_KEPT:
            self.details.append(f"{document.id}: {reason}, {detail}")

    def reasons(self) -> dict[str, int]:
        """Dropped documents by reason over all steps, the commonest first."""
        total: dict[str, int] = {}
        for flow in self.steps.values():
            _add(total, flow.dropped)
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    def merge(self, other: "Funnel") -> None:
        """Add what a later task counted."""
        for name, flow in other.steps.items():
            self.steps.setdefault(name, Flow()).add(flow)
        for source, (documents, size) in other.sources.items():
            counts = self.sources.setdefault(source, [0, 0])
            counts[0] += documents
            counts[1] += size
        self.problems = (self.problems + other.problems)[:PROBLEMS_KEPT]
        self.problem_count += other.problem_count
        for reason, texts in other.samples.items():
            self.samples[reason] = (self.samples.get(reason, []) + texts)[:SAMPLES_A_REASON]
        self.details = (self.details + other.details)[:DETAILS_KEPT]
        self.facts |= other.facts

    def to_dict(self) -> dict[str, Any]:
        """The whole funnel for ``funnel.json`` and the report page."""
        return {
            "steps": [{"step": name, **vars(flow)} for name, flow in self.steps.items()],
            "sources": [{"source": name, "documents": n, "bytes": size} for name, (n, size) in self.sources.items()],
            "problems": self.problems,
            "problem_count": self.problem_count,
            "samples": self.samples,
            "details": self.details,
            "facts": self.facts,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Funnel":
        """What `to_dict` gave."""
        steps = {step["step"]: Flow(**{k: v for k, v in step.items() if k != "step"}) for step in values["steps"]}
        sources = {source["source"]: [source["documents"], source["bytes"]] for source in values["sources"]}
        rest = {key: values[key] for key in ("problems", "problem_count", "samples", "details", "facts")}
        return cls(steps=steps, sources=sources, **rest)


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for name, number in more.items():
        total[name] = total.get(name, 0) + number
