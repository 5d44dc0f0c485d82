"""What a fine-tuning recipe leaves open, settled: the usual numbers, or with ``--auto`` those of `danlu.plan.tuning`.

The learning rate always follows from the method and the size of the model. What is given stands.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from danlu.plan import tuning
from danlu.plan.scaling import Derived

if TYPE_CHECKING:
    from danlu.model.config import ModelConfig
    from danlu.recipes.sft import Sft
    from danlu.tokens.tokenizer import Tokenizer

EPOCHS, LENGTH, BATCH_TOKENS = 3.0, 512, 4_096
LOOKED_AT = 2000  # conversations whose length is taken
SIZED = (
    "full",
    "freeze",
    "lora",
    "qlora",
    "adapter",
)  # the others learn vectors, no matrices: neither laws nor Muon know them


def settled(recipe: "Sft", tokenizer: "Tokenizer", config: "ModelConfig") -> "tuple[Sft, dict[str, Derived]]":
    """The recipe with every number in it, and where those come from that were derived."""
    changes, found = dict[str, Any](), dict[str, Derived]()
    if recipe.auto:
        found = derived(recipe, tokenizer, config)
        changes = {name: item.value for name, item in found.items() if name != "warmup"}
    usual = {"length": LENGTH, "batch_tokens": BATCH_TOKENS, "epochs": EPOCHS}
    if recipe.steps or recipe.seconds:
        del usual["epochs"]
    changes |= {name: value for name, value in usual.items() if not getattr(recipe, name) and name not in changes}
    if "warmup" in found:
        rise = float(found["warmup"].value)
        decay = min(recipe.schedule.decay, 1 - rise)
        changes["schedule"] = replace(recipe.schedule, warmup=rise, decay=decay)
    if recipe.optimizer.lr is None and not recipe.find_lr:
        rate = recipe.settings(1).optimizer.value("lr")
        size, name = config.matrix_parameters(), recipe.optimizer.name
        found["lr"] = Derived(rate, f"--method {recipe.method}")
        if recipe.method in SIZED:
            found["lr"] = tuning.learning_rate(rate, size, recipe.method, name)
        changes["optimizer"] = replace(recipe.optimizer, lr=float(found["lr"].value))
    return replace(recipe, **changes), found


def derived(recipe: "Sft", tokenizer: "Tokenizer", config: "ModelConfig") -> dict[str, Derived]:
    """What of the numbers is not given, in the order in which they follow from one another."""
    from danlu.recipes.chats import conversations_from
    from danlu.tokens.samples import build

    found = dict[str, Derived]()
    chats = conversations_from(recipe.chats, recipe.bad_share, recipe.most_per_source)
    step = max(len(chats) / LOOKED_AT, 1.0)
    looked = [chats[int(i * step)] for i in range(int(len(chats) / step))]
    most = recipe.length or config.max_length
    items = [item for chat in looked for item in build(tokenizer, chat, most, recipe.learn).items]
    lengths = [len(item) for item in items] or [most]
    if not recipe.length:
        found["length"] = tuning.length(lengths, config.max_length)
    row = recipe.length or int(found["length"].value)
    training = len(chats) * (1 - recipe.held_out_share - recipe.test_share)
    tokens = round(training * sum(min(size, row) for size in lengths) / max(len(looked), 1))
    if not recipe.batch_tokens:
        found["batch_tokens"] = tuning.batch_tokens(tokens, row)
    batch = recipe.batch_tokens or int(found["batch_tokens"].value)
    whole = max(tokens / _own(recipe, max(batch // row, 1) * row), 1e-9)  # steps of an epoch
    if not (recipe.epochs or recipe.steps or recipe.seconds):
        found["epochs"] = tuning.epochs(round(training), whole)
    passes = recipe.epochs or (float(found["epochs"].value) if "epochs" in found else 0.0)
    length = recipe.steps or max(math.ceil(passes * whole), 1)
    if recipe.schedule.warmup is None and recipe.schedule.name != "rising" and not recipe.seconds:
        found["warmup"] = tuning.warmup(length)
    return found


def steps(recipe: "Sft", tokens: int) -> int:
    """Of the run, if neither steps nor the clock say how long it is; ``tokens`` are those of the conversations."""
    return max(math.ceil(recipe.epochs * tokens / _own(recipe, recipe.rows * recipe.length)), 1)


def _own(recipe: "Sft", tokens: int) -> float:
    """How many of a step's tokens are of conversations, and not replayed."""
    return tokens * (1 - recipe.replay_share) if recipe.replay else float(tokens)
