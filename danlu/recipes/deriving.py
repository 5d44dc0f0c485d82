"""What a pretraining recipe leaves open, settled by the laws of `danlu.plan.scaling` for the model that it trains."""

from dataclasses import replace
from typing import Any

from danlu.model.config import ModelConfig
from danlu.plan import scaling
from danlu.plan.scaling import Derived
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.shapes import SHAPES, preset
from danlu.recipes.sizes import explain, parse_count, sized
from danlu.train.settings import READS


def shaped(recipe: Pretrain, vocab_size: int) -> tuple[ModelConfig, dict[str, Derived]]:
    """The shape of a new model, and where its numbers come from."""
    if recipe.preset is not None:
        wanted = preset(recipe.preset, vocab_size, recipe.length)
        source = f"{recipe.preset}: {SHAPES[recipe.preset].source}"
    else:
        wanted, source = sized(recipe.about, vocab_size, recipe.length), ""
    wanted = replace(wanted, causal=recipe.objective == "causal")
    config = recipe.shape.apply(wanted)
    return config, explain(config, wanted, source)


def run_tokens(recipe: Pretrain, config: ModelConfig, epoch: int, mixed: bool = False) -> Derived:
    """How many tokens the run is of, where its data have ``epoch``: a mixture was planned for as many as it has."""
    ended = "the laws' own; the run ends by " + ("steps" if recipe.steps else "the clock")
    if recipe.tokens is None and recipe.from_model is None and not mixed:
        found = scaling.tokens(config.matrix_parameters(), epoch)
    elif recipe.tokens in (None, "0"):
        whole = epoch if recipe.replay is None else round(epoch / (1 - recipe.replay_share))
        source = "what the mixture was planned for" if mixed else "one epoch of the data"
        found = Derived(whole, source + (", and the replay beside it" if recipe.replay else ""))
    else:
        found = Derived(parse_count(str(recipe.tokens), "tokens"), "given")
    return Derived(found.value, ended) if recipe.steps or recipe.seconds else found


def settle(recipe: Pretrain, config: ModelConfig, run: Derived) -> tuple[Pretrain, dict[str, Derived]]:
    """The recipe with every number in it, and where those come from that it did not hold."""
    optimizer, schedule = recipe.optimizer, recipe.schedule
    keys = {"lr": optimizer.lr, "weight_decay": optimizer.weight_decay, "beta2": optimizer.beta2}
    keys |= {"warmup": schedule.warmup, "batch_tokens": recipe.batch_tokens}
    given = {"tokens": run.value, **{name: value for name, value in keys.items() if value is not None}}
    found = scaling.derive(config.matrix_parameters(), length=recipe.length, optimizer=optimizer.name, given=given) | {
        "tokens": run
    }
    if "beta2" not in READS[optimizer.name]:
        del found["beta2"]
    numbers: dict[str, Any] = {name: item.value for name, item in found.items()}
    told = {name: numbers[name] for name in ("lr", "weight_decay", "beta2") if name in numbers}
    settled = replace(
        recipe,
        tokens=recipe.tokens if recipe.steps or recipe.seconds else str(run.value),
        batch_tokens=int(numbers["batch_tokens"]),
        optimizer=optimizer.filled(**told),
        schedule=replace(schedule, warmup=numbers["warmup"]),
    )
    return settled, found
