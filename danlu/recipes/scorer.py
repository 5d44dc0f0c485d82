"""Bits a byte of texts by any language model: what the perplexity filter asks for.

A folder that ``danlu quality --kind ngram`` wrote needs no torch. A Hugging Face directory of a native family is read
by `danlu.model.hub`, any other by transformers. A scorer is a small frozen object that pickles; each process reads
the model when it first scores.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from danlu.base.device_names import DeviceName
from danlu.base.errors import MissingExtra, UserError
from danlu.base.files import existing
from danlu.text.filters import ngram, trained
from danlu.text.filters.perplexity import Scorer


def perplexity_scorer(model: str | Path, device: DeviceName = "auto", length: int = 1024, batch: int = 16) -> Scorer:
    """A function from texts to their bits a byte; a `UserError` if ``model`` is not a folder with a model in it."""
    folder = existing(Path(model).expanduser(), remedy="Give a folder with a model in it")
    if (folder / trained.FACTS).is_file():
        return NgramScorer(folder)
    existing(folder / "config.json", remedy="Give a model directory, or one that 'danlu quality --kind ngram' wrote")
    return NeuralScorer(folder, device, length, batch)


@dataclass(frozen=True)
class NgramScorer:
    """By the built-in n-gram model."""

    folder: Path

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Bits a byte of each text."""
        return _ngram(self.folder, trained.version(self.folder)).score(texts)


@lru_cache(maxsize=4)
def _ngram(folder: Path, version: int) -> ngram.NgramModel:
    return ngram.load(folder)


@dataclass(frozen=True)
class NeuralScorer:
    """By a causal language model. A text's first token is predicted from the tokenizer's begin mark, its end is not."""

    folder: Path
    device: DeviceName
    length: int
    batch: int

    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Bits a byte of each text; 0 for an empty one."""
        network = _network(self.folder, self.device)
        nats = [0.0] * len(texts)
        for owners, ids, mask in _batches(network, texts, min(self.length, network.longest), self.batch):
            for owner, row in zip(owners, network.nats(ids, mask), strict=True):
                nats[owner] += row
        sizes = [len(text.encode("utf-8", "replace")) for text in texts]
        return [round(n / math.log(2) / max(size, 1), 6) for n, size in zip(nats, sizes, strict=True)]


@dataclass(frozen=True)
class Network:
    """A loaded model: ``encode`` gives ids with the begin mark, ``forward`` logits ``[B, T, V]`` of ids ``[B, T]``."""

    encode: Callable[[str], list[int]]
    forward: Callable[[Any], Any]
    longest: int
    device: Any

    def nats(self, ids: list[list[int]], mask: list[list[float]]) -> list[float]:
        """Minus the log-probability of the masked tokens of each row, all padded to the longest on the right."""
        import torch
        from torch.nn.functional import cross_entropy

        width = max(map(len, ids))
        rows = torch.tensor([row + [0] * (width - len(row)) for row in ids], device=self.device)
        weights = torch.tensor([row + [0.0] * (width - len(row)) for row in mask], device=self.device)
        with torch.inference_mode():
            # Causal attention: what stands right of a token, the padding, does not reach it.
            logits = self.forward(rows)[:, :-1].float()
            losses = cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")
            return [float(value) for value in (losses * weights[:, 1:]).double().sum(1)]


def _batches(
    network: Network, texts: Sequence[str], length: int, batch: int
) -> "list[tuple[list[int], list[list[int]], list[list[float]]]]":
    """Windows of all texts in batches of like length: (text of each row, ids, mask)."""
    import numpy as np

    from danlu.evaluate.perplexity import windows

    rows = []
    for owner, text in enumerate(texts):
        ids = np.array(network.encode(text.encode("utf-8", "replace").decode("utf-8")))
        if len(ids) > 1:
            rows += [(owner, piece.tolist(), mask.tolist()) for piece, mask in windows(ids, length)]
    rows.sort(key=lambda row: len(row[1]))
    return [
        tuple(map(list, zip(*rows[start : start + batch], strict=True)))  # type: ignore[misc]
        for start in range(0, len(rows), batch)
    ]


@lru_cache(maxsize=2)
def _network(folder: Path, device: DeviceName) -> Network:
    """The model in ``folder``, read once in each process."""
    from danlu.base.device import pick_device
    from danlu.model import families

    place = pick_device(device)
    try:
        family = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except ValueError as error:
        raise UserError(f"not valid JSON ({error})", where=folder / "config.json") from None
    return _native(folder, place) if family in ("danlu", *families.types()) else _foreign(folder, place)


def _native(folder: Path, place: Any) -> Network:
    from danlu.model.hub import load_model
    from danlu.recipes.training import check_vocabulary
    from danlu.tokens.tokenizer import Tokenizer

    model, tokenizer = load_model(folder).to(place).eval(), Tokenizer.load(folder)
    check_vocabulary(model, tokenizer, folder)
    return Network(lambda text: [tokenizer.bos_id, *tokenizer.encode(text)], model, model.config.max_length, place)


def _foreign(folder: Path, place: Any) -> Network:
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise MissingExtra("transformers", "hub", f"reading {folder}") from None
    import torch

    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(place).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        what = f"transformers cannot read it as a causal language model ({' '.join(str(error).split())[:200]})"
        raise UserError(what, where=folder) from None
    begin = next((i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id) if i is not None), None)
    if begin is None:
        raise UserError("the tokenizer has neither a begin nor an end token", where=folder)
    longest = int(getattr(model.config, "max_position_embeddings", 0) or 1024)

    def encode(text: str) -> list[int]:
        return [begin, *tokenizer.encode(text, add_special_tokens=False)]

    return Network(encode, lambda ids: model(ids).logits, longest, place)
