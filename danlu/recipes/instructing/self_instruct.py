"""Self-Instruct (Wang et al. 2022, arXiv:2212.10560): a model goes on with a list of tasks and works out examples.

A round asks ``batch`` times for new tasks, each time showing eight: six of the seeds and two of its own. Of each that
is unlike all before it asks whether it chooses between a few labels, then for an example: the input first, or, for
tasks with labels, the label first, since models that write the input first mostly write one of one label (section 2.2).

As in the paper: eight tasks shown, the fixed examples of the second and third prompt, the limit of ROUGE-L. Otherwise:
a round makes records from beginning to end, so that a run that stops early has some; tasks are shown again only once
they have an example; the prompts are our own; and Chinese is asked in Chinese.
"""

from collections.abc import Iterator
from dataclasses import replace

from danlu.recipes.instructing import prompts
from danlu.recipes.instructing.pool import Pool, record_fault
from danlu.text.instructions import Language, Task, is_empty

SHOWN, OWN = 8, 2  # tasks in a prompt, and how many of them the model wrote itself
MORE = 8  # tasks asked for


def rounds(pool: Pool) -> Iterator[int]:
    """Round after round, without end; yields how many records each has kept."""
    number = 0
    while True:
        before = len(pool.records)
        _with_examples(pool, number, _classified(pool, number, _instructions(pool, number)))
        yield len(pool.records) - before
        number += 1


def _instructions(pool: Pool, number: int) -> list[tuple[Task, list[str]]]:
    """New instructions, each with the ids of the tasks that were shown."""
    asked, requests = list[tuple[Language, list[Task]]](), []
    for place in range(pool.told.batch):
        language = pool.languages[(number * pool.told.batch + place) % len(pool.languages)]
        draw = pool.draw("ask", number, place)
        seeds = [task for task in pool.seeds if task.language == language]
        own = [task for task in pool.kept if task.language == language]
        own = draw.sample(own, min(OWN, len(own)))
        shown = [*draw.sample(seeds, min(SHOWN - len(own), len(seeds))), *own]
        draw.shuffle(shown)
        asked.append((language, shown))
        prompt = prompts.ask(language, [task.instruction for task in shown], MORE)
        requests.append(pool.request(f"self/{number:05d}/ask/{place:02d}", prompt))
    found = []
    replies = pool.ask(requests, "instruction")
    for place, (reply, (language, shown)) in enumerate(zip(replies, asked, strict=True)):
        if reply is None:
            continue
        tasks, unfinished = prompts.tasks_in(reply.text, len(shown) + 1, cut=reply.finish == "length")
        name = f"self-{number:05d}-{place:02d}"
        for _ in range(unfinished):
            pool.drop("instruction", name, reply.text[-200:], "not_ended")
        for item, text in enumerate(tasks):
            if pool.take_instruction(f"{name}-{item:02d}", text, language):
                found.append((Task(f"{name}-{item:02d}", text, "", "", language), [task.id for task in shown]))
    return found


def _classified(pool: Pool, number: int, found: list[tuple[Task, list[str]]]) -> list[tuple[Task, list[str]]]:
    """The same with the model's word on whether they choose between labels."""
    requests = [
        pool.request(f"self/{number:05d}/kind/{task.id}", prompts.classify(task.language, task.instruction), label=True)
        for task, _ in found
    ]
    replies = pool.ask(requests, "classification")
    both = zip(found, replies, strict=True)
    return [
        (replace(task, classification=prompts.yes(reply.text)), shown)
        for (task, shown), reply in both
        if reply is not None
    ]


def _with_examples(pool: Pool, number: int, found: list[tuple[Task, list[str]]]) -> None:
    """Ask for an example of each and keep what passes."""
    requests = [
        pool.request(
            f"self/{number:05d}/example/{task.id}",
            prompts.instance(task.language, task.instruction, bool(task.classification), pool.told.instances),
        )
        for task, _ in found
    ]
    for (task, shown), reply in zip(found, pool.ask(requests, "example"), strict=True):
        if reply is None:
            continue
        pairs = prompts.examples_in(reply.text, bool(task.classification))
        stopped = reply.finish == "stop" or prompts.ended(reply.text)
        if not stopped and len(pairs) > 1:  # only the last of them was cut
            pairs, stopped = pairs[:-1], True
        if not pairs:
            pool.drop("example", task.id, reply.text, "no_example")
        if task.classification:  # of the labels any, or most examples would be of the one that comes to mind first
            pool.draw("example", task.id).shuffle(pairs)
        _keep(pool, task, pairs, stopped, shown)


def _keep(pool: Pool, task: Task, pairs: list[tuple[str, str]], stopped: bool, shown: list[str]) -> None:
    """At most ``instances`` of the examples."""
    inputs, kept = set[str](), 0
    for item, (given, output) in enumerate(pairs):
        if kept == pool.told.instances:
            break
        name = task.id if pool.told.instances == 1 else f"{task.id}-{item}"
        made = replace(task, id=name, input="" if is_empty(given) else given, output=output)
        fault = record_fault(made, stopped)
        if not fault and task.classification and not made.input:
            fault = "no_input"
        if not fault and made.input in inputs:
            fault = "same_input"
        inputs.add(made.input)
        origin = {"classification": bool(task.classification), "seeds": shown}
        kept += pool.take_record(made, "example", fault, **origin)
