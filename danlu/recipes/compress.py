"""A model → one whose numbers four bits hold exactly, chosen so that its answers change least.

    danlu compress runs/sft --chats chats.jsonl --out runs/four-bits
    danlu sft --model runs/four-bits --chats chats.jsonl --method qlora --out runs/qlora
    danlu merge runs/qlora --base runs/sft --out runs/whole

What rounding to the nearest costs a small model, most of it is won back by choosing the codes together (GPTQ:
`danlu.compress.gptq`), with a few conversations or texts that show what goes through the layers. The result is a
directory in float32, like any other, and as large; in four bits it is where it is used: QLoRA, ``--quantize nf4``, and
bitsandbytes in transformers find those codes again.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.device_names import DeviceName, Precision
from danlu.base.errors import UserError
from danlu.base.progress import say, track
from danlu.base.recipe import UNCHANGING
from danlu.recipes.common import share

if TYPE_CHECKING:
    from danlu.model.transformer import Transformer
    from danlu.recipes.dialogues import Built
    from danlu.tokens.tokenizer import Tokenizer

STAGE = "compress"
SHOWN_AS = {"whole": "as it was", "nearest": "rounded to the nearest", "chosen": "with chosen codes"}


@dataclass(frozen=True)
class Compress:
    """Choose the four-bit codes of a model's linear layers by what goes through them."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = field(metadata=UNCHANGING)
    """A model directory of a family that Danlu computes itself, with attention in every block."""
    chats: tuple[str, ...]
    """Conversations or texts like those it will be used for, never those it will be judged by: files, folders,
    datasets:NAME[:SPLIT] or package:NAME."""
    out: Path = field(default=Path("runs/compress"), metadata=UNCHANGING)
    """The directory to write."""
    documents: int = 96
    """Walk through the model with so many of them, taken evenly."""
    length: int = 512
    """The most tokens of one; longer conversations are cut at whole turns."""
    held_out_share: float = 0.05
    """The share held out to measure what is lost: those that `danlu sft` with the same share and seed holds out."""
    bad_share: float = 0.01
    """The share of a file's records that may be unreadable; beyond it the run stops."""
    device: DeviceName = "auto"
    """auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """auto, fp32, bf16 or fp16: of what goes through the layers. The codes are chosen in float32 and float64."""
    seed: int = 0
    """Of what is held out."""

    def __post_init__(self) -> None:
        if not self.chats:
            raise UserError("needs at least one file or package:NAME", where="recipe: chats")
        for key, least in (("documents", 1), ("length", 2)):
            if getattr(self, key) < least:
                raise UserError(f"must be at least {least}, found {getattr(self, key)}", where=f"recipe: {key}")
        share(self.held_out_share, "held_out_share")


def sources(recipe: Compress) -> dict[str, Path]:
    """What the stage reads; a `UserError` if it is to write there too."""
    from danlu.recipes.chats import paths_of

    if recipe.out.resolve() == recipe.model.resolve():
        raise UserError("is also read from", where=f"recipe: out {recipe.out}", remedy="Choose another --out")
    return {"model": recipe.model, **paths_of(recipe.chats)}


def run(recipe: Compress, *, fresh: bool = False) -> Artifact:
    """Write the model; its manifest says the loss as it was, rounded to the nearest, and with chosen codes."""
    from danlu.base.device import torch_dtype
    from danlu.compress.calibrate import calibrate, check_blocks
    from danlu.compress.gptq import chosen
    from danlu.model.adapters.merging import round_again
    from danlu.model.hub import is_adapter, load_model
    from danlu.recipes.training import check_length, check_vocabulary, held_out_loss, prepare, save_chat_model
    from danlu.tokens.tokenizer import Tokenizer

    inputs = sources(recipe)
    if is_adapter(recipe.model):
        remedy = f"Merge it into its base first: danlu merge {recipe.model} --out DIR"
        raise UserError("holds an adapter, whose base's numbers are elsewhere", where=recipe.model, remedy=remedy)
    tokenizer = Tokenizer.load(recipe.model)
    model = load_model(recipe.model)
    check_blocks(model)
    check_vocabulary(model, tokenizer, recipe.model)
    check_length(recipe.length, model.config)
    learned, held_out = documents(recipe, tokenizer)
    draft = artifact.begin(recipe.out, STAGE, recipe, inputs, fresh=fresh)
    machine = prepare(draft, recipe.device, recipe.precision, recipe.seed)
    model.to(machine.device).compute_dtype = torch_dtype(machine.precision)

    def measure(name: str, model: "Transformer" = model) -> None:
        held_out_loss(draft, held_out.items, tokenizer, recipe.length, f"{name}_loss")(model)
        if held_out.items:
            say(f"  loss {draft.metrics[f'{name}_loss']:.4f} {SHOWN_AS[name]}, {held_out.kept} held out")

    measure("whole")
    measure("nearest", round_again(copy.deepcopy(model)))
    done = calibrate(model, learned, chosen)
    for _ in track(done, f"walking through with {len(learned)} documents", len(model.blocks), "blocks"):
        pass
    measure("chosen")
    if held_out.items and draft.metrics["chosen_loss"] > draft.metrics["nearest_loss"]:
        say("  rounding to the nearest loses less on these: more --documents, or ones more like them, may mend that")
    model.cpu().compute_dtype = torch_dtype("fp32")
    save_chat_model(model, tokenizer, recipe.out)
    draft.metrics |= {
        "documents": len(learned),
        "tokens": sum(map(len, learned)),
        "parameters": model.config.parameters(),
    }
    return draft.finish()


def documents(recipe: Compress, tokenizer: "Tokenizer") -> tuple[list[list[int]], "Built"]:
    """The ids of what the model is walked through with, and what is held out."""
    from danlu.recipes.chats import conversations_from
    from danlu.recipes.dialogues import built_from
    from danlu.recipes.sides import grouped, normalized, sides

    chats = conversations_from(recipe.chats, recipe.bad_share)
    found = sides(grouped([normalized(chat.question) for chat in chats]), recipe.held_out_share, 0.0, recipe.seed)
    held_out = [chat for chat, side in zip(chats, found, strict=True) if side == "heldout"]
    rest = [chat for chat, side in zip(chats, found, strict=True) if side == "train"]
    items = built_from(rest, tokenizer, recipe.length, "all").items
    if not items:
        raise UserError(f"nothing of it fits in {recipe.length} tokens", where="recipe: chats", remedy="Raise --length")
    step = max(len(items) / recipe.documents, 1.0)
    taken = [items[int(i * step)].ids for i in range(min(recipe.documents, len(items)))]
    return taken, built_from(held_out, tokenizer, recipe.length, "all")
