"""General text beside a task's own data: read again so that it is not forgotten, and measured to tell whether it is.

To replay a part of what a model learned before is the oldest remedy for forgetting it (Robins 1995); of fine-tuned
language models Scialom et al. 2022 (arXiv:2205.12393) found one percent to be enough for tasks, and Ibrahim et al. 2024
take 5 to 50 percent for languages. Every token of a replayed document is a target and of a conversation only the
answers are, so its share of the targets is larger than its share of the tokens.

What is measured is the loss and the bits per byte of text that is never learned, before the first step and after the
last.
"""

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.base.artifact import Draft, find
from danlu.base.errors import UserError
from danlu.base.progress import say
from danlu.base.seed import derive

if TYPE_CHECKING:
    from danlu.model.transformer import Transformer
    from danlu.recipes.training import Measure
    from danlu.tokens.batches import PackedBatches
    from danlu.tokens.chat import Rendered
    from danlu.tokens.mixture import Mixture, Tokens
    from danlu.tokens.pack import Array, Items
    from danlu.tokens.tokenizer import Tokenizer

MOST_BYTES = 100_000  # of text that is measured: 135M parameters on one core take half a minute for it
LOSS, BITS = "general_loss", "general_bits_per_byte"


@dataclass(frozen=True)
class Encoded:
    """Documents as ids, and the bytes of their text."""

    documents: "list[tuple[Array, int]]"

    def items(self) -> "list[Rendered]":
        """As items to learn, each id a target."""
        from danlu.tokens.chat import Rendered

        return [Rendered(ids.tolist(), [1] * len(ids)) for ids, _ in self.documents]


def shards_at(path: Path, tokenizer: "Tokenizer") -> "Tokens | Mixture | None":
    """The token shards or the mixture in a directory, or None; a `UserError` if another tokenizer made them."""
    from danlu.recipes.mix import open_training
    from danlu.tokens.tokenizer import Tokenizer

    made = find(path)
    if made is None or made.stage not in ("tokens", "mix"):
        return None
    if Tokenizer.load(path / "tokenizer").rules != tokenizer.rules:
        remedy = "Give the documents themselves, or tokenize them with the model's tokenizer"
        raise UserError("was made with another tokenizer than the model's", where=path, remedy=remedy)
    return open_training(path)


def documents_at(path: Path, tokenizer: "Tokenizer", most_bytes: int = 0) -> Encoded:
    """The documents of a file or folder, as `danlu clean` reads them; at most so many bytes of text, 0 is all."""
    import numpy as np

    from danlu.text.read import read
    from danlu.text.report import Funnel
    from danlu.tokens.shards import encode_documents

    tally, texts, seen = Funnel(), list[str](), 0
    for document in read((str(path),), tally):
        texts.append(document.text)
        seen += len(document.text.encode())
        if most_bytes and seen >= most_bytes:
            break
    for problem in islice(tally.problems, 3):
        say(f"  {problem}")
    if not any(text.strip() for text in texts):
        raise UserError("holds no text", where=path, remedy="Give a file of documents, or a folder of them")
    encoded = encode_documents(tokenizer, texts)
    return Encoded([(np.asarray(found.ids, np.int64), found.bytes) for found in encoded])


def replayed(
    path: Path, tokenizer: "Tokenizer", length: int, seed: int
) -> "tuple[dict[str, PackedBatches], dict[str, float]]":
    """Rows of general text, by the name of their part, one at a time; and the share of each part."""
    from danlu.tokens.batches import PackedBatches
    from danlu.tokens.mixture import Mixture
    from danlu.tokens.pack import ListItems, ShardItems

    found = shards_at(path, tokenizer)
    items: dict[str, Items]
    if found is None:
        items, shares = {"replay": ListItems(documents_at(path, tokenizer).items())}, {"replay": 1.0}
    elif isinstance(found, Mixture):
        items = {f"replay {name}": part for name, part in found.items.items() if found.shares[name]}
        shares = {name: found.shares[name.removeprefix("replay ")] for name in items}
    else:
        items, shares = {"replay": ShardItems(found.training)}, {"replay": 1.0}
    parts = {}
    for name, part in items.items():
        own = derive(seed, name)
        parts[name] = PackedBatches(part, batch_size=1, length=length, pad_id=tokenizer.pad_id, seed=own, split=True)
    return parts, shares


def held_out(path: Path, tokenizer: "Tokenizer") -> Encoded:
    """The first documents of a file or folder, or of what is held out of token shards."""
    found = shards_at(path, tokenizer)
    if found is None:
        return documents_at(path, tokenizer, MOST_BYTES)
    documents, seen = list[tuple["Array", int]](), 0
    for shards in found.held_out:
        for number in range(len(shards)):
            if seen < MOST_BYTES:
                documents.append((shards[number], shards.bytes_of(number)))
                seen += documents[-1][1]
    if not documents:
        raise UserError("holds nothing out", where=path, remedy="Give the documents themselves")
    return Encoded(documents)


def forgetting(draft: Draft, path: Path, own: "Measure", tokenizer: "Tokenizer", length: int) -> "Measure":
    """``own``, and beside it how well ``path`` is known; the draft's metrics say before and after."""
    from danlu.evaluate.perplexity import fit
    from danlu.recipes.continuing import windows_of

    documents = held_out(path, tokenizer).documents

    def measure(model: "Transformer") -> list[dict[str, object]]:
        rows = own(model) or [{}]
        with windows_of(model, length):
            found = fit(model, documents, pad_id=tokenizer.pad_id)
        after = {LOSS: found.loss, BITS: found.bits_per_byte}
        before = _first(draft.path / "metrics.jsonl") or after
        draft.metrics["forgetting"] = {key: [before[key], value] for key, value in after.items()}
        return [{**rows[0], **after}, *rows[1:]]

    return measure


def _first(file: Path) -> dict[str, float] | None:
    """The first measurement in a file of metrics."""
    if not file.exists():
        return None
    with open(file, encoding="utf-8") as lines:
        return next((row for row in map(json.loads, lines) if row.get("kind") == "eval" and BITS in row), None)


def tell(metrics: "dict[str, object]") -> None:
    """What general text lost, where it was measured."""
    found = metrics.get("forgetting")
    if isinstance(found, dict):
        before, after = found[BITS]
        change = 100 * (after / before - 1)
        say(f"  general text: {before:.4f} → {after:.4f} bits per byte ({change:+.1f} %)")
