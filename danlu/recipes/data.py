"""Data for fine-tuning before anything is trained on them: looked at, and brought into another shape.

danlu data inspect chats.json --model runs/base --length 512
danlu data convert chats.json --to messages --out chats.jsonl
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from danlu.base.errors import UserError
from danlu.tokens.templates import Learn, TemplateName

if TYPE_CHECKING:
    from danlu.recipes.inspection import Findings

LENGTH = 512
FORMS = (".jsonl", ".json")


@dataclass(frozen=True)
class Inspect:
    """Say what is in conversations, texts and preference pairs, what training would see of them and what it would lose.

    Nothing is written, and a bad record is shown and passed over.
    """

    files: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Files of records, folders of them, what datasets saved, datasets:NAME[:SPLIT] or package:NAME."""
    model: Path | None = None
    """A model's directory, or a tokenizer's: lengths in tokens, and what is learned; without it, formats only."""
    template: TemplateName = "own"
    """The chat template: the model's own, or one by name."""
    length: int = LENGTH
    """The most tokens of an item, as in danlu sft."""
    learn: Learn = "all"
    """Of several turns: all answers, each in an item of its own, or the last."""
    samples: int = 3
    """Items to show, taken evenly; what is learned of each is coloured, or in brackets where there is no terminal."""

    def __post_init__(self) -> None:
        if not self.files:
            raise UserError("needs at least one file", where="recipe: files")
        if self.length < 2 or self.samples < 0:
            raise UserError("needs a length of at least 2, and samples not negative", where="recipe")
        for key, default in (("template", "own"), ("length", LENGTH), ("learn", "all")):
            if self.model is None and getattr(self, key) != default:
                raise UserError("says something of tokens", where=f"recipe: {key}", remedy="Give --model too")


@dataclass(frozen=True)
class Convert:
    """Write conversations as records of another shape, each checked on the way."""

    file: Annotated[str, tyro.conf.Positional]
    """A file of conversations, a folder, what datasets saved, datasets:NAME[:SPLIT] or package:NAME."""
    out: Path
    """The file to write: .jsonl has a record a line, .json one list."""
    to: Literal["messages", "sharegpt", "alpaca"] = "messages"
    """The shape of a record: OpenAI's messages, ShareGPT's conversations or Alpaca's instruction and output."""

    def __post_init__(self) -> None:
        if self.out.suffix not in FORMS:
            raise UserError("is no file of records", where=self.out, remedy=f"Supported: {', '.join(FORMS)}")


def inspect(recipe: Inspect) -> "list[Findings]":
    """Print what is found, file by file, and return it."""
    from danlu.recipes.inspection import examined, opened, show

    tokenizer = None if recipe.model is None else opened(recipe.model, recipe.template)
    found = examined(recipe, tokenizer)
    show(recipe, found, tokenizer)
    return found


def convert(recipe: Convert) -> Path:
    """Write the file; a record that the shape cannot hold is an error, and then there is no file."""
    import json

    from danlu.base.files import write_text
    from danlu.base.progress import say
    from danlu.text.conversations import read_conversations
    from danlu.text.converting import record_as

    if recipe.out.exists():
        raise UserError("is there already", where=recipe.out, remedy="Choose another --out")
    records = [record_as(found, recipe.to) for found in read_conversations(recipe.file, bad_share=0.0)]
    if recipe.out.suffix == ".json":
        text = json.dumps(records, ensure_ascii=False, indent=1) + "\n"
    else:
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_text(recipe.out, text)
    say(f"  {len(records)} conversations as {recipe.to} in {recipe.out}")
    return recipe.out
