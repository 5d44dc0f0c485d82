"""What training a model on needs beyond training one: its new rows, the phases, replay, and what it forgets.

Training on in a new language costs the old one. Three things hold it: the rows of new tokens learn first and the
layers last (`danlu.train.unfreezing`), documents of the old language are read again in a fixed share, and the learning
rate rises anew to a part of what a new model takes; the last two after Ibrahim et al. 2024.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from danlu.base.artifact import Draft
from danlu.base.errors import UserError
from danlu.base.progress import count, say
from danlu.base.seed import derive
from danlu.evaluate.perplexity import Fit, by_source, total
from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.training import check_length
from danlu.tokens.batches import PackedBatches, Source
from danlu.tokens.extending import note
from danlu.tokens.mixture import MixedBatches, Mixture, Tokens
from danlu.tokens.pack import Items, ShardItems
from danlu.tokens.shards import Shards
from danlu.tokens.tokenizer import Tokenizer
from danlu.train.settings import Phase, TrainSettings

FIRST_SHARE = 0.1  # of the steps, for the new rows and then for the embeddings, where a vocabulary was extended
NAMES = {"new rows": "the new rows", "embeddings": "the embeddings", "all": "everything"}


def unchanged(tokenizer: Tokenizer) -> Tokenizer:
    """As it is."""
    return tokenizer


def same_tokenizer(
    tokenizer: Tokenizer, model: Path, data: Path, prepare: Callable[[Tokenizer], Tokenizer] = unchanged
) -> None:
    """Shards of another tokenizer hold ids that mean something else to the model.

    ``prepare`` is what the run does to a tokenizer, so that a mask token makes no difference.
    """
    other = Tokenizer.load(data / "tokenizer")
    if prepare(other).rules != prepare(tokenizer).rules:
        raise UserError(
            f"was made with another tokenizer than that of {model}",
            where=data,
            remedy=f"Make it anew: danlu tokenize --data DOCUMENTS --tokenizer {model} --out {data}",
        )


def first_row(recipe: Pretrain, config: ModelConfig) -> int | None:
    """The first row of new tokens: what the recipe says, or what the extension left in the model's directory."""
    assert recipe.from_model is not None
    if recipe.new_rows_from is None:
        return note.first_new_row(recipe.from_model, config.vocab_size)
    return note.checked(recipe.new_rows_from, config.vocab_size, "recipe: new_rows_from")


def settings(recipe: Pretrain, config: ModelConfig, steps: int) -> TrainSettings:
    """What the loop is told: the phases, and the learning rate to which each rises."""
    check_length(recipe.length, config)
    first = first_row(recipe, config)
    default = 0.0 if first is None else FIRST_SHARE
    rows, tables = (default if s is None else s for s in (recipe.stages.new_rows, recipe.stages.embeddings))
    if rows and first is None:
        raise UserError(
            "there are no new rows, or nobody says where they begin",
            where="recipe: stages.new_rows",
            remedy="Give --new-rows-from, the first id that is new, or a model that 'danlu tokenizer extend' wrote",
        )
    ends = [round(rows * steps), round((rows + tables) * steps), steps]
    lengths = zip(("new rows", "embeddings", "all"), (b - a for a, b in zip([0, *ends], ends)))
    phases = tuple(Phase(name, length, first or 0) for name, length in lengths if length)  # type: ignore[arg-type]
    peak = recipe.optimizer.value("lr") * recipe.rewarm
    for phase in phases:
        which = f" ({config.vocab_size - phase.first_row} from {phase.first_row} on)" * (phase.learns == "new rows")
        say(f"  {phase.steps} steps: {NAMES[phase.learns]}{which}, learning rate up to {peak:g}")
    optimizer = dataclasses.replace(recipe.optimizer, lr=peak)
    return dataclasses.replace(recipe.settings(steps), optimizer=optimizer, phases=phases, evaluate_first=True)


def check_budget(data: Tokens | Mixture, replay: Tokens | Mixture | None, share: float, tokens: int) -> None:
    """A mixture may have been planned for less than its part of ``tokens``."""
    data.check(int(tokens * (1 - share)) if replay else tokens)
    if replay:
        replay.check(int(tokens * share))


def batches(data: Tokens | Mixture, replay: Tokens | Mixture, share: float, **shape: Any) -> Source:
    """Rows of both, each row all of one, in fixed shares of the tokens: `danlu mix`'s way of dealing.

    ``shape``: batch_size, length, pad_id and seed.
    """
    size, seed = shape.pop("batch_size"), shape.pop("seed")
    sources, shares = dict[str, PackedBatches](), dict[str, float]()
    for kind, found, whole in (("data", data, 1 - share), ("replay", replay, share)):
        for name, (items, part) in _parts(found).items():
            key = f"{kind} {name}".rstrip()
            sources[key] = PackedBatches(items, batch_size=1, seed=derive(seed, kind, name), split=True, **shape)
            shares[key] = part * whole
    return MixedBatches(sources, shares, batch_size=size)


def _parts(found: Tokens | Mixture) -> dict[str, tuple[Items, float]]:
    if isinstance(found, Tokens):
        return {"": (ShardItems(found.training), 1.0)}
    return {name: (items, found.shares[name]) for name, items in found.items.items() if found.shares[name]}


Row = dict[str, object]


def measure(
    draft: Draft, recipe: Pretrain, data: Tokens | Mixture, replay: Tokens | Mixture | None, pad_id: int
) -> Callable[[Transformer], list[Row]]:
    """Bits per byte of every source held out, of the data and of the replay; noted in the draft's metrics.

    ``bits_per_byte`` is the data's alone; the replay's has a name of its own, so that forgetting hides nowhere.
    """

    def fits(model: Transformer, held_out: tuple[Shards, ...]) -> dict[str, Fit]:
        found: dict[str, Fit] = {}
        for shards in held_out:  # several, where the data is a mixture
            with windows_of(model, recipe.length):
                each = by_source(model, shards, pad_id=pad_id, most_bytes=recipe.evaluation_bytes)
            found |= {source: found.get(source, Fit(0.0, 0, 0)) + fit for source, fit in each.items()}
        return found

    def row(model: Transformer) -> list[Row]:
        found = fits(model, data.held_out)
        overall = total(found)
        line: Row = {"bits_per_byte": overall.bits_per_byte, "loss": overall.loss}
        line |= {f"bits_per_byte/{source}": fit.bits_per_byte for source, fit in found.items()}
        if replay is not None:
            again = fits(model, replay.held_out)
            line["bits_per_byte_replay"] = total(again).bits_per_byte
            line |= {f"bits_per_byte/replay/{source}": fit.bits_per_byte for source, fit in again.items()}
        draft.metrics |= {"bits_per_byte": overall.bits_per_byte}
        if recipe.from_model is not None:
            after = {key: value for key, value in line.items() if key.startswith("bits_per_byte")}
            before = _first(draft.path / "metrics.jsonl") or after
            draft.metrics["change"] = {key: [before.get(key), value] for key, value in after.items()}
        return [line]

    return row


@contextmanager
def windows_of(model: Transformer, length: int) -> Iterator[None]:
    """Measure in windows of the training's length: at the 8,192 tokens that some models take, a row costs gigabytes."""
    whole = model.config
    shorter = min(length, whole.max_length)
    model.config = dataclasses.replace(whole, max_length=shorter, window=min(whole.window, shorter))
    try:
        yield
    finally:
        model.config = whole


def _first(file: Path) -> Row | None:
    """The first evaluation in a file of metrics."""
    if not file.exists():
        return None
    with open(file, encoding="utf-8") as lines:
        return next((row for row in map(json.loads, lines) if row.get("kind") == "eval"), None)


def tell(change: dict[str, list[float]]) -> None:
    """What was learned and what was forgotten, source by source."""
    for key, (before, after) in change.items():
        name = key.removeprefix("bits_per_byte").strip("/_") or "data"
        say(f"  {name}: {before:.4f} → {after:.4f} bits per byte ({100 * (after / before - 1):+.1f} %)")


def describe_read(tokens: int, steps: int, replay: object, share: float) -> str:
    """One line on what is read."""
    again = f", {share:.0%} of them replay" if replay else ""
    return f"{count(tokens)} tokens in {steps} steps{again}"
