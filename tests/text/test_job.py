"""Tasks and segments: nothing lost, nothing twice, whoever does the work and however often it stops."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from danlu.base.errors import UserError
from danlu.base.files import write_text
from danlu.text import job as jobs
from danlu.text.corpus import CorpusStep, Verdict
from danlu.text.document import Document, Dropped, Step
from danlu.text.job import Job, run_task
from danlu.text.report import Funnel
from danlu.text.workers import Workers
from danlu.text.write import read_documents


@dataclass(frozen=True)
class FirstLetterOnce:
    """A corpus step: of the texts that begin alike, the first one stays."""

    def look(self, documents: Iterable[Document], folder: Path, task: int) -> None:
        write_text(folder / f"{task:05d}.letters", "".join(document.text[0] for document in documents))

    def decide(self, folder: Path, tasks: int) -> dict[str, Any]:
        seen: set[str] = set()
        for task in range(tasks):
            letters = (folder / f"{task:05d}.letters").read_text(encoding="utf-8")
            fresh = [letter not in seen and not seen.add(letter) for letter in letters]  # type: ignore[func-returns-value]
            write_text(folder / f"{task:05d}.fresh", json.dumps(fresh))
        return {"letters": len(seen)}

    def apply(self, documents: Iterable[Document], folder: Path, task: int) -> Iterator[Verdict]:
        fresh = json.loads((folder / f"{task:05d}.fresh").read_text(encoding="utf-8"))
        for document, stays in zip(documents, fresh, strict=True):
            yield document, document if stays else Dropped("letter", f"'{document.text[0]}' was there")


def upper(document: Document) -> Document:
    return replace(document, text=document.text.upper())


def short(document: Document) -> Document | Dropped:
    return Dropped("long") if len(document.text) > 20 else document


def bombs(document: Document) -> Document:
    """Kills its process, raises, or goes on."""
    if "bomb" in document.text:
        os.kill(os.getpid(), 9)
    if "raise" in document.text:
        raise ValueError("unlucky")
    return document


STEPS: dict[str, Step | CorpusStep] = {"short": short, "once": FirstLetterOnce(), "upper": upper}
TASKS = [["apple", "pear", "plum"], ["a" * 30, "quince", "avocado"], ["kiwi", "grape", "raisin"]]


def reading(tasks: list[list[str]], task: int, funnel: Funnel) -> Iterator[Iterator[Document]]:
    """Two parts a task."""
    for part, texts in enumerate((tasks[task][:2], tasks[task][2:])):
        yield _part(texts, f"{task}.{part}", funnel)


def _part(texts: list[str], name: str, funnel: Funnel) -> Iterator[Document]:
    for row, text in enumerate(texts):
        if text == "dies when read":
            os.kill(os.getpid(), 9)
        document = Document(text, f"{name}:{row}", name)
        funnel.read(document, "test")
        yield document


def job(out: Path, steps: dict[str, Step | CorpusStep] | None = None, tasks: Any = TASKS, **values: Any) -> Job:
    read = partial(reading, tasks)
    return Job(STEPS if steps is None else steps, read, len(tasks), out, **{"run": "r"} | values)


def walk(made: Job, order: Iterable[int] | None = None) -> list[str]:
    """Every task of every segment; what is left of the documents."""
    for number, segment in enumerate(made.segments):
        for task in order or range(made.tasks):
            run_task(made, number, task)
        if segment.corpus is not None:
            segment.corpus.decide(made.folder(number) / "corpus", made.tasks)
    for task in jobs.balance(made):
        run_task(made, len(made.segments) - 1, task)
    return [document.text for side in ("train", "validation") for document in left(made.out / side)]


def left(folder: Path) -> list[Document]:
    return list(read_documents(folder)) if folder.exists() and any(folder.iterdir()) else []


def counted(made: Job) -> Funnel:
    total = Funnel()
    for number in range(len(made.segments)):
        for task in range(made.tasks):
            found = json.loads(made.done(number, task).read_text(encoding="utf-8"))
            total.merge(Funnel.from_dict(found["funnel"]))
    return total


def test_segments_end_with_corpus_steps() -> None:
    cut = jobs.segments(STEPS)
    assert [(list(segment.steps), segment.name) for segment in cut] == [(["short"], "once"), (["upper"], "")]


def test_every_document_is_accounted_for(tmp_path: Path) -> None:
    made = job(tmp_path)
    assert walk(made) == ["APPLE", "PEAR", "QUINCE", "KIWI", "GRAPE", "RAISIN"]
    funnel = counted(made)
    assert funnel.reasons() == {"letter": 2, "long": 1}
    assert funnel.sources == {"test": [9, sum(len(text) for task in TASKS for text in task)]}
    flows = {name: (flow.documents_in, flow.documents_out) for name, flow in funnel.steps.items()}
    assert flows == {"short": (9, 8), "once": (8, 6), "upper": (6, 6)}
    assert "0.1:0: letter, 'p' was there" in funnel.details


def test_the_order_of_the_tasks_changes_nothing(tmp_path: Path) -> None:
    assert walk(job(tmp_path / "a")) == walk(job(tmp_path / "b"), order=(2, 0, 1))
    files = [sorted((p.name, p.read_bytes()) for p in (tmp_path / name).rglob("train/*")) for name in "ab"]
    assert files[0] == files[1]


def test_a_finished_task_is_left_alone(tmp_path: Path) -> None:
    made = job(tmp_path)
    walk(made)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    made.done(1, 1).unlink()
    walk(made)
    changed = {file.name for file in before if file.stat().st_mtime_ns != before[file]}
    assert changed <= {"00001.json", "00001-00000.parquet", *(f"{n:05d}.fresh" for n in range(3))}
    assert "00001.json" in changed


def test_rejects_are_kept_by_reason(tmp_path: Path) -> None:
    walk(job(tmp_path, rejects=True))
    assert [document.text for document in left(tmp_path / "rejects" / "letter")] == ["plum", "avocado"]
    assert [document.text for document in left(tmp_path / "rejects" / "long")] == ["a" * 30]
    walk(job(tmp_path / "without"))
    assert not (tmp_path / "without" / "rejects").exists()


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_neither_side_stays_empty(tmp_path: Path, share: float) -> None:
    assert len(walk(job(tmp_path, {}, validation_share=share))) == 9
    sizes = sorted(len(left(tmp_path / side)) for side in ("train", "validation"))
    assert sizes == [1, 8]


def test_one_text_stays_in_training(tmp_path: Path) -> None:
    assert walk(job(tmp_path, {}, [["same"], ["same"]], validation_share=0.01)) == ["same", "same"]
    assert len(left(tmp_path / "train")) == 2


def test_a_step_that_raises_sets_the_document_aside(tmp_path: Path) -> None:
    made = job(tmp_path, {"bombs": bombs}, [["one", "raise", "two"]])
    assert walk(made) == ["one", "two"]
    assert counted(made).details == ["0.0:1: poison, ValueError: unlucky"]


def test_a_persons_error_ends_the_run(tmp_path: Path) -> None:
    def wrong(document: Document) -> Document:
        raise UserError("no model")

    with pytest.raises(UserError, match="no model"):
        walk(job(tmp_path, {"wrong": wrong}))


SERVE = """
import sys; sys.path.insert(0, {root!r})
from pathlib import Path
from danlu.text.job import run_task
from danlu.text.workers import serve
from tests.text.test_job import bombs, job
serve(lambda hello, order: run_task(job(Path(hello["out"]), {{"bombs": bombs}}, hello["tasks"]), 0, order["task"]))
"""


def with_workers(out: Path, tasks: list[list[str]]) -> Job:
    command = [sys.executable, "-c", SERVE.format(root=str(Path(__file__).resolve().parents[2]))]
    made = job(out, {"bombs": bombs}, tasks)
    with Workers(command, {"out": str(out), "tasks": tasks}, 2) as workers:
        state = lambda task: jobs.state(made.watch(0, task))  # noqa: E731
        orders = {"state": state, "seconds": 60.0, "progress": lambda done, task: None}
        workers.run(range(made.tasks), lambda task: {"task": task}, **orders)  # type: ignore[arg-type]
    return made


def test_a_document_that_kills_two_workers_is_set_aside(tmp_path: Path) -> None:
    made = with_workers(tmp_path, [["one", "bomb", "two"], ["three", "four"]])
    assert [document.text for document in left(tmp_path / "train")] == ["one", "two", "three", "four"]
    assert counted(made).details == ["0.0:1: poison, it ended two workers"]
    assert not list(made.folder(0).glob("*.at")) + list(made.folder(0).glob("*.crashes"))


def test_what_kills_as_it_is_read_costs_its_part(tmp_path: Path) -> None:
    made = with_workers(tmp_path, [["one", "dies when read", "two"], ["dies when read", "three", "four"]])
    assert [document.text for document in left(tmp_path / "train")] == ["one", "two", "four"]
    first, second = counted(made).problems
    assert first.startswith("0.0:0: what follows ended two workers")
    assert second.startswith("its beginning: what follows ended two workers")


def test_a_run_that_a_person_stopped_blames_no_document(tmp_path: Path) -> None:
    made = job(tmp_path, {}, [["one", "two"]])
    for run in ("first", "second", "third"):
        with jobs.Watch(made.watch(0, 0), run) as watch:
            watch.at(0, jobs.WORKING)
    assert walk(made) == ["one", "two"]
