"""Masked language modelling: what is chosen, what is shown instead, and the loss of finding it."""

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Tiny
from torch import Tensor

from danlu.base.errors import UserError
from danlu.model.transformer import Transformer
from danlu.objectives.masked import MASK, SEEN, Masked, MaskedBatches, Masker, with_mask
from danlu.objectives.settings import Masking
from danlu.objectives.words import Words
from danlu.tokens.batches import Batch, PackedBatches
from danlu.tokens.chat import Rendered
from danlu.tokens.pack import ListItems
from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.training.train import train_bpe
from tests.tokens.conftest import CORPUS
from tests.tokens.test_batches import same

LENGTH = 64
UNITS: list[Any] = ["token", "word", "span"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return with_mask(train_bpe(CORPUS, 420))[0]


def documents(tokenizer: Tokenizer) -> ListItems:
    """The corpus as documents, each id but the first a target."""
    made = []
    for text in CORPUS:
        ids = [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
        made.append(Rendered(ids, [0, *[1] * (len(ids) - 1)]))
    return ListItems(made)


def masked(tokenizer: Tokenizer, masking: Masking, *, batch_size: int = 4, seed: int = 0) -> MaskedBatches:
    source = PackedBatches(
        documents(tokenizer), batch_size=batch_size, length=LENGTH, pad_id=tokenizer.pad_id, seed=1, split=True
    )
    return MaskedBatches(source, Masker(tokenizer, masking, seed))


def test_a_tokenizer_gets_a_mask_once() -> None:
    plain = train_bpe(CORPUS, 300)
    made, mask = with_mask(plain)
    assert (made.vocab_size, mask, made.token(mask)) == (plain.vocab_size + 1, plain.vocab_size, MASK)
    assert with_mask(made) == (made, mask)
    assert mask not in made.encode(f"a {MASK} b")
    named = plain.with_special(["[MASK]"]).with_config(mask_token={"content": "[MASK]"})
    assert with_mask(named) == (named, plain.vocab_size)


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_never_chosen_and_how_many_are(tokenizer: Tokenizer, unit: Any) -> None:
    """Special tokens, padding, what the packer does not count; of the others a share, and one at the least."""
    masker, special = Masker(tokenizer, Masking(unit=unit), 0), Words(tokenizer).special
    plain = PackedBatches(
        documents(tokenizer), batch_size=1, length=LENGTH, pad_id=tokenizer.pad_id, seed=1, split=True
    )
    counts, chosen = [], []
    for row, batch in enumerate(itertools.islice(plain, 300)):
        batch.segments[0, -9:] = -1
        batch.mask[0, 20:30] = 0
        made = masker(batch, row)
        able = (batch.mask[0] != 0) & (batch.segments[0] >= 0) & ~torch.from_numpy(special)[batch.ids[0]]
        assert (made.mask[0] != 0).sum() >= 1
        assert not (made.mask[0] != 0)[~able].any()
        assert torch.equal(made.ids, batch.ids)
        hidden = made.extra[SEEN] != made.ids
        assert not hidden[made.mask == 0].any()
        counts.append(int(able.sum()))
        chosen.append(int((made.mask != 0).sum()))
    if unit == "token":
        assert chosen == [max(round(0.15 * n), 1) for n in counts]
    assert sum(chosen) == pytest.approx(0.15 * sum(counts), rel=0.08)


def test_a_row_of_one_candidate_and_one_of_none(tokenizer: Tokenizer) -> None:
    """A word that is cut is not whole; with nothing else to choose, tokens are."""
    ids = torch.tensor([tokenizer.encode("unquestionably")[:6]])
    for unit in UNITS:
        masker = Masker(tokenizer, Masking(unit=unit), 0)
        for mask, wanted in (([0, 1, 1, 1, 1, 1], 1), ([0, 0, 0, 0, 0, 1], 1), ([0] * 6, 0)):
            batch = Batch(ids, torch.tensor([mask]).float(), torch.zeros(1, 6, dtype=torch.int32))
            assert int((masker(batch, 0).mask != 0).sum()) == wanted


def fates(tokenizer: Tokenizer, masking: Masking, rows: int) -> tuple[Tensor, Tensor]:
    """What chosen tokens were, and what is shown for them, over many rows of random ids."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(10, 400, (rows, LENGTH), generator=draw)
    batch = Batch(ids, torch.ones(rows, LENGTH), torch.zeros(rows, LENGTH, dtype=torch.int32))
    made = Masker(tokenizer, masking, 0)(batch, 0)
    return made.ids[made.mask != 0], made.extra[SEEN][made.mask != 0]


def test_fates_and_random_tokens_are_as_drawn(tokenizer: Tokenizer) -> None:
    """Of 20,000 chosen tokens; four standard deviations, and chi-square for which token is put instead."""
    mask_id = tokenizer.special_ids[MASK]
    was, shown = fates(tokenizer, Masking(share=0.5, masked=0.6, random=0.3), 625)
    count = len(was)
    assert count == 20_000
    hidden, kept = (shown == mask_id), (shown == was)
    for found, share in ((hidden, 0.6), (kept, 0.1)):
        spread = math.sqrt(share * (1 - share) * count)
        assert abs(int(found.sum()) - share * count) < 4 * spread + (share == 0.1) * 0.3 * count / 400 * 2
    other = shown[~hidden & ~kept].numpy()
    assert not Words(tokenizer).special[other].any()
    seen = np.bincount(other, minlength=tokenizer.vocab_size)[~Words(tokenizer).special]
    expected = len(other) / len(seen)
    chi = float(((seen - expected) ** 2 / expected).sum())
    free = len(seen) - 1
    assert abs(chi - free) < 5 * math.sqrt(2 * free)


def test_every_place_is_as_likely(tokenizer: Tokenizer) -> None:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(10, 400, (2000, LENGTH), generator=draw)
    batch = Batch(ids, torch.ones(2000, LENGTH), torch.zeros(2000, LENGTH, dtype=torch.int32))
    found = (Masker(tokenizer, Masking(), 0)(batch, 0).mask != 0).sum(0).numpy()
    expected = 2000 * 10 / LENGTH
    chi = float(((found - expected) ** 2 / expected / (1 - 10 / LENGTH)).sum())
    assert abs(chi - LENGTH) < 5 * math.sqrt(2 * LENGTH)


@pytest.mark.parametrize("unit", ["word", "span"])
def test_words_are_whole(tokenizer: Tokenizer, unit: Any) -> None:
    words, several = Words(tokenizer), 0
    for batch in itertools.islice(masked(tokenizer, Masking(unit=unit)), 20):
        for ids, segments, mask in zip(batch.ids.numpy(), batch.segments.numpy(), batch.mask.numpy()):
            number = np.cumsum(words.begins(ids, segments))
            chosen = set(number[mask != 0].tolist())
            inside = np.isin(number, list(chosen))
            assert (inside == (mask != 0)).all()
            several += sum(int((number == n).sum()) > 1 for n in chosen)
    assert several > 50
    tokens = [b.mask for b in itertools.islice(masked(tokenizer, Masking(unit="token")), 20)]
    assert not all(torch.equal(a, b.mask) for a, b in zip(tokens, masked(tokenizer, Masking(unit=unit))))


def test_spans_are_geometric_share_one_fate_and_cross_no_border(tokenizer: Tokenizer) -> None:
    """Of words of one token: 3.8 on average, none longer than ten (SpanBERT, section 3.1)."""
    word = tokenizer.encode(",")[0]
    batch = Batch(torch.full((40, 2000), word), torch.ones(40, 2000), torch.zeros(40, 2000, dtype=torch.int32))
    made = Masker(tokenizer, Masking(unit="span", share=0.05, random=0.0, masked=0.5), 0)(batch, 0)
    runs, fates = [], []
    for mask, seen in zip(made.mask.numpy(), made.extra[SEEN].numpy()):
        chosen = np.flatnonzero(mask)
        pieces = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1)
        runs += [len(piece) for piece in pieces]
        fates += [len(set(seen[piece].tolist())) for piece in pieces if len(piece) < 4]
    assert len(runs) > 800
    assert np.mean(runs) == pytest.approx(3.8, rel=0.12)  # spans side by side look like one, long ones overlap more
    assert np.mean(np.asarray(fates) == 1) > 0.9
    bordered = Batch(batch.ids, batch.mask, (torch.arange(2000) // 3).int().repeat(40, 1))
    longest = Masker(tokenizer, Masking(unit="span", share=0.0001, span_stop=0.01), 0)(bordered, 0)
    for segments, mask in zip(bordered.segments, longest.mask):
        assert len(set(segments[mask != 0].tolist())) == 1
    assert 1 < float(longest.mask.sum()) / 40 <= 3
    shorter = Masker(tokenizer, Masking(unit="span", share=0.05, span_stop=0.9, longest_span=2), 0)(batch, 0).mask
    flips = (shorter.diff(dim=1) > 0).sum() + (shorter[:, 0] > 0).sum()
    assert float(shorter.sum() / flips) < 1.4


@pytest.mark.parametrize("unit", UNITS)
def test_masks_do_not_depend_on_the_size_of_the_batch(tokenizer: Tokenizer, unit: Any) -> None:
    together = itertools.islice(masked(tokenizer, Masking(unit=unit)), 10)
    rows = [row for batch in together for row in batch.split(4)]
    alone = masked(tokenizer, Masking(unit=unit), batch_size=1)
    assert all(same(row, next(alone)) for row in rows)


def test_masks_go_on_exactly_at_every_batch(tokenizer: Tokenizer) -> None:
    source, states, batches = masked(tokenizer, Masking()), [], []
    for _ in range(25):
        states.append(json.loads(json.dumps(source.state_dict())))
        batches.append(next(source))
    for state, batch, after in zip(states, batches, batches[1:]):
        again = masked(tokenizer, Masking())
        again.load_state_dict(state)
        assert same(next(again), batch)
        assert same(next(again), after)


def test_masks_are_drawn_anew_and_by_the_seed(tokenizer: Tokenizer) -> None:
    plain = PackedBatches(documents(tokenizer), batch_size=2, length=LENGTH, pad_id=0, seed=1, split=True)
    batch, masker = next(plain), Masker(tokenizer, Masking(), 0)
    assert same(masker(batch, 0), masker(batch, 0))
    assert not torch.equal(masker(batch, 0).mask, masker(batch, 2).mask)
    assert not torch.equal(masker(batch, 0).mask, Masker(tokenizer, Masking(), 1)(batch, 0).mask)


@pytest.mark.parametrize("change", [{"unit": "word"}, {"share": 0.3}, {"masked": 0.5}, {"random": 0.2}])
def test_other_masking_is_refused_and_is_other(tokenizer: Tokenizer, change: dict[str, Any]) -> None:
    source, other = masked(tokenizer, Masking()), masked(tokenizer, Masking(**change))
    assert not all(same(a, b) for a, b in itertools.islice(zip(source, other), 8))
    with pytest.raises(UserError, match="the masking changed since the checkpoint"):
        other.load_state_dict(source.state_dict())


# -- the loss


def batch_of(seed: int = 0) -> Batch:
    """Eight rows of two segments and padding, some tokens of weights of their own hidden."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 60, (8, 16), generator=draw)
    segments = (torch.arange(16) >= 7).int().repeat(8, 1)
    segments[::2, -3:] = -1
    mask = torch.rand(8, 16, generator=draw) * (torch.rand(8, 16, generator=draw) < 0.3)
    mask[0, 1:] = 0
    mask[0, 0] = 1  # the first column counts here
    mask[segments < 0] = 0
    return Batch(ids, mask, segments, {SEEN: torch.where(mask > 0, 60, ids)})


def gradients(model: Transformer, pieces: list[Batch]) -> tuple[float, list[Tensor]]:
    """As the loop does it: sums and weights over micro-batches, divided once."""
    objective = Masked()
    weight, loss = sum(objective.weight(piece) for piece in pieces), 0.0
    model.zero_grad()
    for piece in pieces:
        summed, _ = objective(model, piece)
        (summed / weight).backward()
        loss += float(summed.detach()) / weight
    return loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_the_loss_is_that_of_all_logits(tiny: Tiny) -> None:
    model, data = tiny(causal=False), batch_of()
    loss, found = gradients(model, [data])
    logp = torch.log_softmax(model(data.extra[SEEN], data.segments), dim=-1)
    expected = -(logp.gather(2, data.ids[..., None])[..., 0] * data.mask).sum() / data.mask.sum()
    model.zero_grad()
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for a, p in zip(found, model.parameters(), strict=True):
        assert p.grad is not None
        assert (a - p.grad).norm() < 1e-5 * p.grad.norm()


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_micro_batches_give_the_same_gradients(tiny: Tiny, parts: int) -> None:
    model, data = tiny(causal=False), batch_of()
    loss, whole = gradients(model, [data])
    again, cut = gradients(model, data.split(parts))
    assert again == pytest.approx(loss, rel=1e-6)
    distance = torch.stack([(a - b).norm() for a, b in zip(whole, cut, strict=True)]).norm()
    assert distance < 1e-6 * torch.stack([a.norm() for a in whole]).norm()


def test_it_sees_both_sides_and_not_the_token_itself(tiny: Tiny) -> None:
    model, data = tiny(causal=False), batch_of()
    data.mask.zero_()
    data.mask[1, 3] = 1
    data.extra[SEEN] = torch.where(data.mask > 0, 60, data.ids)
    loss = float(Masked()(model, data)[0].detach())
    for place, sees in ((2, True), (5, True), (6, True), (7, False), (12, False)):
        changed = {SEEN: data.extra[SEEN].clone()}
        changed[SEEN][1, place] = changed[SEEN][1, place] % 59 + 1
        other = Masked()(model, Batch(data.ids, data.mask, data.segments, changed))[0]
        assert (float(other.detach()) != loss) == sees


def test_a_z_loss_is_added(tiny: Tiny) -> None:
    model, data = tiny(causal=False), batch_of()
    plain, (loss, metrics) = Masked()(model, data)[0], Masked(z_loss=1e-2)(model, data)
    normaliser = torch.logsumexp(model(data.extra[SEEN], data.segments), dim=-1)
    torch.testing.assert_close(metrics["z_loss"], (1e-2 * normaliser.square() * data.mask).sum().detach())
    torch.testing.assert_close(loss, plain + metrics["z_loss"])


def test_a_causal_model_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"shape\.causal false"):
        Masked()(tiny(), batch_of())


def test_it_learns(tiny: Tiny) -> None:
    """Tokens that count down towards a random last one can be found from behind only: from ln 61 to a tenth."""
    model, draw = tiny(causal=False), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 6e-3)
    last, first = math.nan, math.nan
    for step in range(150):
        ends = torch.randint(0, 20, (16, 1), generator=draw)
        ids = (ends + torch.arange(11, -1, -1)) % 20
        mask = (torch.rand(16, 12, generator=draw) < 0.2).float()
        mask[:, 0] = 1
        data = Batch(ids, mask, torch.zeros(16, 12, dtype=torch.int32), {SEEN: torch.where(mask > 0, 60, ids)})
        objective = Masked()
        loss = objective(model, data)[0] / objective.weight(data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = last if step == 0 else first
    assert first > 3
    assert last < math.log(61) / 10
