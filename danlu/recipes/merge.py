"""An adapter → a complete Hugging Face directory, in which it is one with its base.

    danlu merge runs/sft-lora --out runs/merged

W + s · B A is rounded once, and what that moves is measured: the logits of the merged model against those of the base
with the adapter beside it. Of an adapter that QLoRA trained, W may be the base in four bits as it was then (--quantize
nf4); the result has float32 numbers all the same, unless they are rounded to four bits again (--requantize), which
moves a great deal more: it is for knowing, before it is done by another program, what that will cost.

    danlu merge runs/kind --add runs/terse --weights 0.7 0.3 --out runs/both

merges the weighted sum of several LoRA adapters of one base.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.progress import say
from danlu.base.recipe import UNCHANGING
from danlu.model.adapters.quantization import Quantize

if TYPE_CHECKING:
    from danlu.model.transformer import Transformer
    from danlu.tokens.tokenizer import Tokenizer

STAGE = "merge"
# Of SmolLM2-135M in float32 a sum that is rounded once moves most logits by less than 1e-4; but one position of 512 by
# 0.0046, which the merged model also differs by from itself, 0.0052, where 16 tokens are computed in place of 128.
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Merge:
    """Merge an adapter into its base, and measure that nothing else came of it."""

    adapter: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="ADAPTER")] = field(metadata=UNCHANGING)
    """A PEFT directory: adapter_config.json and adapter_model.safetensors."""
    base: Path | None = field(default=None, metadata=UNCHANGING)
    """The model that the adapter was trained on, or, after an extension, the one from before it; unset is what the
    adapter's configuration names."""
    out: Path = field(default=Path("runs/merged"), metadata=UNCHANGING)
    """The directory to write."""
    tolerance: float = TOLERANCE
    """The largest difference of a logit that is let pass; up to 0.005 was measured for SmolLM2-135M in float32."""
    add: tuple[Path, ...] = field(default=(), metadata=UNCHANGING)
    """More LoRA adapters of the same base, whose effects are added."""
    weights: tuple[float, ...] = ()
    """What the effects are multiplied with, one number for each adapter; unset is 1."""
    quantize: Quantize = "none"
    """nf4 merges into the base in four bits, as QLoRA trained on it, in place of the base as it is."""
    requantize: bool = False
    """Round the merged layers to NF4 once more, without a second quantisation of scales, and write those numbers."""

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != 1 + len(self.add):
            what = f"{1 + len(self.add)} adapters need as many weights, found {len(self.weights)}"
            raise UserError(what, where="recipe: weights")
        if self.quantize != "none" and (self.add or self.weights):
            what = (
                "a sum of adapters is one beside the whole base, and each was trained beside a rounded one of its own"
            )
            raise UserError(what, where="recipe: quantize", remedy="Leave it out")
        if not self.tolerance >= 0:
            raise UserError(f"must not be negative, found {self.tolerance}", where="recipe: tolerance")


def sources(recipe: Merge) -> dict[str, Path]:
    """What the stage reads; a `UserError` if it is to write there too."""
    from danlu.model.adapters.loading import base_of

    found = {"adapter": recipe.adapter, "base": base_of(recipe.adapter, recipe.base)}
    found |= {f"adapter {number}": path for number, path in enumerate(recipe.add, 2)}
    if recipe.out.resolve() in [path.resolve() for path in found.values()]:
        raise UserError("is also read from", where=f"recipe: out {recipe.out}", remedy="Choose another --out")
    return found


def run(recipe: Merge, *, fresh: bool = False) -> Artifact:
    """Write the merged model; nothing is written if it differs from the unmerged by more than the tolerance."""
    from danlu.base.files import existing
    from danlu.model.adapters.loading import base_of
    from danlu.recipes.training import save_chat_model

    existing(recipe.adapter, remedy="Give what 'danlu sft --method lora' or peft wrote")
    inputs = sources(recipe)
    for path in recipe.add:
        if recipe.base is None and base_of(path).resolve() != inputs["base"].resolve():
            raise UserError(f"its base is {base_of(path)}, and the first one's {inputs['base']}", where=path)
    how = (recipe.quantize, recipe.requantize)
    made = merged(recipe.adapter, inputs["base"], recipe.tolerance, recipe.add, recipe.weights, *how)
    draft = artifact.begin(recipe.out, STAGE, recipe, inputs, fresh=fresh)
    save_chat_model(made.model, made.tokenizer, recipe.out)
    draft.metrics = made.metrics
    return draft.finish()


class Merged(NamedTuple):
    """One model, its tokenizer, and what merging moved."""

    model: "Transformer"
    tokenizer: "Tokenizer"
    metrics: dict[str, Any]


def merged(
    adapter: Path,
    base: Path,
    tolerance: float = TOLERANCE,
    more: Sequence[Path] = (),
    weights: Sequence[float] = (),
    quantize: Quantize = "none",
    requantize: bool = False,
) -> Merged:
    """An adapter, or a weighted sum of it and ``more``, made one with its base.

    A `UserError` if a logit moves by more than the tolerance, or the adapter is of a kind that cannot be merged.
    """
    from danlu.model.adapters.combining import combined
    from danlu.model.adapters.files import read_adapter
    from danlu.model.adapters.loading import check_merges, open_saved
    from danlu.model.adapters.merging import MEASURED, logits_on_samples, merge, movement, round_again
    from danlu.recipes.training import check_vocabulary, tokenizer_home
    from danlu.tokens.tokenizer import Tokenizer

    check_merges(adapter)
    saved = read_adapter(adapter)
    if more or weights:
        saved = combined([saved, *map(read_adapter, more)], weights or [1.0] * (1 + len(more)))
    model = open_saved(saved, base, quantize)
    home = adapter if (adapter / "tokenizer.json").is_file() else tokenizer_home(base)
    tokenizer = Tokenizer.load(home)
    check_vocabulary(model, tokenizer, home)
    before = logits_on_samples(model)
    merge(model)
    if requantize:
        round_again(model)
    moved = movement(before, logits_on_samples(model))
    difference = moved["largest_difference"]
    say(f"  the largest of {before.numel():,} logits' differences, merged against unmerged: {difference:.2g}")
    if requantize:
        mean, nats = moved["mean_difference"], moved["divergence"]
        say(f"  rounded to NF4 again; the mean difference is {mean:.2g}, and the mean divergence {nats:.2g} nats")
    if not difference <= tolerance:  # so that what is not a number is refused too
        raise UserError(
            f"merging moves a logit by {difference:.2g}, and {tolerance:g} is let pass",
            where=adapter,
            remedy="Use it unmerged, or raise --tolerance of 'danlu merge'",
        )
    metrics = {
        **moved,
        "measured_tokens": MEASURED[0] * min(MEASURED[1], model.config.max_length),
        "parameters": model.config.parameters(),
    }
    return Merged(model, tokenizer, metrics)
