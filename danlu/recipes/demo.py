"""The chain over text and dialogues that installed packages ship: nothing is downloaded, nothing was copied."""

from dataclasses import dataclass, field
from pathlib import Path

from danlu.base.progress import say
from danlu.base.recipe import UNCHANGING
from danlu.recipes.chain import SAMPLED, Chain

TEXT = ("package:tatoeba", "package:python", "package:sanguo")
# Questions about docstrings are four times as many as dialogues, and would drown the small talk.
CHANGES = (
    # As it was tuned and measured. The laws of the size would halve the batch and raise the rate to 1.2e-2.
    "pretrain.batch_tokens=8192",
    "pretrain.optimizer.lr=0.008",
    "pretrain.optimizer.weight_decay=0.1",
    "sft.most_per_source=1600",
    "sft.epochs=7",
    "sft.optimizer.lr=0.002",
    "sft.held_out_share=0.1",
    "preferences.prompts=300",
    "preferences.answers=5",
    "preferences.temperature=1.3",
    "preferences.max_new_tokens=40",
    "preferences.least_difference=0.4",
    "dpo.epochs=2",
    "dpo.optimizer.lr=0.0003",
    "evaluation.temperature=0.3",
)
CHATS = ("package:chatterbot", "package:docstring-questions")


@dataclass(frozen=True)
class Demo:
    """The whole road in eight minutes on two cores, on text that installed packages ship."""

    out: Path = field(default=Path("runs/demo"), metadata=UNCHANGING)
    """The directory that holds a directory for each stage, the model and the report."""
    seed: int = 0
    """Of everything."""


def chain(recipe: Demo) -> Chain:
    """The demo is a chain like any other."""
    return Chain(
        text=TEXT,
        chats=CHATS,
        preferences=(SAMPLED,),
        size="4.5M",
        set=CHANGES,
        out=recipe.out,
        seed=recipe.seed,
    )


def run(recipe: Demo, *, fresh: bool = False) -> Path:
    """Say what is read and whose it is, then walk the road."""
    from danlu.recipes import chain as road
    from danlu.text import packages

    say("text and dialogues from installed packages, read in place:")
    for given in (*TEXT, *CHATS):
        say(f"  {packages.PACKAGES[packages.name_of(given)].summary()}")
    return road.run(chain(recipe), fresh=fresh)
