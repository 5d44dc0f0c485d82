"""A few seed tasks and a model → instructions with outputs, for fine-tuning.

    danlu instruct --model runs/smollm2 --count 200 --out runs/instruct
    danlu instruct --model http://localhost:8000/v1 --model-name qwen3 --seeds seeds.jsonl --method evol
    danlu sft --model runs/base --chats runs/instruct/instructions.jsonl

``self`` is Self-Instruct, ``evol`` is Evol-Instruct (`danlu.recipes.instructing`). The directory gets
``instructions.jsonl`` (Alpaca's keys and where each record comes from), ``funnel.json`` (what was dropped, why, with
samples) and ``journal.jsonl`` (every reply). How far a run goes is no part of its identity: what has ended, by its
count, its budget or a kill, goes on when the same command is given again, with more if there is more to do, and asks
nothing that was answered before. From a local model the result is the same as if it had never stopped.

Left out: the judging of whole data sets by a stronger model, and batch interfaces of single vendors.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from danlu.base import artifact
from danlu.base.artifact import MANIFEST, STAGE, Artifact, Draft
from danlu.base.device_names import DeviceName, Precision
from danlu.base.errors import UserError, require
from danlu.base.files import existing, remove, write_text
from danlu.base.progress import bar, count, say
from danlu.base.recipe import UNCHANGING
from danlu.generate.address import Connection, is_address

if TYPE_CHECKING:
    from danlu.generate.asking import Asker, Model
    from danlu.recipes.instructing.pool import Pool, Told
    from danlu.text.instructions import Language, Task

NAME = "instruct"
DECISIONS = ".decisions.json"  # of `danlu.base.artifact`: the number format was measured once and stays
OUTPUT, JOURNAL, FUNNEL = "instructions.jsonl", "journal.jsonl", "funnel.json"
Method = Literal["self", "evol"]
# Self-Instruct's own limit. An evolved task keeps most words of the one before it: one condition of eight words on a
# task of twenty leaves 0.83.
SIMILARITY: dict[Method, float] = {"self": 0.7, "evol": 0.9}
ROUNDS, INSTANCES = 4, 1


@dataclass(frozen=True, kw_only=True)
class Instruct:
    """Make instruction data with a model: new tasks by Self-Instruct, or harder ones by Evol-Instruct."""

    model: str = field(metadata=UNCHANGING)
    """A model directory, or an OpenAI-compatible address such as http://localhost:8000/v1."""
    model_name: str = ""
    """At an address: what the model is called there."""
    seeds: tuple[Path, ...] = field(default=(), metadata=UNCHANGING)
    """Files of seed tasks (Self-Instruct's or Alpaca's keys, or conversations); none takes 41 of Danlu's own."""
    method: Method = "self"
    """self writes new tasks after the seeds and examples of them; evol makes the seeds harder and answers them."""
    count: int = field(default=1000, metadata=UNCHANGING)
    """Records to make; a larger count goes on where a smaller one ended."""
    out: Path = field(default=Path("runs/instruct"), metadata=UNCHANGING)
    """The directory to write."""
    languages: tuple[Literal["en", "zh"], ...] = ()
    """The languages to make; none takes those of the seeds."""
    style: Literal["chat", "complete"] = "chat"
    """chat asks in a user's turn; complete has the model go on with a text, for base models."""
    instances: int = INSTANCES
    """With self: examples of one instruction, at most."""
    rounds: int = ROUNDS
    """With evol: how often a task is evolved before the next pass begins with the seeds again."""
    similarity: float = 0.0
    """Instructions whose ROUGE-L with an earlier one reaches this are dropped; 0 is 0.7 for self and 0.9 for evol."""
    decontaminate: tuple[Path, ...] = field(default=(), metadata=UNCHANGING)
    """Evaluation sets, as for danlu clean: a record that shares a run of 13 words with one is dropped."""
    batch: int = 16
    """Requests of a round, which a local model answers at once."""
    patience: int = field(default=5, metadata=UNCHANGING)
    """The run ends after so many rounds in a row that keep nothing."""
    temperature: float = 0.7
    """Of sampling; labels are asked at 0."""
    top_p: float = 0.95
    """Keep the likeliest tokens until their probabilities add up to this."""
    max_new_tokens: int = 512
    """The longest reply."""
    budget_tokens: int = field(default=0, metadata=UNCHANGING)
    """Ask no more than so many tokens in all, prompts included; 0 is no limit."""
    budget_requests: int = field(default=0, metadata=UNCHANGING)
    """Ask no more than so often in all; 0 is no limit."""
    seconds: float = field(default=0.0, metadata=UNCHANGING)
    """Begin no more requests after so long in this start; 0 is no limit."""
    connection: Connection = Connection()
    """At an address: key, requests in flight, retries."""
    bad_share: float = 0.01
    """The share of a seed file's records that may be unreadable; beyond it the run stops."""
    device: DeviceName = "auto"
    """Of a model directory: auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """Of a model directory: auto, fp32, bf16 or fp16."""
    seed: int = 0
    """Of sampling and of what is shown together."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        far = is_address(self.model)
        require(
            self,
            ("model", bool(self.model.strip()), "needs a model directory or an address"),
            ("model_name", not far or bool(self.model_name), "an address needs the model's name there"),
            ("model_name", far or not self.model_name, "only an address has models with names"),
            ("connection", far or self.connection == Connection(), "only an address has such keys"),
            ("device", not far or self.device == "auto", "an address computes where it wants"),
            ("precision", not far or self.precision == "auto", "an address computes as it wants"),
            ("method", self.method in SIMILARITY, "must be self or evol"),
            ("style", self.style in ("chat", "complete"), "must be chat or complete"),
            ("languages", set(self.languages) <= {"en", "zh"}, "must be of en and zh"),
            ("languages", len(set(self.languages)) == len(self.languages), "names one twice"),
            ("count", self.count >= 1, "must be at least 1"),
            ("instances", 1 <= self.instances <= 8, "must be between 1 and 8"),
            ("instances", self.method == "self" or self.instances == INSTANCES, "only --method self has examples"),
            ("rounds", self.rounds >= 1, "must be at least 1"),
            ("rounds", self.method == "evol" or self.rounds == ROUNDS, "only --method evol has such rounds"),
            ("similarity", 0 <= self.similarity <= 1, "must be between 0 and 1"),
            ("batch", 1 <= self.batch <= 4096, "must be between 1 and 4096"),
            ("patience", self.patience >= 1, "must be at least 1"),
            ("temperature", self.temperature >= 0, "must not be negative"),
            ("top_p", 0 < self.top_p <= 1, "must be above 0 and at most 1"),
            ("max_new_tokens", self.max_new_tokens >= 1, "must be at least 1"),
            *((key, getattr(self, key) >= 0, "must not be negative") for key in BUDGET),
            ("bad_share", 0 <= self.bad_share < 1, "must be at least 0 and below 1"),
        )


BUDGET = ("budget_tokens", "budget_requests", "seconds")


def sources(recipe: Instruct) -> dict[str, Path]:
    """What the stage reads from disk."""
    from danlu.text.evalsets import file_of

    found = {} if is_address(recipe.model) else {"model": existing(Path(recipe.model).expanduser())}
    found |= {f"seeds-{number}": existing(path) for number, path in enumerate(recipe.seeds, 1)}
    return found | {f"decontaminate-{n}": file_of(str(path)) for n, path in enumerate(recipe.decontaminate, 1)}


def run(recipe: Instruct, *, fresh: bool = False) -> Artifact:
    """Ask until there are enough records, and write them with the funnel and the journal."""
    from danlu.generate.asking import Asker, Budget, Journal
    from danlu.recipes.instructing.pool import Pool

    inputs = sources(recipe)
    seeds, languages = seed_tasks(recipe)
    told, far = _told(recipe), _reached(recipe)
    if not fresh:
        _reopen(recipe, inputs)
    draft = artifact.begin(recipe.out, NAME, recipe, inputs, fresh=fresh)
    model = far or _local(recipe, draft)
    journal = Journal(recipe.out / JOURNAL)
    if len(journal):
        say(f"  taking up {len(journal)} replies that were given before")
    try:
        budget = Budget(recipe.budget_tokens, recipe.budget_requests, recipe.seconds)
        pool = Pool(told, seeds, languages, Asker(model, journal, budget))
        ended = _fill(recipe, pool)
    finally:
        journal.close()
    return _finish(recipe, draft, pool, ended)


def seed_tasks(recipe: Instruct) -> "tuple[list[Task], tuple[Language, ...]]":
    """The seeds in the languages that are wanted, and those languages; a `UserError` if one has no seed."""
    from danlu.recipes.instructing import seeds_en, seeds_zh
    from danlu.text.instructions import Task, read_tasks

    own: tuple[tuple[Language, Any], ...] = (("en", seeds_en.TASKS), ("zh", seeds_zh.TASKS))
    if recipe.seeds:
        tasks = [task for path in recipe.seeds for task in read_tasks(path, recipe.bad_share)]
    else:
        tasks = [
            Task(f"{language}-{number:02d}", row[0], row[1], row[2], language, row[3])
            for language, rows in own
            for number, row in enumerate(rows, 1)
        ]
    there = [language for language, _ in own if any(task.language == language for task in tasks)]
    for language in recipe.languages:
        if language not in there:
            where = ", ".join(map(str, recipe.seeds))
            raise UserError(f"holds no seed task in '{language}'", where=where, remedy="Add some, or mend --languages")
    languages = tuple(language for language in there if not recipe.languages or language in recipe.languages)
    return [task for task in tasks if task.language in languages], languages


def _told(recipe: Instruct) -> "Told":
    from danlu.recipes.instructing.pool import Told
    from danlu.text.decontaminate import Decontaminate

    sets = Decontaminate(sets=recipe.decontaminate) if recipe.decontaminate else None
    if sets is not None:
        sets.facts()  # a file without test items is told before the first request
    return Told(
        method=recipe.method,
        model=recipe.model_name or Path(recipe.model).name,
        complete=recipe.style == "complete",
        temperature=recipe.temperature,
        top_p=recipe.top_p,
        max_new_tokens=recipe.max_new_tokens,
        batch=recipe.batch,
        seed=recipe.seed,
        similarity=recipe.similarity or SIMILARITY[recipe.method],
        instances=recipe.instances,
        rounds=recipe.rounds,
        decontaminate=sets,
    )


def _reached(recipe: Instruct) -> "Model | None":
    """The model at the address, once somebody answers there; None for a directory, whose configuration was read."""
    if is_address(recipe.model):
        from danlu.generate.address import AddressModel

        far = AddressModel(recipe.model, recipe.model_name, recipe.connection, recipe.seed)
        far.reach()
        return far
    from danlu.model.hub import read_config

    read_config(Path(recipe.model).expanduser())
    return None


def _local(recipe: Instruct, draft: Draft) -> "Model":
    from danlu.base.device import torch_dtype
    from danlu.generate.engine import Engine
    from danlu.generate.local import LocalModel
    from danlu.recipes.training import open_model, prepare

    machine = prepare(draft, recipe.device, recipe.precision, recipe.seed)
    model, tokenizer = open_model(Path(recipe.model).expanduser(), machine)
    if recipe.style == "chat" and tokenizer.chat_template is None:
        remedy = "Use a chat model, or --style complete"
        raise UserError("the tokenizer has no chat template", where=recipe.model, remedy=remedy)
    engine = Engine(model, tokenizer.stop_ids, rows=recipe.batch, dtype=torch_dtype(machine.precision))
    return LocalModel(engine, tokenizer, recipe.batch, recipe.seed)


def _reopen(recipe: Instruct, inputs: dict[str, Path]) -> None:
    """Make a finished run of the same recipe one in progress again, so that it can go on; refuse to replace another.

    Replies cost money or hours, so nobody loses them by giving a command again.
    """
    found = artifact.find(recipe.out)
    if found is None or found.stage != NAME:
        return
    reason = artifact.changes(recipe.out, NAME, recipe, inputs)
    if reason is not None and not reason.endswith("is missing"):
        raise UserError(
            f"holds the replies of another run ({reason})",
            where=recipe.out,
            remedy="Choose another --out, or give --fresh to lose them",
        )
    write_text(recipe.out / DECISIONS, json.dumps(found.manifest["decisions"]))
    write_text(recipe.out / STAGE, json.dumps(found.manifest["identity"], ensure_ascii=False, indent=2) + "\n")
    remove(recipe.out / MANIFEST)


def _fill(recipe: Instruct, pool: "Pool") -> str:
    """Round after round until something ends the run; says what."""
    from danlu.recipes.instructing import evol_instruct, self_instruct

    method = {"self": self_instruct.rounds, "evol": evol_instruct.rounds}[recipe.method]
    idle = 0
    with bar(f"instruct, {recipe.method}", recipe.count, "records") as drawn:
        for kept in method(pool):
            drawn.advance(kept, f"{pool.asker.journal.tokens} tokens")
            idle = 0 if kept else idle + 1
            if len(pool.records) >= recipe.count:
                return "count"
            if pool.asker.ended:
                return pool.asker.ended
            if idle >= recipe.patience:
                return "patience"
    raise AssertionError("unreachable")


def _finish(recipe: Instruct, draft: Draft, pool: "Pool", ended: str) -> Artifact:
    from danlu.recipes.chats import write_records

    started = time.time() - draft.started
    records, reasons = pool.records[: recipe.count], pool.funnel.reasons()
    write_text(recipe.out / FUNNEL, json.dumps(pool.funnel.to_dict(), ensure_ascii=False, indent=2) + "\n")
    for name, flow in pool.funnel.steps.items():
        lost = ", ".join(f"{reason} {number}" for reason, number in sorted(flow.dropped.items()))
        say(f"  {name}: {flow.documents_in} → {flow.documents_out}" + (f" ({lost})" if lost else ""))
    spent = _spent(pool.asker)
    say(f"  {len(records)} records, ended by {ended}; {spent}")
    if not records:
        worst = ", ".join(f"{reason} {number}" for reason, number in list(reasons.items())[:3]) or "no reply"
        remedy = "See funnel.json for what the model wrote; give more budget or patience, or a stronger model"
        raise UserError(f"no record was kept ({worst})", where=recipe.out, remedy=remedy)
    write_records(recipe.out / OUTPUT, records)
    draft.seeds = {"run": recipe.seed}
    draft.metrics = {
        "records": len(records),
        "ended": ended,
        "requests": len(pool.asker.journal),
        "requests_of_this_start": pool.asker.asked,
        "tokens": pool.asker.journal.tokens,
        "seeds": len(pool.seeds),
        "dropped": reasons,
        "seconds": round(started, 3),
    }
    return draft.finish()


def _spent(asker: "Asker") -> str:
    journal = asker.journal
    return f"{len(journal)} requests and {count(journal.tokens)} tokens in all, {asker.asked} requests of this start"
