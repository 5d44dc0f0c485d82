"""NEFTune: noise of the size that a document's length says, by the row's number, in training alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.hub import load_model
from danlu.model.transformer import Transformer
from danlu.objectives.next_token import NextToken
from danlu.objectives.noise import Neftune, embedded_with, lengths, uniform
from danlu.tokens.batches import Batch, PackedBatches
from danlu.tokens.numbered import ROW, NumberedBatches
from tests.model.test_foreign import build
from tests.objectives.test_next_token import batch
from tests.train.conftest import items


def numbered(first: int = 0) -> Batch:
    """`batch`, its rows numbered."""
    data = batch()
    data.extra[ROW] = torch.arange(first, first + len(data))
    return data


class Seen(NextToken):
    """Remembers what the model's first block reads."""

    def __call__(self, model: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """As `NextToken`."""
        self.embedded = model._embed(batch.ids, torch.zeros_like(batch.ids)).detach()
        return super().__call__(model, batch)


def noise(model: Transformer, data: Batch, alpha: float = 5.0) -> Tensor:
    """What is added to the embeddings."""
    inner = Seen()
    Neftune(inner, alpha, seed=1)(model, data)
    return inner.embedded - model.embed(data.ids).detach()


def test_it_is_as_large_as_the_papers_for_each_document(tiny: Tiny) -> None:
    model, data = tiny(), numbered()
    found = noise(model, data)
    for row in range(len(data)):
        for segment in data.segments[row].unique().tolist():
            here = found[row][data.segments[row] == segment]
            bound = 5.0 / (len(here) * model.config.width) ** 0.5
            if segment < 0:
                assert not here.any()
            else:
                assert 0.95 * bound < here.abs().max() <= bound * 1.001
                assert abs(float(here.mean())) < 0.25 * bound


def test_a_row_keeps_its_noise_however_a_batch_is_cut(tiny: Tiny) -> None:
    model, data = tiny(), numbered()
    whole = noise(model, data)
    pieces = torch.cat([noise(model, piece) for piece in data.split(3)])
    assert torch.equal(whole, pieces)
    assert not torch.equal(whole, noise(model, numbered(first=8)))
    assert not torch.equal(uniform(model, data, 1), uniform(model, data, 2))


def test_packing_changes_no_documents_noise_but_its_draws(tiny: Tiny) -> None:
    segments = torch.tensor([[0, 0, 1, 1, 1, -1], [2, 2, 2, 2, 2, 2]])
    assert lengths(segments).tolist() == [[2, 2, 3, 3, 3, 1], [6] * 6]


def test_nothing_is_left_behind(tiny: Tiny) -> None:
    model, data = tiny(), numbered()
    plain = NextToken()(model, data)[0]
    noisy = Neftune(NextToken(), 50.0, seed=1)(model, data)[0]
    assert noisy != plain
    assert NextToken()(model, data)[0] == plain
    assert Neftune(NextToken(), 50.0, 1).weight(data) == NextToken().weight(data)


def test_a_model_that_reads_documents_apart_is_refused(tmp_path: Path) -> None:
    build("OPTForCausalLM", tmp_path)
    model, data = load_model(tmp_path), numbered()
    change = torch.zeros(*data.ids.shape, model.config.width)
    with pytest.raises(UserError, match="its embeddings cannot be changed"), embedded_with(model, change):
        NextToken()(model, data)


def test_numbers_go_on_where_a_run_stopped() -> None:
    def source() -> NumberedBatches:
        return NumberedBatches(PackedBatches(items(), batch_size=4, length=32, pad_id=31, seed=0, split=False))

    whole, stopped, resumed = source(), source(), source()
    seen = [next(whole) for _ in range(4)]
    for _ in range(2):
        next(stopped)
    resumed.load_state_dict(stopped.state_dict())
    for expected in seen[2:]:
        found = next(resumed)
        assert torch.equal(found.ids, expected.ids)
        assert torch.equal(found.extra[ROW], expected.extra[ROW])
    assert seen[3].extra[ROW].tolist() == [12, 13, 14, 15]
