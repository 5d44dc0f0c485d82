"""Evol-Instruct (WizardLM: Xu et al. 2023, arXiv:2304.12244): a model makes given tasks harder, or others like them.

Each task of the pool is rewritten by one of six operations, drawn evenly: five in depth (a condition more, deeper, more
concrete, more steps of reasoning, data to work on) and one in breadth. What is no progress is eliminated (section 3.2):
the model itself calls both tasks equal; the answer apologises in few words, or holds nothing but stop words; or the new
task has taken words of our prompt. An eliminated task stays in the pool as it was and is tried again in the next round;
one that was evolved in depth is replaced by what became of it, and one in breadth is joined by it.

After ``rounds`` rounds the next pass begins with the seeds again and draws anew, until there are enough. What the paper
does not say: near copies of anything kept are dropped by ROUGE-L, at a limit so high that a condition more may pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from danlu.recipes.instructing import prompts
from danlu.recipes.instructing.pool import Pool, record_fault
from danlu.text.instructions import Task, only_stop_words


@dataclass(frozen=True)
class Evolved:
    """A task of the pool: the seed it descends from and what was done to it."""

    task: Task
    seed: str
    operations: tuple[str, ...] = ()


def rounds(pool: Pool) -> Iterator[int]:
    """A few tasks of the pool at a time, without end; yields how many records each time has kept."""
    for number in count():
        tasks = [Evolved(replace(task, instruction=task.prompt, input=""), task.id) for task in pool.seeds]
        pool.draw("order", number).shuffle(tasks)
        for depth in range(pool.told.rounds):
            following: list[Evolved] = []
            for start in range(0, len(tasks), pool.told.batch):
                before = len(pool.records)
                following += _step(pool, f"{number:03d}-{depth:02d}", start, tasks[start : start + pool.told.batch])
                yield len(pool.records) - before
            tasks = following


def _step(pool: Pool, name: str, start: int, tasks: list[Evolved]) -> list[Evolved]:
    """Evolve some tasks; what stands in the pool in their place."""
    operations = [pool.draw("operation", name, start + n).choice(prompts.OPERATIONS) for n in range(len(tasks))]
    made = _rewritten(pool, name, start, tasks, operations)
    made = _unequal(pool, name, tasks, made)
    answered = _answered(pool, name, tasks, operations, made)
    following = []
    for place, (old, operation) in enumerate(zip(tasks, operations, strict=True)):
        new = answered.get(place)
        following += [old] if new is None or operation == "breadth" else []
        following += [new] if new is not None else []
    return following


def _rewritten(
    pool: Pool, name: str, start: int, tasks: list[Evolved], operations: list[str]
) -> dict[int, tuple[str, str]]:
    """Place → (id, instruction) of the new tasks that look like one."""
    requests = [
        pool.request(
            f"evol/{name}/rewrite/{start + place:05d}",
            prompts.evolve(old.task.language, old.task.instruction, operation),
        )
        for place, (old, operation) in enumerate(zip(tasks, operations, strict=True))
    ]
    made: dict[int, tuple[str, str]] = {}
    for place, reply in enumerate(pool.ask(requests, "rewrite")):
        if reply is None:
            continue
        old, new = tasks[place].task, f"evol-{name}-{start + place:05d}"
        text = prompts.task_in(reply.text, pool.told.complete)
        copied = prompts.PROMPT_WORDS.search(text)
        whole = reply.finish == "stop" or prompts.ended(reply.text)
        if not whole:
            pool.drop("rewrite", new, text, "not_ended")
        elif copied and copied[0].casefold() not in old.instruction.casefold():
            pool.drop("rewrite", new, text, "prompt_words", copied[0])
        else:
            pool.passed("rewrite", new, text)
            made[place] = new, text
    return made


def _unequal(
    pool: Pool, name: str, tasks: list[Evolved], made: dict[int, tuple[str, str]]
) -> dict[int, tuple[str, str]]:
    """Those that are instructions, unlike all others, and in the model's own word not the old task again."""
    kept = {
        place: (new, text)
        for place, (new, text) in made.items()
        if pool.take_instruction(new, text, tasks[place].task.language)
    }
    requests = [
        pool.request(
            f"evol/{name}/equal/{new}",
            prompts.equal(tasks[place].task.language, tasks[place].task.instruction, text),
            label=True,
        )
        for place, (new, text) in kept.items()
    ]
    found: dict[int, tuple[str, str]] = {}
    for place, reply in zip(kept, pool.ask(requests, "equal"), strict=True):
        new, text = kept[place]
        if reply is None:
            continue
        if prompts.different(reply.text):
            pool.passed("equal", new, text)
            found[place] = new, text
        else:
            pool.drop("equal", new, text, "equal", tasks[place].task.id)
    return found


def _answered(
    pool: Pool, name: str, tasks: list[Evolved], operations: list[str], made: dict[int, tuple[str, str]]
) -> dict[int, Evolved]:
    """Answer the new tasks, and keep those whose answer is one."""
    requests = [
        pool.request(f"evol/{name}/answer/{new}", prompts.answer(tasks[place].task.language, text, pool.told.complete))
        for place, (new, text) in made.items()
    ]
    done: dict[int, Evolved] = {}
    for place, reply in zip(made, pool.ask(requests, "answer"), strict=True):
        if reply is None:
            continue
        old, (new, text) = tasks[place], made[place]
        output = prompts.answer_in(reply.text, pool.told.complete)
        whole = reply.finish == "stop" or (pool.told.complete and prompts.ended(reply.text))
        task = Task(new, text, "", output, old.task.language)
        fault = record_fault(task, whole)
        if not fault and only_stop_words(output):
            fault = "only_stop_words"
        evolved = Evolved(task, old.seed, (*old.operations, operations[place]))
        origin = {"operations": list(evolved.operations), "seeds": [old.seed], "parent": old.task.id}
        if pool.take_record(task, "answer", fault, **origin):
            done[place] = evolved
    return done
