"""Masked language modelling: some tokens are hidden, and found from what stands on both sides (Devlin et al. 2019).

Masks are dynamic, drawn anew whenever a row is dealt (RoBERTa: Liu et al. 2019). They are drawn where rows are dealt,
before a batch is cut or shared out: row number n of the run gets its mask from the seed and n, so neither micro-batches
nor processes nor a stop change it, and the state of it all is one number. A word is masked whole or not at all; spans
are as in SpanBERT (Joshi et al. 2020, arXiv:1907.10529): whole words, their number geometric and at most ten, 3.8 on
average. What the packer does not count as a target (a segment's first token, an answerless prompt) and special tokens
are never chosen. Of a row's n candidates ``share · n`` are chosen, at least one, so no batch is without a target.

Left out: SpanBERT's border objective and BERT's next sentence, both since found to be of no use (RoBERTa).

Legend: B batch, T time, D width, V vocabulary.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.base.seed import generator
from danlu.model.transformer import Transformer
from danlu.objectives.linear_loss import cross_entropy_and_z
from danlu.objectives.next_token import output_of
from danlu.objectives.objective import Metrics
from danlu.objectives.routing import ledger_of, settled
from danlu.objectives.settings import Masking
from danlu.objectives.words import Words
from danlu.tokens.batches import Batch, Source
from danlu.tokens.tokenizer import Tokenizer

Array = npt.NDArray[Any]
MASK = "<|mask|>"
SEEN = "seen"  # the name, among a batch's extra tensors, of the ids that the model is shown


def with_mask(tokenizer: Tokenizer) -> tuple[Tokenizer, int]:
    """The tokenizer and the id of its mask token, which is added after the last id if it has none."""
    named = tokenizer.config.get("mask_token")
    name = named.get("content") if isinstance(named, dict) else named
    if name in tokenizer.special_ids:
        return tokenizer, tokenizer.special_ids[name]
    if MASK not in tokenizer.special_ids:
        tokenizer = tokenizer.with_special([MASK])
    return tokenizer.with_config(mask_token=MASK), tokenizer.special_ids[MASK]


class Masker:
    """Hides tokens of batches. ``tokenizer`` must have the mask token, as `with_mask` gives it."""

    def __init__(self, tokenizer: Tokenizer, masking: Masking, seed: int) -> None:
        self.masking, self.seed = masking, seed
        tokenizer, self.mask_id = with_mask(tokenizer)
        self._words = Words(tokenizer)
        self._plain = np.flatnonzero(~self._words.special)  # what a random token is drawn from
        stops = masking.span_stop * (1 - masking.span_stop) ** np.arange(masking.longest_span)
        self._spans = np.cumsum(stops / stops.sum())  # of 1, 2, ... words: geometric, cut off and made whole again

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be taken up."""
        return {**asdict(self.masking), "seed": self.seed, "mask_id": self.mask_id}

    def __call__(self, batch: Batch, row: int) -> Batch:
        """``batch`` with its mask on the chosen tokens only, and ``seen`` ids; its first row is number ``row``."""
        ids, segments = batch.ids.numpy(), batch.segments.numpy()
        mask, seen = batch.mask.numpy().copy(), ids.copy()
        for i in range(len(batch)):
            able = (mask[i] != 0) & (segments[i] >= 0) & ~self._words.special[ids[i]]
            draw = generator(self.seed, "mask", row + i)
            groups = self._chosen(ids[i], segments[i], able, draw) if able.any() else np.full(able.shape, -1)
            chosen = groups >= 0
            mask[i][~chosen] = 0
            seen[i][chosen] = self._shown(ids[i][chosen], groups[chosen], draw)
        extra = {**batch.extra, SEEN: torch.from_numpy(seen)}
        return Batch(batch.ids, torch.from_numpy(mask), batch.segments, extra, batch.names)

    def _shown(self, ids: Array, groups: Array, draw: np.random.Generator) -> Array:
        """What stands in the places of the chosen ``ids``; one fate a group, which by span is the whole span."""
        fate = draw.random(int(groups.max(initial=-1)) + 1)[groups]
        other = self._plain[draw.integers(len(self._plain), size=len(ids))]
        shown = np.where(fate < self.masking.masked + self.masking.random, other, ids)
        return np.where(fate < self.masking.masked, self.mask_id, shown)

    def _chosen(self, ids: Array, segments: Array, able: Array, draw: np.random.Generator) -> Array:
        """The group of each chosen token, -1 for the others. ids, segments, able: [T] -> [T]."""
        groups = np.full(len(ids), -1, np.int64)
        budget = max(round(self.masking.share * int(able.sum())), 1)
        starts = np.flatnonzero(self._words.begins(ids, segments))
        ends = np.append(starts[1:], len(ids))
        whole = np.add.reduceat(able.astype(np.int64), starts) == ends - starts
        if self.masking.unit == "token" or not whole.any():
            places = draw.permutation(np.flatnonzero(able))[:budget]
            groups[places] = np.arange(len(places))
        elif self.masking.unit == "word":
            starts, ends = starts[whole], ends[whole]
            order = draw.permutation(len(starts))
            for begin, end in _within(starts[order], ends[order], budget):
                groups[begin:end] = np.arange(begin, end)  # as in BERT each token has a fate of its own
        else:
            for number, (begin, end) in enumerate(self._some_spans(starts, ends, whole, segments, budget, draw)):
                groups[begin:end] = number
        return groups

    def _some_spans(
        self, starts: Array, ends: Array, whole: Array, segments: Array, budget: int, draw: np.random.Generator
    ) -> list[tuple[int, int]]:
        """Spans of whole words that do not overlap, from word starts drawn at random, until the budget is spent."""
        words = np.flatnonzero(whole)
        firsts = draw.permutation(words)
        lengths = np.searchsorted(self._spans, draw.random(len(words)), side="right") + 1
        taken, found, spent = np.zeros(len(starts) + 1, np.bool_), list[tuple[int, int]](), 0
        for first, length in zip(firsts.tolist(), lengths.tolist()):
            last, same = first, segments[starts[first]]
            while last < len(starts) and last < first + length and whole[last] and segments[starts[last]] == same:
                last += 1
            if taken[first:last].any():
                continue
            begin, end = int(starts[first]), int(ends[last - 1])
            if found and spent + (end - begin) / 2 > budget:
                break
            taken[first:last] = True
            found.append((begin, end))
            spent += end - begin
        return found


def _within(starts: Array, ends: Array, budget: int) -> list[tuple[int, int]]:
    """The first words that make up the budget: the one at its border counts if half of it fits, and the first does."""
    reached = np.cumsum(ends - starts)
    count = max(int(np.sum(reached - (ends - starts) / 2 <= budget)), min(len(starts), 1))
    return list(zip(starts[:count].tolist(), ends[:count].tolist()))


class MaskedBatches:
    """The batches of ``source``, masked anew each time; ``rows`` dealt so far are all the state beside its own."""

    def __init__(self, source: Source, masker: Masker) -> None:
        self._source, self._masker, self.rows = source, masker, 0

    def __iter__(self) -> "MaskedBatches":
        return self

    def __next__(self) -> Batch:
        batch = next(self._source)
        self.rows += len(batch)
        return self._masker(batch, self.rows - len(batch))

    def state_dict(self) -> dict[str, Any]:
        """The number of the next row, and where the source stands."""
        return {"rows": self.rows, "masking": self._masker.identity, "source": self._source.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; a `UserError` if the masking is another, or the source's data."""
        if state.get("masking") != self._masker.identity:
            remedy = "Continue with what the run began with, or start over with --fresh"
            raise UserError("the masking changed since the checkpoint", remedy=remedy)
        self._source.load_state_dict(state["source"])
        self.rows = int(state["rows"])


class Masked:
    """Σ over chosen tokens of mask · -log p(id | the row as it is seen), in nats, of batches that a `Masker` made."""

    def __init__(self, z_loss: float = 0.0) -> None:
        self.z_loss = z_loss

    def weight(self, batch: Batch) -> float:
        """The mask's sum: the chosen tokens."""
        return float(batch.mask.sum(dtype=torch.float64))

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Metrics]:
        """Only chosen positions reach the output layer."""
        assert isinstance(model, Transformer)
        if model.config.causal:
            what = "a model that sees only what came before cannot find hidden words from both sides"
            raise UserError(what, remedy="Train with shape.causal false, or on the next token")
        ledger = ledger_of(model, batch.mask)
        hidden = model.hidden(batch.extra[SEEN], batch.segments, ledger=ledger)
        chosen = batch.mask != 0
        options = output_of(model) | {"z_loss": self.z_loss}
        total, added = cross_entropy_and_z(
            hidden[chosen], model.output_weight, batch.ids[chosen], batch.mask[chosen], **options
        )
        return settled((total, {"z_loss": added} if self.z_loss else {}), model, ledger)
