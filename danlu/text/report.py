"""What happened to every document: the numbers behind the report, as one JSON-able dictionary.

Left out on purpose: drawing. The report page is another room's; this one only counts.
"""

from dataclasses import dataclass, field
from typing import Any

from danlu.text.document import Document

SAMPLES_A_REASON, SAMPLE_CHARACTERS = 5, 200
PROBLEMS_KEPT = 200  # of a file with a million bad lines the first two hundred say enough


@dataclass
class Flow:
    """Documents and bytes into and out of one step."""

    documents_in: int = 0
    bytes_in: int = 0
    documents_out: int = 0
    bytes_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass
class Funnel:
    """Counts by source and by step, skipped records by name, and a few samples of what was dropped."""

    steps: dict[str, Flow] = field(default_factory=dict)
    sources: dict[str, list[int]] = field(default_factory=dict)  # source → [documents, bytes]
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0
    samples: dict[str, list[str]] = field(default_factory=dict)

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
        flow.bytes_out += size if after is before else after.bytes

    def drop(self, step: str, document: Document, reason: str) -> None:
        """``step`` dropped a document."""
        flow = self.steps.setdefault(step, Flow())
        flow.documents_in += 1
        flow.bytes_in += document.bytes
        flow.dropped[reason] = flow.dropped.get(reason, 0) + 1
        kept = self.samples.setdefault(reason, [])
        if len(kept) < SAMPLES_A_REASON:
            kept.append(document.text[:SAMPLE_CHARACTERS])

    def reasons(self) -> dict[str, int]:
        """Dropped documents by reason over all steps, the commonest first."""
        total: dict[str, int] = {}
        for flow in self.steps.values():
            for reason, number in flow.dropped.items():
                total[reason] = total.get(reason, 0) + number
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    def to_dict(self) -> dict[str, Any]:
        """The whole funnel for ``funnel.json`` and the report page."""
        return {
            "steps": [{"step": name, **vars(flow)} for name, flow in self.steps.items()],
            "sources": [{"source": name, "documents": n, "bytes": size} for name, (n, size) in self.sources.items()],
            "problems": self.problems,
            "problem_count": self.problem_count,
            "samples": self.samples,
        }
