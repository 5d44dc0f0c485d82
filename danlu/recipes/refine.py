"""How `danlu clean` runs: tasks, engines, and what is put together at the end.

The same tasks are done by this process, by worker processes or by a Ray cluster; a task leaves files, and the files
do not depend on who did it. A run that stops keeps its finished tasks under ``.work`` and goes on with the others.
"""

import json
import os
import sys
import uuid
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

from danlu.base.errors import UserError
from danlu.base.files import write_text
from danlu.base.progress import bar, count
from danlu.base.recipe import from_dict, to_dict
from danlu.recipes.clean import Clean, steps
from danlu.text import cluster
from danlu.text import job as jobs
from danlu.text.composition import Composition
from danlu.text.decontaminate import Decontaminate
from danlu.text.document import Document
from danlu.text.job import Job
from danlu.text.read import Part, parts, read_part, tasks
from danlu.text.report import Funnel
from danlu.text.workers import Workers, serve

WORKER = (sys.executable, "-c", "from danlu.recipes.refine import worker; worker()")
ALONE_BYTES = 16_000_000  # starting workers takes a second or two; less input than this is done sooner without


def plan(recipe: Clean) -> tuple[list[list[Part]], list[str]]:
    """The parts of the input that each task reads, and what could not be opened.

    Made once, then kept, so that a run that is taken up reads the same.
    """
    kept = recipe.out / ".work" / "tasks.json"
    if not kept.exists():
        task_bytes, tally = int(recipe.task_megabytes * 1e6), Funnel()
        listed = tasks(parts(recipe.inputs, recipe.reading, task_bytes, tally=tally), task_bytes)
        plain = {"tasks": [[to_dict(part) for part in task] for task in listed], "problems": tally.problems}
        write_text(kept, json.dumps(plain))
    found = json.loads(kept.read_text(encoding="utf-8"))
    return [[from_dict(Part, part) for part in task] for task in found["tasks"]], found["problems"]


def read(recipe: Clean, listed: list[list[Part]], task: int, funnel: Funnel) -> Iterator[Iterable[Document]]:
    """The raw documents of a task, part by part."""
    for part in listed[task]:
        yield read_part(part, recipe.reading, funnel)


def make(recipe: Clean, run: str) -> Job:
    """The job of ``recipe``; ``run`` is this start of it."""
    listed, _ = plan(recipe)
    return Job(
        steps=steps(recipe),
        read=partial(read, recipe, listed),
        tasks=len(listed),
        out=recipe.out,
        run=run,
        validation_share=recipe.validation_share,
        seed=recipe.seed,
        rejects=recipe.rejects,
        composition=recipe.report,
    )


@lru_cache(maxsize=1)
def _job(recipe: str, run: str) -> Job:
    return make(from_dict(Clean, json.loads(recipe)), run)


def do(hello: dict[str, Any], order: dict[str, Any]) -> None:
    """One task, in whichever process and on whichever node: paths are those of the process that was asked to run."""
    os.chdir(hello["cwd"])
    jobs.run_task(_job(hello["recipe"], hello["run"]), order["segment"], order["task"])


def worker() -> None:
    """What a worker process runs."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores among themselves
    serve(do)


def run(recipe: Clean) -> tuple[Job, Funnel, dict[str, Any]]:
    """Do every task of every segment; returns the job, what was counted, and the composition of the documents."""
    made = make(recipe, uuid.uuid4().hex[:16])
    hello = {"recipe": json.dumps(to_dict(recipe)), "run": made.run, "cwd": os.getcwd()}
    with _Engine(recipe, made, hello) as engine:
        for number, segment in enumerate(made.segments):
            engine.work(number, _waiting(made, number))
            if segment.corpus is not None:
                _decide(made, number)
        engine.work(len(made.segments) - 1, jobs.balance(made))
    funnel, composition = gather(made)
    funnel.facts |= {name: step.facts() for name, step in made.steps.items() if isinstance(step, Decontaminate)}
    funnel.problem_count += len(problems := plan(recipe)[1])
    funnel.problems = problems + funnel.problems
    return made, funnel, composition


def _waiting(made: Job, number: int) -> list[int]:
    return [task for task in range(made.tasks) if not made.done(number, task).exists()]


def _decide(made: Job, number: int) -> None:
    """Let the corpus step judge, once: its facts are written last."""
    segment, file = made.segments[number], made.folder(number) / "facts.json"
    if file.exists() or segment.corpus is None:
        return
    folder = made.folder(number) / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(segment.corpus.decide(folder, made.tasks), ensure_ascii=False))


class _Engine:
    """The recipe's engine, its workers started when the first task comes."""

    def __init__(self, recipe: Clean, made: Job, hello: dict[str, Any]) -> None:
        self.recipe, self.made, self.hello = recipe, made, hello
        self._workers: Workers | None = None

    def work(self, number: int, waiting: list[int]) -> None:
        """Do these tasks of a segment."""
        if not waiting:
            return
        orders = [{"segment": number, "task": task} for task in waiting]
        with bar(f"cleaning, part {number + 1} of {len(self.made.segments)}", len(waiting), "tasks") as drawn:
            if self.recipe.engine == "ray":
                cluster.connect(self.recipe.address)
                cluster.run(do, self.hello, orders, workers=self.recipe.workers, progress=lambda _: drawn.advance())
                return
            wanted = self.recipe.workers or self._fitting(waiting)
            if wanted == 0:
                for order in orders:
                    do(self.hello, order)
                    drawn.advance()
                return
            self._workers = self._workers or Workers(WORKER, self.hello, min(wanted, self.made.tasks))
            said = 0

            def progress(done: int, _: int | None) -> None:
                nonlocal said
                drawn.advance(done - said, note=f"{count(self._documents(number, waiting))} documents")
                said = done

            self._workers.run(
                waiting,
                lambda task: {"segment": number, "task": task},
                state=lambda task: self._state(number, task),
                seconds=self.recipe.document_seconds,
                progress=progress,
            )

    def _fitting(self, waiting: list[int]) -> int:
        """Worker processes for the work, none if it is small."""
        listed, _ = plan(self.recipe)
        size = sum(part.bytes for task in listed for part in task)
        return 0 if size < ALONE_BYTES else min(os.cpu_count() or 1, len(waiting))

    def _state(self, number: int, task: int) -> Any:
        found = jobs.state(self.made.watch(number, task))
        return None if found is None or found[2] == jobs.FINISHING else found

    def _documents(self, number: int, waiting: list[int]) -> int:
        """How many documents of the segment are behind us, as far as the watch files tell."""
        states = (jobs.state(self.made.watch(number, task)) for task in waiting)
        return sum(max(found[1], 0) for found in states if found is not None and found[2] == jobs.WORKING)

    def __enter__(self) -> "_Engine":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._workers is not None:
            self._workers.__exit__(*error)


def gather(made: Job) -> tuple[Funnel, dict[str, Any]]:
    """The counts of all tasks, in the order of segments and tasks, and the composition of what was kept and dropped."""
    total, composition = Funnel(), Composition()
    for number, segment in enumerate(made.segments):
        for task in range(made.tasks):
            found = json.loads(made.done(number, task).read_text(encoding="utf-8"))
            total.merge(Funnel.from_dict(found["funnel"]))
            composition.merge(Composition.from_dict(found["composition"]))
        if segment.corpus is not None:
            facts = json.loads((made.folder(number) / "facts.json").read_text(encoding="utf-8"))
            total.facts[segment.name] = facts
    return total, composition.to_dict()


def written(made: Job) -> dict[str, dict[str, int]]:
    """Documents and bytes on each side of the split."""
    sums = {"documents": {"train": 0, "validation": 0}, "bytes": {"train": 0, "validation": 0}}
    for task in range(made.tasks):
        found = json.loads(made.done(len(made.segments) - 1, task).read_text(encoding="utf-8"))["written"]
        for side, (documents, size) in found.items():
            sums["documents"][side] += documents
            sums["bytes"][side] += size
    return sums


def nothing_left(recipe: Clean, funnel: Funnel) -> UserError:
    """What to say when no document came through."""
    reasons = ", ".join(f"{reason} {number}" for reason, number in list(funnel.reasons().items())[:3])
    problem = f"; {funnel.problems[0]}" if funnel.problems else ""
    why = f"dropped: {reasons}{problem}" if reasons else f"the inputs hold no text{problem}"
    remedy = f"Look at the inputs, or at the steps: {', '.join(recipe.chosen)}"
    return UserError(f"no document is left ({why})", where=", ".join(recipe.inputs), remedy=remedy)
