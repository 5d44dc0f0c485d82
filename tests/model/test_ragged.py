"""One row of documents in place of packed rows: the same outputs and gradients, for every kind of attention."""

from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor

from danlu.model import ragged
from danlu.model.attention import Scores
from danlu.model.transformer import Transformer

KINDS: dict[str, dict[str, Any]] = {
    "rope": {},
    "grouped heads": {"heads": 4, "kv_heads": 2},
    "window": {"window": 3},
    "local and global": {"window": 3, "global_every": 2},
    "cap and norms": {"attention_cap": 20.0, "qk_norm": True},
    "alibi": {"positions": "alibi"},
    "learned": {"positions": "learned", "norm": "layernorm", "bias": True},
    "encoder": {"causal": False},
    "encoder with a window": {"causal": False, "window": 3},
    "value embeddings": {"value_embeddings": True, "residual_scalars": True},
}


def packed() -> tuple[Tensor, Tensor]:
    """Documents of 1, 4, 9, 14 and 16 tokens, and padding."""
    segments = torch.tensor(
        [[0] * 4 + [1] * 9 + [-1] * 3, [0] + [1] * 14 + [-1], [0] * 16, [-1] * 16], dtype=torch.int32
    )
    return torch.randint(61, segments.shape, generator=torch.Generator().manual_seed(2)), segments


def gradients(model: Transformer) -> tuple[Tensor, list[Tensor | None]]:
    """Of a loss that reads every token that is not padding."""
    ids, segments = packed()
    out = model.hidden(ids, segments)
    (out * out.detach().cos() * (segments >= 0).unsqueeze(-1)).sum().backward()
    return out, [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("checkpointing", ["none", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same(tiny: Tiny, kind: str, checkpointing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged, "LONGEST", 5)
    monkeypatch.setattr(ragged, "SHORT", 6)
    found = []
    for share in (0.0, 9.0):
        monkeypatch.setattr(ragged, "FILLED", share)
        monkeypatch.setattr(ragged, "SCORED", share if share else -1.0)
        model = tiny(**KINDS[kind])
        model.checkpointing = checkpointing
        assert (model._layout(*packed(), None, None) is not None) == bool(share)
        found.append(gradients(model))
    kept = packed()[1] >= 0
    torch.testing.assert_close(found[0][0][kept], found[1][0][kept])
    assert not bool(found[1][0][~kept].any())
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-4)


def test_documents_see_no_other(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged, "SCORED", 9.0)
    model, (ids, segments) = tiny(), packed()
    before = model.hidden(ids, segments)
    other = ids.clone()
    other[0, :4] = (other[0, :4] + 1) % 61
    after = model.hidden(other, segments)
    moved = (before != after).any(dim=-1)
    assert moved[0, :4].all()
    assert not moved[0, 4:].any()
    assert not moved[1:].any()


def test_it_is_done_where_it_saves() -> None:
    keys, full = Scores().keys, torch.zeros(4, 512, dtype=torch.int32)
    assert ragged.laid_out(full, keys) is None
    padded = full.clone()
    padded[:, 400:] = -1
    assert ragged.laid_out(padded, keys) is not None
    halves = full.clone()
    halves[:, 256:] = 1
    assert ragged.laid_out(halves, keys) is not None
    assert ragged.laid_out(torch.full((2, 4), -1), keys) is None


def test_rows_shorter_than_a_part_stay_rows() -> None:
    """Of 32 rows of 32 tokens, parts of 128 would compute four times the scores."""
    segments = torch.zeros(32, 32, dtype=torch.int32)
    segments[:, 20:] = -1
    assert ragged.laid_out(segments, Scores().keys) is None


def test_where_tokens_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    _, segments = packed()
    monkeypatch.setattr(ragged, "SCORED", 9.0)
    layout = ragged.laid_out(segments, Scores().keys)
    assert layout is not None
    assert [branch[:2] for branch in layout.branches] == [(0, 4), (4, 13), (13, 14), (14, 28), (28, 44)]
    values = torch.arange(segments.numel()).view_as(segments)
    taken = layout.take(values)
    assert taken.shape == (1, 44)
    torch.testing.assert_close(layout.give(taken), torch.where(segments >= 0, values, 0))


@pytest.mark.parametrize("scores", [Scores(), Scores(causal=False), Scores(window=3), Scores(causal=False, window=3)])
def test_parts_hold_every_query_once_and_every_key_it_sees(scores: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged, "LONGEST", 5)
    monkeypatch.setattr(ragged, "SHORT", 6)
    documents = [(0, 2), (2, 5), (5, 9), (9, 20), (20, 21), (21, 40)]
    found = ragged.spans([ragged.Branch(*document) for document in documents], scores.keys)
    assert [row for span in found for row in range(span.start, span.stop)] == list(range(40))
    assert max(span.stop - span.start for span in found) <= 9
    for span in found:
        for row in range(span.start, span.stop):
            start, stop = next(document for document in documents if document[0] <= row < document[1])
            seen = scores.keys(row - start, row - start + 1, stop - start)
            ((first, last),) = span.keys
            assert first <= start + seen.start
            assert start + seen.stop <= last


def branching() -> tuple[Tensor, Tensor]:
    """Documents that begin alike: three by six tokens, two of them by four more, one of which is all there is."""
    draw = torch.Generator().manual_seed(4)
    trunk, limb = torch.randint(61, (6,), generator=draw), torch.randint(61, (4,), generator=draw)
    ids, segments = torch.randint(61, (4, 20), generator=draw), torch.zeros(4, 20, dtype=torch.int32)
    ids[0, :6] = ids[1, :6] = ids[2, 5:11] = trunk
    ids[1, 6:10] = ids[2, 11:15] = limb
    segments[1, 10:], segments[2, :5], segments[2, 15:] = -1, 1, 2
    return ids, segments


@pytest.mark.parametrize("checkpointing", ["none", "full"])
@pytest.mark.parametrize("kind", [kind for kind, options in KINDS.items() if options.get("causal", True)])
def test_what_documents_have_in_common_is_computed_once(
    tiny: Tiny, kind: str, checkpointing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ragged, "LONGEST", 5)
    monkeypatch.setattr(ragged, "SHORT", 4)
    monkeypatch.setattr(ragged, "SCORED", 9.0)
    ids, segments = branching()
    found = []
    for fewest in (3, 99):
        monkeypatch.setattr(ragged, "FEWEST", fewest)
        model = tiny(**KINDS[kind])
        model.checkpointing = checkpointing
        layout = model._layout(ids, segments, None, None)
        assert layout is not None
        assert len(layout.where) == int((segments >= 0).sum()) - (16 if fewest == 3 else 0)
        out = model.hidden(ids, segments)
        (out * out.detach().cos() * (segments >= 0).unsqueeze(-1)).sum().backward()
        found.append((out, [parameter.grad for parameter in model.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-4)


def test_what_is_drawn_anew_is_not_shared(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged, "FEWEST", 3)
    monkeypatch.setattr(ragged, "SCORED", 9.0)
    ids, segments = branching()

    def computed(model: Transformer) -> int:
        layout = model._layout(ids, segments, None, None)
        assert layout is not None
        return len(layout.where)

    every, model = int((segments >= 0).sum()), tiny().train()
    assert computed(model) < every
    handle = model.embed.register_forward_hook(lambda module, given, out: out)
    assert computed(model) == every
    handle.remove()
    model.dropout = 0.1
    assert computed(model) == every
    assert computed(model.eval()) < every
    assert computed(tiny(causal=False)) == every


def test_the_turns_of_a_conversation_grow_from_each_other() -> None:
    """Samples that are each a beginning of the next, and one that is like the longest."""
    text, documents = list(range(100, 180)), list[tuple[int, int]]()
    tokens = list[int]()
    for length in (20, 45, 80, 80):
        documents.append((len(tokens), len(tokens) + length))
        tokens += text[:length]
    branches, back, taken = ragged.grown(documents, tokens)
    assert [tokens[place] for place in taken] == text
    assert [[taken[place] for place in back[start:stop]] for start, stop in documents] == [
        taken[: stop - start] for start, stop in documents
    ]
    assert [branch.stems for branch in branches] == [(), (0,), (0, 1)]
    assert ragged.grown(documents, None)[2] == list(range(len(tokens)))
