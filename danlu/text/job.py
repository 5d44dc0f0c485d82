"""A refinery run cut into tasks that any worker may take, in any order, once or again.

The steps fall into segments: each ends with a `CorpusStep`, which must see every document of the segment before the
next begins, and the last ends with the output. A task of a segment reads what the segment before left of it, or for
the first one its part of the raw input, and leaves files that are each wholly there; ``NNNNN.json``, its funnel, comes
last and says that the task is done. So a run that stops goes on at the first task without one.

What crashes a worker, hangs it, or makes a step raise costs one document: `Watch` keeps, in a file that outlives the
process, which document is in work, and one that was met twice is set aside under the reason ``poison``.
"""

import itertools
import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.base.files import remove, write_text
from danlu.text.composition import Composition
from danlu.text.corpus import CorpusStep
from danlu.text.document import Document, Dropped, Step
from danlu.text.report import Flow, Funnel
from danlu.text.split import Side, position
from danlu.text.write import Shards, read_documents

TRIES = 2
READING, WORKING, FINISHING = range(3)
STATE = struct.Struct("<16sqq")  # run, document, phase
PART_BITS = 40  # a document being read is known by its part of the task and its place in it
READ = "read"  # the step under whose name the report shows what was lost before the first step


class Watch:
    """Where a task is, kept in a file: the document in work, and how often that document ended a worker."""

    def __init__(self, path: Path, run: str) -> None:
        self._crashes_path = path.with_suffix(".crashes")
        self._run = run.encode()[:16].ljust(16)
        self.crashes: dict[str, int] = {}
        if self._crashes_path.exists():
            self.crashes = json.loads(self._crashes_path.read_text(encoding="utf-8"))
        before = state(path)
        if before is not None and before[0] == self._run:  # this run's worker died; another run's was stopped
            key = f"{before[1]}:{before[2]}"
            self.crashes[key] = self.crashes.get(key, 0) + 1
            write_text(self._crashes_path, json.dumps(self.crashes))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._file = path, os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)

    def at(self, document: int, phase: int) -> None:
        """The kernel keeps what is written here even if this process is killed the next moment."""
        os.pwrite(self._file, STATE.pack(self._run, document, phase), 0)

    def poison(self, document: int, phase: int) -> bool:
        """Has this document ended `TRIES` workers in this phase?"""
        return self.crashes.get(f"{document}:{phase}", 0) >= TRIES

    def finished(self) -> None:
        """The task is done: nothing is in work."""
        remove(self._path)
        remove(self._crashes_path)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def state(path: Path) -> tuple[bytes, int, int] | None:
    """(run, document, phase) that a `Watch` wrote last, or None."""
    try:
        return STATE.unpack(path.read_bytes())
    except (OSError, struct.error):
        return None


@dataclass(frozen=True)
class Segment:
    """Steps that take one document at a time, and the corpus step that ends them (none at the end of the run)."""

    steps: dict[str, Step]
    name: str = ""
    corpus: CorpusStep | None = None


def segments(steps: Mapping[str, Step | CorpusStep]) -> list[Segment]:
    """Cut ``steps`` behind each corpus step."""
    cut, pending = list[Segment](), dict[str, Step]()
    for name, step in steps.items():
        if isinstance(step, CorpusStep):
            cut.append(Segment(pending, name, step))
            pending = {}
        else:
            pending[name] = step
    return [*cut, Segment(pending)]


@dataclass(frozen=True)
class Job:
    """Everything a worker needs. ``read(task, funnel)`` yields the raw documents of a task, one iterator a part."""

    steps: Mapping[str, Step | CorpusStep]
    read: Callable[[int, Funnel], Iterable[Iterable[Document]]]
    tasks: int
    out: Path
    run: str  # tells this run's crashed workers from a run that a person stopped
    validation_share: float = 0.0
    seed: int = 0
    rejects: bool = False
    composition: bool = True

    @cached_property
    def segments(self) -> list[Segment]:
        """The steps, cut behind each corpus step."""
        return segments(self.steps)

    def folder(self, number: int) -> Path:
        """Where segment ``number`` keeps its files; hidden, so that it is no output."""
        return self.out / ".work" / f"{number:02d}"

    def documents(self, number: int, task: int) -> Path:
        """The folder of documents that segment ``number`` leaves of a task."""
        return self.folder(number) / "documents" / f"{task:05d}"

    def done(self, number: int, task: int) -> Path:
        """The file that says so, and what was counted."""
        return self.folder(number) / f"{task:05d}.json"

    def watch(self, number: int, task: int) -> Path:
        """Where the task is, for whoever looks."""
        return self.folder(number) / f"{task:05d}.at"

    @property
    def border(self) -> float:
        """Positions below it are validation: the share, unless `balance` moved it."""
        moved = self.out / ".work" / "border.json"
        return float(json.loads(moved.read_text(encoding="utf-8"))) if moved.exists() else self.validation_share


@dataclass
class _Task:
    """One task at work: what it counts and where it writes."""

    job: Job
    number: int
    task: int
    watch: Watch
    funnel: Funnel = field(default_factory=Funnel)
    composition: Composition = field(default_factory=Composition)
    rejected: dict[str, Shards] = field(default_factory=dict)
    open: ExitStack = field(default_factory=ExitStack)

    def drop(self, step: str, document: Document, dropped: Dropped) -> None:
        """Count it, remember it, and write it among the rejects if they are wanted."""
        self.funnel.drop(step, document, dropped.reason, dropped.detail)
        if self.job.composition:
            self.composition.dropped(document, dropped.reason)
        if self.job.rejects:
            if dropped.reason not in self.rejected:
                prefix = f"{self.task:05d}-{self.number:02d}-"
                shards = Shards(self.job.out / "rejects" / dropped.reason, prefix=prefix)
                self.rejected[dropped.reason] = self.open.enter_context(shards)
            self.rejected[dropped.reason].add(document)


def run_task(job: Job, number: int, task: int) -> None:
    """Do one task of segment ``number``, unless it is done."""
    if job.done(number, task).exists():
        return
    segment = job.segments[number]
    with Watch(job.watch(number, task), job.run) as watch:
        work = _Task(job, number, task, watch)
        facts: dict[str, Any] = {}
        with work.open:
            documents = _kept(work, segment.steps)
            if segment.corpus is None:
                facts = _write_output(work, documents)
            else:
                _look(work, segment.corpus, documents)
        result = {"funnel": work.funnel.to_dict(), "composition": work.composition.to_dict(), **facts}
        write_text(job.done(number, task), json.dumps(result, ensure_ascii=False))
        watch.finished()


def _look(work: _Task, corpus: CorpusStep, documents: Iterable[Document]) -> None:
    """Keep the documents for the next segment, and let the corpus step see them on their way."""
    folder = work.job.documents(work.number, work.task)
    remove(folder)
    with Shards(folder) as shards:
        passing = _passing(documents, shards)
        corpus.look(passing, work.job.folder(work.number) / "corpus", work.task)
        for _ in passing:  # whatever it did not care to look at is kept all the same
            pass


def _passing(documents: Iterable[Document], shards: Shards) -> Iterator[Document]:
    for document in documents:
        shards.add(document)
        yield document


def _kept(work: _Task, steps: Mapping[str, Step]) -> Iterator[Document]:
    """What every step of the segment hands on."""
    for name in steps:
        work.funnel.steps.setdefault(name, Flow())  # a step that no document reached is still a line of the report
    for index, document in enumerate(_source(work)):
        work.watch.at(index, WORKING)
        if work.watch.poison(index, WORKING):
            work.drop(next(iter(steps), READ), document, Dropped("poison", "it ended two workers"))
        else:
            kept = _through(document, steps, work)
            if kept is not None:
                yield kept
    work.watch.at(-1, FINISHING)


def _through(document: Document, steps: Mapping[str, Step], work: _Task) -> Document | None:
    for name, step in steps.items():
        result = _guarded(step, document)
        if isinstance(result, Dropped):
            work.drop(name, document, result)
            return None
        work.funnel.kept(name, document, result)
        document = result
    return document


def _guarded(step: Step, document: Document) -> Document | Dropped:
    """``step`` on a document; one that raises twice sets the document aside, never the run."""
    for attempt in range(TRIES):
        try:
            return step(document)
        except (UserError, OSError, MemoryError):
            raise  # the recipe, the disk or the machine is at fault, not this document
        except Exception as error:
            if attempt == TRIES - 1:
                return Dropped("poison", f"{type(error).__name__}: {error}")
    raise AssertionError("unreachable")


def _source(work: _Task) -> Iterator[Document]:
    """The documents that come into the segment."""
    job, number, task = work.job, work.number, work.task
    if number == 0:
        for part, documents in enumerate(job.read(task, work.funnel)):
            yield from _watched(part, iter(documents), work)
        return
    before = job.segments[number - 1]
    assert before.corpus is not None
    documents = stored(job.documents(number - 1, task))
    verdicts = before.corpus.apply(documents, job.folder(number - 1) / "corpus", task)
    work.funnel.steps.setdefault(before.name, Flow())
    for document, verdict in verdicts:
        if isinstance(verdict, Dropped):
            work.drop(before.name, document, verdict)
        else:
            work.funnel.kept(before.name, document, verdict)
            yield verdict


def _watched(part: int, documents: Iterator[Document], work: _Task) -> Iterator[Document]:
    """A part's documents, up to the one that cannot be read without losing the worker."""
    last = "its beginning"
    for place in itertools.count(part << PART_BITS):
        work.watch.at(place, READING)
        if work.watch.poison(place, READING):
            work.funnel.problem(f"{last}: what follows ended two workers as it was read; the rest of its file skipped")
            return
        document = next(documents, None)
        if document is None:
            return
        last = document.id
        yield document


def stored(folder: Path) -> Iterator[Document]:
    """The documents a segment left of a task; there may be none."""
    return read_documents(folder) if any(folder.glob("*.parquet")) else iter(())


def _write_output(work: _Task, documents: Iterable[Document]) -> dict[str, Any]:
    """Train and validation shards of one task, and what `balance` must know of it."""
    job, prefix, border = work.job, f"{work.task:05d}-", work.job.border
    folders: dict[Side, Path] = {"train": job.out / "train", "validation": job.out / "validation"}
    least, most = math.inf, -math.inf
    for folder in folders.values():
        for stale in folder.glob(f"{prefix}*.parquet"):
            remove(stale)
    with Shards(folders["train"], prefix=prefix) as train, Shards(folders["validation"], prefix=prefix) as held_out:
        written: dict[Side, Shards] = {"train": train, "validation": held_out}
        for document in documents:
            place = position(document.text, job.seed) if job.validation_share else 1.0
            least, most = min(least, place), max(most, place)
            written["validation" if place < border else "train"].add(document)
            if job.composition:
                work.composition.kept(document)
    counts = {side: [shards.documents, shards.bytes] for side, shards in written.items()}
    return {"written": counts, "positions": [least, most] if least <= most else []}


def balance(job: Job) -> list[int]:
    """The tasks to write anew because one side of the split stayed empty, after moving the border to mend it.

    The document nearest to the border changes sides, with its copies: a choice that depends on the texts alone.
    """
    number = len(job.segments) - 1
    results = {task: json.loads(job.done(number, task).read_text(encoding="utf-8")) for task in range(job.tasks)}
    spans = {task: result["positions"] for task, result in results.items() if result["positions"]}
    if not job.validation_share or not spans:
        return []
    least, most = min(low for low, _ in spans.values()), max(high for _, high in spans.values())
    if least == most or (least < job.border <= most):
        return []
    border = math.nextafter(least, 1.0) if job.border <= least else most
    write_text(job.out / ".work" / "border.json", json.dumps(border))
    again = [task for task, span in spans.items() if (least if border < most else most) in span]
    for task in again:
        remove(job.done(number, task))
    return again
