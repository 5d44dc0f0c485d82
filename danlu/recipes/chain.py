"""The whole road as a graph of stages: runs what is not up to date, says why, and stops at a gate that fails.

A stage is up to date when its manifest has the same recipe and the same inputs, as make would have it. A
stage that was killed is taken up where it was.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.device_names import DeviceName, Precision
from danlu.base.errors import UserError, nearest
from danlu.base.progress import duration, say
from danlu.base.recipe import UNCHANGING, from_dict, to_dict
from danlu.recipes import clean, dpo, evaluation, gates, preferences, pretrain, publish, sft, tokenize, tokenizer

SAMPLED = "sampled"


@dataclass(frozen=True)
class Chain:
    """From raw text to a model that talks: clean, tokenize, pretrain, fine-tune, prefer, evaluate."""

    text: tuple[str, ...]
    """Files, folders, patterns or package:NAME of raw text."""
    chats: tuple[str, ...] = ()
    """Conversations for fine-tuning; without any, the chain ends with the base model."""
    preferences: tuple[str, ...] = ()
    """Preference pairs for DPO; the word sampled makes them from the model's own answers, by rules."""
    size: str = "10M"
    """About how many parameters."""
    tokens: str = "0"
    """Tokens to pretrain on, such as 20M; 0 is one epoch."""
    vocab_size: int = 8192
    """Ids of the tokenizer."""
    length: int = 512
    """The longest sequence, in tokens."""
    out: Path = field(default=Path("runs/chain"), metadata=UNCHANGING)
    """The directory that holds a directory for each stage, and the report."""
    gates: tuple[str, ...] = ()
    """Conditions such as 'bits_per_byte < 1.6'; the chain stops where one is not met."""
    set: tuple[str, ...] = ()
    """Changes to single stages, such as pretrain.optimizer.lr=0.002 or sft.epochs=5."""
    seed: int = 0
    """Of everything."""
    device: DeviceName = "auto"
    """auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """auto, fp32, bf16 or fp16."""

    def __post_init__(self) -> None:
        if not self.text:
            raise UserError("needs at least one file, folder, pattern or package:NAME", where="recipe: text")
        if self.preferences and not self.chats:
            raise UserError("preferences need chats: DPO starts from a model that was fine-tuned on some")
        for gate in self.gates:
            gates.parse(gate)


@dataclass(frozen=True)
class Node:
    """One stage of a chain: where it writes, what it is told, what it reads, how it runs."""

    name: str
    recipe: Any
    inputs: Callable[[], dict[str, Path]]
    run: Callable[..., Artifact]

    @property
    def out(self) -> Path:
        """Its directory."""
        return Path(self.recipe.out)

    def reason(self) -> str | None:
        """Why it has to run, or None."""
        return artifact.changes(self.out, self.name, self.recipe, self.inputs())


def nodes(chain: Chain) -> list[Node]:
    """The stages in order; those whose data are not given are left out."""
    changes, out, made = _changes(chain), chain.out, list[Node]()
    machine = {"device": chain.device, "precision": chain.precision, "seed": chain.seed}

    def add(name: str, cls: Any, module: Any, run: Callable[..., Artifact], **values: Any) -> Path:
        plain = to_dict(cls(out=out / name, **values))
        recipe = from_dict(cls, _merge(plain, changes.pop(name, {})), f"chain: {name}")
        made.append(Node(name, recipe, lambda: module.sources(recipe), run))
        return out / name

    cleaned = add("clean", clean.Clean, clean, clean.run, inputs=chain.text, seed=chain.seed)
    learnt = {"data": (str(cleaned),), "vocab_size": chain.vocab_size}
    words = add("tokenizer", tokenizer.TrainTokenizer, tokenizer, tokenizer.run, **learnt)
    tokens = add("tokens", tokenize.Tokenize, tokenize, tokenize.run, data=cleaned, tokenizer=words)
    shape = {"size": chain.size, "length": chain.length, "tokens": chain.tokens}
    base = last = add("pretrain", pretrain.Pretrain, pretrain, pretrain.run, data=tokens, **shape, **machine)
    measured: dict[str, Any] = {"text": cleaned}
    if chain.chats:
        last = add("sft", sft.Sft, sft, sft.run, model=base, chats=chain.chats, length=chain.length, **machine)
        measured |= {"base": base, "chats": last}
    if chain.preferences:
        pairs, tuned = chain.preferences, last
        if SAMPLED in pairs:
            sampled = {"model": tuned, "chats": chain.chats, **machine}
            made_pairs = add("preferences", preferences.SamplePreferences, preferences, preferences.run, **sampled)
            pairs = tuple(str(made_pairs) if given == SAMPLED else given for given in pairs)
        last = add("dpo", dpo.Dpo, dpo, dpo.run, model=tuned, preferences=pairs, length=chain.length, **machine)
        measured |= {"preferences": last, "reference": tuned}
    add("evaluation", evaluation.Evaluate, evaluation, evaluation.run, model=last, **measured, **machine)
    add("model", publish.Publish, publish, publish.run, model=last)
    if changes:
        known = [node.name for node in made]
        raise UserError(
            f"there is no stage '{next(iter(changes))}'", where="set", remedy=nearest(next(iter(changes)), known)
        )
    return made


def _changes(chain: Chain) -> dict[str, dict[str, Any]]:
    """'pretrain.optimizer.lr=0.002' → {"pretrain": {"optimizer": {"lr": 0.002}}}."""
    import yaml

    changes: dict[str, Any] = {}
    for text in chain.set:
        path, separator, value = text.partition("=")
        keys = path.strip().split(".")
        if not separator or len(keys) < 2:
            raise UserError(
                f"'{text}' is not a change", where="set", remedy="Write stage.key=value, such as sft.epochs=5"
            )
        place = changes
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = yaml.safe_load(value)
    return changes


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def run(chain: Chain, *, fresh: bool = False) -> Path:
    """Walk the road; returns the directory of the model."""
    road, conditions, began = nodes(chain), [gates.parse(gate) for gate in chain.gates], time.monotonic()
    for gate in conditions:
        if gate.stage not in [node.name for node in road]:
            raise UserError(f"the stage '{gate.stage}' is not in this chain", where=f"gates: {gate.text}")
    for line in plan(chain, road):
        say(line)
    ran = 0
    from danlu.base.device import give_back_memory

    for node in road:
        reason = "--fresh" if fresh else node.reason()
        if reason is None:
            say(f"{node.name}: up to date")
            found = artifact.load(node.out)
        else:
            say(f"{node.name}: {'taken up again' if reason == artifact.UNFINISHED else reason}")
            found = node.run(node.recipe, fresh=reason != artifact.UNFINISHED)
            give_back_memory()
            ran += 1
        for gate in conditions:
            if gate.stage == node.name:
                gate.check(found.metrics)
    from danlu.recipes.reporting import report

    if ran or not (chain.out / "report.html").exists():
        report(chain.out)
    say(f"{ran} of {len(road)} stages ran in {duration(time.monotonic() - began)}; talk: danlu chat {road[-1].out}")
    return road[-1].out


def plan(chain: Chain, road: list[Node]) -> Iterator[str]:
    """What is going to happen: stages, sizes, tokens, minutes."""
    from danlu.recipes.estimate import estimate

    waiting, guess = False, estimate(chain.text, chain.chats, {node.name: node.recipe for node in road})
    yield f"{'stage':<12} {'what':<58} {'about':<12} state"
    for node in road:
        what, seconds = guess[node.name]
        reason = None if waiting else node.reason()
        state = "after the stages above" if waiting else reason or "up to date"
        waiting = waiting or reason is not None
        yield f"{node.name:<12} {what:<58} {'~' + duration(max(seconds, 1)):<12} {state}"
    total = sum(seconds for _, seconds in guess.values())
    yield f"{'in all':<12} {'':<58} ~{duration(total)} on this machine, if everything runs"
