"""What an instruction run has kept, and the gates that each new instruction and each record passes.

Everything that is dropped is counted in a funnel under its step and its reason, with a few samples.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from danlu.base.seed import derive
from danlu.generate.asking import Asker, Reply, Request
from danlu.text.decontaminate import Decontaminate
from danlu.text.document import Document, Dropped
from danlu.text.instructions import Language, Task, instruction_fault, output_fault
from danlu.text.likeness import Likeness
from danlu.text.report import Funnel

DATA_INSIDE = 4  # evolved tasks may be so many times as long: some bring a table or JSON
LABEL_TOKENS = 16  # enough for 'Yes', 'Different' and a model that says 'Answer:' first


@dataclass(frozen=True)
class Told:
    """What the recipe says about every request and record."""

    method: str
    model: str
    complete: bool
    temperature: float
    top_p: float
    max_new_tokens: int
    batch: int
    seed: int
    similarity: float
    instances: int
    rounds: int
    decontaminate: Decontaminate | None


@dataclass
class Pool:
    """The seeds, the records kept, and how to ask for more."""

    told: Told
    seeds: list[Task]
    languages: tuple[Language, ...]
    asker: Asker
    funnel: Funnel = field(default_factory=Funnel)
    records: list[dict[str, Any]] = field(default_factory=list)
    kept: list[Task] = field(default_factory=list)
    likeness: Likeness = field(init=False)

    def __post_init__(self) -> None:
        self.likeness = Likeness(self.told.similarity)
        for task in self.seeds:
            self.likeness.add(task.prompt if self.told.method == "evol" else task.instruction)

    def draw(self, *names: object) -> random.Random:
        """Random choices of one part, the same on every start."""
        return random.Random(derive(self.told.seed, *names))

    def request(self, key: str, prompt: str, *, label: bool = False) -> Request:
        """One request; of a ``label`` the likeliest few tokens are wanted."""
        told = self.told
        if label:
            return Request(key, prompt, LABEL_TOKENS, 0.0, 1.0, told.complete)
        return Request(key, prompt, told.max_new_tokens, told.temperature, told.top_p, told.complete)

    def ask(self, requests: Sequence[Request], step: str) -> list[Reply | None]:
        """The replies, None where there is none to use; one that was refused is counted."""
        replies = self.asker.ask(requests)
        found: list[Reply | None] = []
        for request, reply in zip(requests, replies, strict=True):
            if reply is not None and reply.finish == "refused":
                self.drop(step, request.key, request.prompt, "refused", reply.note)
                reply = None
            found.append(reply)
        return found

    def drop(self, step: str, name: str, text: str, reason: str, detail: str = "") -> None:
        """Count what goes no further."""
        self.funnel.drop(step, Document(text, name, self.told.method), reason, detail)

    def passed(self, step: str, name: str, text: str) -> None:
        """Count what goes on."""
        document = Document(text, name, self.told.method)
        self.funnel.kept(step, document, document)

    def take_instruction(self, name: str, text: str, language: Language) -> bool:
        """Is it an instruction that nothing before is too much like? If so it is remembered."""
        fault = instruction_fault(text, language, times=DATA_INSIDE if self.told.method == "evol" else 1)
        if fault:
            self.drop("instruction", name, text, fault)
            return False
        self.passed("instruction", name, text)
        near = self.likeness.nearest(text)
        if near is not None:
            self.drop("likeness", name, text, "similar", f"ROUGE-L {near.score:.2f} with number {near.number}")
            return False
        self.passed("likeness", name, text)
        self.likeness.add(text)
        return True

    def take_record(self, task: Task, step: str, fault: str, **origin: Any) -> bool:
        """Keep a record unless it has a ``fault``, or holds an item of an evaluation set."""
        text = f"{task.prompt}\n\n{task.output}"
        if fault:
            self.drop(step, task.id, text, fault)
            return False
        self.passed(step, task.id, text)
        if self.told.decontaminate is not None:
            verdict = self.told.decontaminate(Document(text, task.id, self.told.method))
            if isinstance(verdict, Dropped):
                self.drop("decontaminate", task.id, text, verdict.reason, verdict.detail)
                return False
            self.passed("decontaminate", task.id, text)
        self.kept.append(task)
        self.records.append(
            {
                "instruction": task.instruction,
                "input": task.input,
                "output": task.output,
                "id": task.id,
                "language": task.language,
                "method": self.told.method,
                "model": self.told.model,
                **origin,
            }
        )
        return True


def record_fault(task: Task, stopped: bool) -> str:
    """The reason why a record is not kept, as far as it shows in the record itself, or ''."""
    return output_fault(task.instruction, task.input, task.output, stopped=stopped)
