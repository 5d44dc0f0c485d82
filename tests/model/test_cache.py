"""A token at a time, from keys and values kept, gives what the whole sequence gives."""

import pytest
import torch
from conftest import Tiny
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.cache import Cache
from danlu.model.transformer import Transformer

LENGTHS = (3, 7, 5)
NEW = 6


def sequences() -> list[Tensor]:
    draw = torch.Generator().manual_seed(4)
    return [torch.randint(0, 61, (n + NEW,), generator=draw) for n in LENGTHS]


def left_padded(prompts: list[Tensor]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    segments = torch.full_like(ids, -1)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :], segments[row, longest - len(prompt) :] = prompt, 0
    return ids, segments


@torch.no_grad()
def decoded(model: Transformer, whole: list[Tensor], step: int, dtype: torch.dtype) -> list[Tensor]:
    """Logits of the last prompt token and of everything after, read ``step`` tokens at a time: [NEW + 1, V] each."""
    model.compute_dtype = dtype
    ids, segments = left_padded([x[:n] for x, n in zip(whole, LENGTHS)])
    cache = Cache(model.config, len(whole), ids.shape[1] + NEW, dtype)
    parts = [model(ids, segments, cache)[:, -1:]]
    for i in range(0, NEW, step):
        parts.append(model(torch.stack([x[n + i : n + i + step] for x, n in zip(whole, LENGTHS)]), None, cache))
    return list(torch.cat(parts, dim=1))


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("positions", ["rope", "alibi", "learned", "sinusoidal"])
def test_decoding_is_the_whole_forward(tiny: Tiny, positions: str, dtype: torch.dtype, step: int) -> None:
    model, whole = tiny(positions=positions), sequences()
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    for row, logits in enumerate(decoded(model, whole, step, dtype)):
        with torch.no_grad():
            expected = model(whole[row][None])[0, LENGTHS[row] - 1 :]
        assert logits.dtype == dtype
        torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_a_row_that_leaves_takes_nothing_with_it(tiny: Tiny) -> None:
    model, whole = tiny(), sequences()
    expected = decoded(model, whole, 1, torch.float32)
    ids, segments = left_padded([x[:n] for x, n in zip(whole, LENGTHS)])
    cache = Cache(model.config, 3, ids.shape[1] + NEW, torch.float32)
    model(ids, segments, cache)
    cache.keep(torch.tensor([2, 0]))
    for i in range(NEW):
        newest = torch.stack([whole[row][LENGTHS[row] + i] for row in (2, 0)])[:, None]
        logits = model(newest, None, cache)[:, 0]
        torch.testing.assert_close(logits, torch.stack([expected[2][i + 1], expected[0][i + 1]]), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_padding_may_fill_more_columns_than_the_model_has_positions(tiny: Tiny) -> None:
    """A short prompt beside a long one: what counts is each row's own length."""
    model, whole = tiny(max_length=16), sequences()
    assert max(LENGTHS) + NEW <= 16 < 2 * max(LENGTHS) + NEW
    prompts = [x[:n] for x, n in zip(whole, LENGTHS)]
    ids, segments = left_padded([*prompts, torch.arange(1, 16)])
    cache = Cache(model.config, 4, 15 + NEW, torch.float32)
    model(ids, segments, cache)
    cache.keep(torch.tensor([0, 1, 2]))
    for i in range(NEW):
        logits = model(torch.stack([x[n + i] for x, n in zip(whole, LENGTHS)])[:, None], None, cache)[:, 0]
    for row, x in enumerate(whole):
        torch.testing.assert_close(logits[row], model(x[None])[0, -1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions", ["rope", "alibi", "learned", "sinusoidal"])
def test_a_row_longer_than_the_model_is_one_sentence(tiny: Tiny, positions: str) -> None:
    model = tiny(max_length=8, positions=positions)
    cache = Cache(model.config, 1, 9, torch.float32)
    with torch.no_grad():
        model(torch.ones(1, 8, dtype=torch.long), None, cache)
        with pytest.raises(UserError, match="9 tokens are longer than the 8 that the model allows"):
            model(torch.ones(1, 1, dtype=torch.long), None, cache)
