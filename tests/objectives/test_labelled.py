"""Objectives with labels: values and gradients are the formulas', and a batch may be cut anywhere."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor, nn

from danlu.model.task_heads import Head, attach, head_of, pooled
from danlu.model.transformer import Transformer
from danlu.objectives.classify import Classify, Regress
from danlu.objectives.consistency import Alignment, ChangedBatches, Consistency
from danlu.objectives.contrast import Contrast, vectors
from danlu.objectives.gradnorm import GradNorm, shared
from danlu.objectives.labelled import Labelled
from danlu.objectives.masked_tags import MaskedTags
from danlu.objectives.multitask import BALANCE, MultiTask, Uncertainty
from danlu.objectives.objective import Objective
from danlu.objectives.span import Span
from danlu.objectives.tag import Tag
from danlu.tokens.batches import Batch
from danlu.tokens.changing import Changer

ROWS, LENGTH, LABELS = 6, 12, 4
ENDS = torch.tensor([12, 5, 9, 3, 12, 7])
SEGMENTS = torch.where(torch.arange(LENGTH) < ENDS[:, None], 0, -1).int()


def batch(**extra: Tensor) -> Batch:
    ids = torch.randint(1, 61, (ROWS, LENGTH), generator=torch.Generator().manual_seed(2))
    return Batch(ids, (SEGMENTS >= 0).float(), SEGMENTS, extra)


LABEL = torch.tensor([0, 3, 1, 1, 2, 0])
TAGS = torch.where((SEGMENTS >= 0) & (torch.arange(LENGTH) % 3 == 1), torch.arange(LENGTH) % LABELS, -1)
SPAN = torch.tensor([[0, 0], [1, 3], [4, 4], [0, 2], [7, 11], [5, 6]])
SCORE = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.5, -0.5])
EXTRA = {"label": LABEL, "tags": TAGS, "span": SPAN, "target": SCORE}


def ready(tiny: Tiny, causal: bool = False, **changes: Any) -> Transformer:
    model = tiny(causal=causal, **changes)
    sizes = {"classify": LABELS, "tag": LABELS, "span": 2, "score": 1}
    heads = {n: Head(32, size, dense=n == "classify", bias=True, dropout=0.0, seed=5) for n, size in sizes.items()}
    attach(model, heads)
    for parameter in model.tasks.parameters():
        nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


def hidden(model: Transformer) -> Tensor:
    return model.features(batch().ids, SEGMENTS)


def by_hand(model: Transformer, name: str) -> Tensor:
    """The loss sums as transformers' classes compute their means."""
    states = hidden(model)
    if name == "classify":
        logits = head_of(model, "classify")(states[torch.arange(ROWS), ENDS - 1])
        return nn.functional.cross_entropy(logits, LABEL, reduction="sum", label_smoothing=0.1)
    if name == "tag":
        logits = head_of(model, "tag")(states)
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), TAGS.flatten().masked_fill(TAGS.flatten() < 0, -100), reduction="sum"
        )
    if name == "span":
        logits = head_of(model, "span")(states).masked_fill((SEGMENTS < 0)[..., None], -1e9)
        return sum(nn.functional.cross_entropy(logits[..., i], SPAN[:, i], reduction="sum") for i in (0, 1)) / 2  # type: ignore[return-value]
    return (head_of(model, "score")(states[:, 0])[:, 0] - SCORE).square().sum()


OBJECTIVES: dict[str, Any] = {
    "classify": Classify("classify", "last", smoothing=0.1),
    "tag": Tag("tag"),
    "span": Span("span"),
    "score": Regress("score", "first"),
}
WEIGHTS = {"classify": ROWS, "tag": int((TAGS >= 0).sum()), "span": ROWS, "score": ROWS}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_value_and_gradient_are_the_formulas(tiny: Tiny, name: str) -> None:
    model, data, objective = ready(tiny), batch(**EXTRA), Labelled(OBJECTIVES[name])
    loss, metrics = objective(model, data)
    expected = by_hand(model, name)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    assert objective.weight(data) == WEIGHTS[name]
    parameters = [p for n, p in model.named_parameters() if n.startswith(("blocks", "embed.", f"tasks.{name}."))]
    found, wanted = (torch.autograd.grad(value, parameters, allow_unused=True) for value in (loss, expected))
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert (a - b).norm() <= 1e-4 * b.norm() + 1e-6
    assert all(not value.requires_grad and value.dim() == 0 for value in metrics.values())


def test_any_number_of_labels_at_once(tiny: Tiny) -> None:
    model = ready(tiny)
    target = (torch.arange(ROWS * LABELS).view(ROWS, LABELS) % 3 == 0).float()
    loss, metrics = Labelled(Classify("classify", "first", multi=True))(model, batch(target=target))
    logits = head_of(model, "classify")(hidden(model)[:, 0])
    torch.testing.assert_close(loss, nn.functional.binary_cross_entropy_with_logits(logits, target) * ROWS)
    assert metrics["accuracy"] == ((logits > 0) == (target > 0)).all(-1).sum()


def test_a_guessed_label_counts_less(tiny: Tiny) -> None:
    model, objective = ready(tiny), Labelled(Classify("classify", "last"))
    half = batch(label=LABEL, weight=torch.tensor([1.0, 0.5, 0, 0, 0, 0]))
    first, second = (objective(model, batch(label=LABEL)._rows(slice(i, i + 1)))[0] for i in (0, 1))
    torch.testing.assert_close(objective(model, half)[0], first + 0.5 * second)
    assert objective.weight(half) == 1.5


def update(model: Transformer, objective: Objective, data: Batch, parts: int) -> list[Tensor]:
    """The gradients as the loop adds them up."""
    pieces = data.split(parts)
    weight = sum(objective.weight(piece) for piece in pieces)
    for piece in pieces:
        (objective(model, piece)[0] / weight).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


TASK = torch.tensor([0, 1, 2, 3, 0, 1])


def multitask(model: Transformer) -> Objective:
    rows = dict(OBJECTIVES)
    return MultiTask(rows, {"classify": 1.0, "tag": 2.0, "span": 0.5, "score": 1.0}, squared=frozenset({"score"}))


def uncertain(model: Transformer) -> Objective:
    setattr(model, BALANCE, Uncertainty(4))
    nn.init.constant_(getattr(model, BALANCE).log_variance, 0.3)
    return multitask(model)


def consistent(model: Transformer) -> Objective:
    alignment = Alignment(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    alignment.mean = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    return Consistency(Classify("classify", "first"), weight=0.7, ratio=1.0, threshold=0.2, alignment=alignment)


CUTS: dict[str, Callable[[Transformer], Objective]] = {
    **{name: (lambda model, name=name: Labelled(OBJECTIVES[name])) for name in OBJECTIVES},  # type: ignore[misc]
    "multitask": multitask,
    "uncertainty": uncertain,
    "consistency": consistent,
    "masked tags": lambda model: MaskedTags(Labelled(Tag("tag")), 0.3),
    "contrast": lambda model: Contrast("mean"),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_batch_gives_the_same_update(tiny: Tiny, name: str) -> None:
    data = batch(**EXTRA, task=TASK)
    if name == "consistency":
        data = Changer(dict.fromkeys(range(1, 61), 1), set(), share=0.4, pad_id=0, seed=1)(data, 0)
        data.extra["label"] = torch.tensor([0, -1, 1, -1, 2, -1])
        data.extra |= {key: nn.functional.pad(data.extra[key], (0, LENGTH - data.extra[key].shape[1]), value=v)
                       for key, v in (("changed", 0), ("changed_segments", -1)) if data.extra[key].shape[1] < LENGTH}  # fmt: skip
    if name == "masked tags":
        data.extra["seen"] = data.ids.clone()
        data.extra["seen"][:, 2] = 0
        data.mask[:] = (torch.arange(LENGTH) == 2).float()
    if name == "contrast":
        ids = torch.randint(1, 61, (4, 3, 2, LENGTH), generator=torch.Generator().manual_seed(7))
        data = Batch(ids, torch.ones(ids.shape), torch.zeros(ids.shape).int())
    found = []
    for parts in (1, 2, len(data)):
        model = ready(tiny)
        found.append(update(model, CUTS[name](model), data, parts))
    for other in found[1:]:
        assert len(other) == len(found[0])
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=4e-6)  # processors sum in orders of their own


def test_several_tasks_are_the_mean_over_rows(tiny: Tiny) -> None:
    model, data = ready(tiny), batch(**EXTRA, task=TASK)
    states, expected = hidden(model), torch.zeros(())
    for number, (name, weight) in enumerate((("classify", 1.0), ("tag", 2.0), ("span", 0.5), ("score", 1.0))):
        losses, _ = OBJECTIVES[name].losses(model, states, data)
        expected = expected + weight * (losses / OBJECTIVES[name].weights(data))[number == TASK].sum()
    objective = multitask(model)
    loss, metrics = objective(model, data)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert objective.weight(data) == ROWS
    assert [float(metrics[f"weight/{name}"]) / ROWS for name in OBJECTIVES] == pytest.approx([1, 2, 0.5, 1])
    only = Batch(data.ids[:1], data.mask[:1], data.segments[:1], {key: value[:1] for key, value in data.extra.items()})
    objective(model, only)[0].backward()
    assert all(p.grad is not None for p in model.tasks.parameters())


def test_uncertainty_is_the_likelihood_and_settles_where_it_should(tiny: Tiny) -> None:
    """Of constant losses, exp(-s) · l + s / 2 is least at s = ln 2l, and for squares, where half counts, at ln l."""
    model = ready(tiny)
    setattr(model, BALANCE, Uncertainty(4))
    learned = getattr(model, BALANCE).log_variance
    nn.init.constant_(learned, 0.3)
    loss, _ = multitask(model)(model, batch(**EXTRA, task=TASK))
    parts = {
        n: float(v)
        for n, v in MultiTask(OBJECTIVES, dict.fromkeys(OBJECTIVES, 1.0))(
            model_without(model), batch(**EXTRA, task=TASK)
        )[1].items()
    }
    factor = float(torch.tensor(-0.3).exp())
    expected = sum(parts[f"loss/{n}"] * factor * (0.5 if n == "score" else 1) for n in OBJECTIVES) + 0.15 * ROWS
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    constant, rows = 1.7, 2.0
    noise = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([noise], lr=0.05)
    objective = MultiTask({"a": Classify("a", "first"), "b": Regress("b", "first")}, {}, squared=frozenset({"b"}))
    holder = nn.Module()
    holder.balance = nn.Module()
    holder.balance.log_variance = nn.Parameter(noise)
    optimizer = torch.optim.Adam(holder.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        objective._weighed(holder, [torch.tensor(constant * rows)] * 2, [rows, rows])[0].backward()  # type: ignore[arg-type]
        optimizer.step()
    found = holder.balance.log_variance.detach().tolist()
    assert found == pytest.approx(
        [torch.tensor(2 * constant).log().item(), torch.tensor(constant).log().item()], abs=1e-2
    )


def model_without(model: Transformer) -> Transformer:
    delattr(model, BALANCE)
    return model


def test_gradnorm_takes_the_papers_step(tiny: Tiny) -> None:
    """Two tasks, worked out from Chen et al. 2018, equations 1 and 2, and the same for a cut batch."""
    found = []
    for parts in (1, 3):
        model, data = ready(tiny), batch(**EXTRA, task=torch.tensor([0, 1, 0, 1, 0, 1]))
        rows = {"classify": OBJECTIVES["classify"], "score": OBJECTIVES["score"]}
        balance = GradNorm(list(rows), alpha=1.5, rate=0.1)
        balance.first = {"classify": 1.0, "score": 2.0}
        objective = MultiTask(rows, {}, balance=balance)
        for piece in data.split(parts):
            objective(model, piece)
        balance.settle()
        found.append(dict(balance.weights))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    model = ready(tiny)
    states, losses, norms = hidden(model), [], []
    for number, name in enumerate(rows):
        mine = torch.arange(ROWS) % 2 == number
        loss = OBJECTIVES[name].losses(model, states, data)[0][mine].mean()
        losses.append(float(loss.detach()))
        norms.append(float(torch.autograd.grad(loss, shared(model), retain_graph=True)[0].norm()))
    ratios = [losses[0] / 1.0, losses[1] / 2.0]
    target = [sum(norms) / 2 * (r / (sum(ratios) / 2)) ** 1.5 for r in ratios]
    moved = [1 - 0.1 * (1 if n > t else -1) * n for n, t in zip(norms, target, strict=True)]
    moved = [max(m, 1e-3) for m in moved]
    expected = [m * 2 / sum(moved) for m in moved]
    assert list(found[0].values()) == pytest.approx(expected, rel=1e-4)
    again = GradNorm(list(rows))
    again.load_state_dict(balance.state_dict())
    assert (again.weights, again.first) == (balance.weights, balance.first)
    balance.look(model, [torch.zeros(()), torch.zeros(())], [0.0, 0.0])
    before = dict(balance.weights)
    balance.settle()  # a task was not in the step: nothing moves
    assert balance.weights == before


def test_contrast_is_info_nce_with_its_own_group_alone(tiny: Tiny) -> None:
    model = tiny(causal=False)
    ids = torch.randint(1, 61, (2, 3, 3, LENGTH), generator=torch.Generator().manual_seed(7))
    ids[0, 2, 1] = ids[0, 1, 1]  # the same text belongs to two queries: neither's negative
    data = Batch(ids, torch.ones(ids.shape), torch.zeros(ids.shape).int())
    loss, metrics = Contrast("mean", temperature=0.1)(model, data)
    expected, right = torch.zeros(()), 0
    for group in range(2):
        q, p, n = (vectors(model, ids[group, :, side], torch.zeros(3, LENGTH).int(), "mean") for side in range(3))
        scores = torch.cat([q @ p.T, q @ n.T], 1) / 0.1
        if group == 0:
            scores[1, 2] = scores[2, 1] = float("-inf")
        expected = expected + nn.functional.cross_entropy(scores, torch.arange(3), reduction="sum")
        right += int((scores.argmax(1) == torch.arange(3)).sum())
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert metrics["accuracy"] == right
    degree = torch.tensor([[0.1, 0.5, 1.0], [0.0, -0.5, 0.3]])
    loss, _ = Contrast("mean")(
        model, Batch(ids[:, :, :2], data.mask[:, :, :2], data.segments[:, :, :2], {"degree": degree})
    )
    flat = [vectors(model, ids[:, :, side].flatten(0, 1), torch.zeros(6, LENGTH).int(), "mean") for side in (0, 1)]
    torch.testing.assert_close(
        loss, ((flat[0] * flat[1]).sum(-1) - degree.flatten()).square().sum(), rtol=1e-5, atol=1e-5
    )


def test_consistency_is_the_formula(tiny: Tiny) -> None:
    model = ready(tiny)
    data = Changer(dict.fromkeys(range(1, 61), 1), set(), share=0.4, pad_id=0, seed=1)(batch(), 0)
    data.extra["label"] = torch.tensor([0, 3, 1, -1, -1, -1])
    classify = Classify("classify", "first")
    objective = Consistency(classify, weight=0.5, ratio=0.25, threshold=0.5, temperature=0.5)
    loss, metrics = objective(model, data)
    logits = head_of(model, "classify")(pooled(hidden(model), SEGMENTS, "first"))
    after = head_of(model, "classify")(model.features(data.extra["changed"], data.extra["changed_segments"])[:, 0])
    known = nn.functional.cross_entropy(logits[:3], LABEL[:3], reduction="sum")
    target = torch.softmax(logits[3:].detach() / 0.5, -1)
    sure = torch.softmax(logits[3:], -1).amax(-1) >= 0.5
    apart = (target * (target.log() - torch.log_softmax(after[3:], -1))).sum(-1) * sure
    torch.testing.assert_close(loss, known + 2.0 * apart.sum(), rtol=1e-5, atol=1e-5)
    assert objective.weight(data) == 3
    assert float(metrics["used"]) == sure.sum()


def test_alignment_is_the_formula_and_counts_what_past_steps_said(tiny: Tiny) -> None:
    model = ready(tiny)
    data = Changer(dict.fromkeys(range(1, 61), 1), set(), share=0.4, pad_id=0, seed=1)(batch(), 0)
    data.extra["label"] = torch.tensor([0, -1, 1, -1, -1, -1])
    alignment = Alignment(torch.tensor([6.0, 1.0, 1.0, 2.0]))
    classify = Classify("classify", "first")
    objective = Consistency(classify, weight=0.5, ratio=0.5, threshold=0.0, temperature=0.5, alignment=alignment)
    said = torch.softmax(head_of(model, "classify")(pooled(hidden(model), SEGMENTS, "first"))[[1, 3, 4, 5]], -1)
    plain = Consistency(classify, weight=0.5, ratio=0.5, threshold=0.0, temperature=0.5)
    first = objective(model, data)[0]
    torch.testing.assert_close(first, plain(model, data)[0])  # nothing has been said yet
    torch.testing.assert_close(objective(model, data)[0], first)  # nor does the same step count
    alignment.advance()
    shares = torch.tensor([0.6, 0.1, 0.1, 0.2])
    mean = 0.9 * shares + 0.1 * said.mean(0)
    torch.testing.assert_close(alignment.mean.float(), mean)
    after = head_of(model, "classify")(model.features(data.extra["changed"], data.extra["changed_segments"])[:, 0])
    aligned = (said * shares / mean).square().detach()
    target = aligned / aligned.sum(-1, keepdim=True)
    apart = (target * (target.log() - torch.log_softmax(after[[1, 3, 4, 5]], -1))).sum()
    known = nn.functional.cross_entropy(head_of(model, "classify")(pooled(hidden(model), SEGMENTS, "first"))[[0, 2]],
                                        torch.tensor([0, 1]), reduction="sum")  # fmt: skip
    torch.testing.assert_close(objective(model, data)[0], known + apart, rtol=1e-5, atol=1e-5)


def test_alignment_goes_on_where_it_stopped() -> None:
    whole, parts = Alignment(torch.tensor([1.0, 3.0])), Alignment(torch.tensor([1.0, 3.0]))
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, -1.0]])
    for step in range(3):
        whole(logits + step, torch.ones(3))
        for row in range(3):
            parts(logits[row : row + 1] + step, torch.ones(1))
        fresh = Alignment(torch.tensor([1.0, 3.0]))
        fresh.load_state_dict(json.loads(json.dumps(parts.state_dict())))
        parts = fresh
        for one in (whole, parts):
            one.advance()
            one.advance()  # where nothing was seen, nothing moves
    torch.testing.assert_close(whole.mean, parts.mean)
    assert whole.mean[0] > 0.3
    before = whole.mean.clone()
    whole(logits, torch.zeros(3))  # rows that only fill up
    whole.advance()
    assert torch.equal(whole.mean, before)
    whole(logits, torch.tensor([1.0, 0.0, 1.0]))
    parts(logits[[0, 2]], torch.ones(2))
    whole.advance()
    parts.advance()
    torch.testing.assert_close(whole.mean, parts.mean)


def test_a_step_is_over_when_the_next_batch_is_dealt() -> None:
    class Same:
        """The same batch each time."""

        def __iter__(self) -> "Same":
            return self

        def __next__(self) -> Batch:
            return batch()

        def state_dict(self) -> dict[str, Any]:
            return {"here": 1}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            assert state == {"here": 1}

    alignment = Alignment(torch.tensor([1.0, 1.0]))
    changer = Changer(dict.fromkeys(range(1, 61), 1), set(), share=0.4, pad_id=0, seed=1)
    source = ChangedBatches(Same(), changer, alignment)
    next(source)
    alignment(torch.tensor([[3.0, 0.0]]), torch.ones(1))
    kept, before = source.state_dict(), alignment.mean.clone()
    next(source)
    moved = alignment.mean.clone()
    assert moved[0] > before[0]
    source.load_state_dict(kept)
    assert torch.equal(alignment.mean, before)
    next(source)
    assert torch.equal(alignment.mean, moved)


def test_changes_drop_and_replace_what_may_be_changed() -> None:
    counts = {7: 3, 8: 1, 2: 100}
    row = torch.tensor([[2] + [5] * 400])
    data = Batch(row, torch.ones(row.shape), torch.zeros(row.shape).int())
    changer = Changer(counts, {2}, share=0.4, pad_id=0, seed=3)
    made = changer(data, 9)
    changed = made.extra["changed"][0][made.extra["changed_segments"][0] >= 0]
    assert changed[0] == 2
    assert set(changed.tolist()) == {2, 5, 7, 8}
    assert len(changed) == pytest.approx(1 + 400 * 0.8, abs=25)
    kinds = {i: int((changed == i).sum()) for i in (7, 8)}
    assert sum(kinds.values()) == pytest.approx(80, abs=25)
    assert kinds[7] > 2 * kinds[8]
    assert torch.equal(changer(data, 9).extra["changed"], made.extra["changed"])
    assert not torch.equal(changer(data, 10).extra["changed"][:, :300], made.extra["changed"][:, :300])
    assert torch.equal(made.ids, row)
