"""Mixtures: the numbers of all experts written out, nothing dropped, and losses that count what the loss counts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

import danlu.model.hf
from danlu.base.errors import UserError
from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from danlu.model import moe
from danlu.model.config import ModelConfig
from danlu.model.feedforward import FeedForward
from danlu.model.hub import load_model, save_model
from danlu.model.kinds import Experts
from danlu.model.moe import Ledger, Mixture, in_one_call, one_by_one
from danlu.model.transformer import Transformer

SHAPE = {"vocab_size": 61, "layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "head_width": 8, "feedforward": 48}
FOUR = Experts(count=4, per_token=2, width=24)
KINDS = [
    FOUR,
    replace(FOUR, normalise=False),
    replace(FOUR, per_token=3, shared_width=16),
    replace(FOUR, per_token=1, normalise=False, shared_width=16, shared_gate=True),
    replace(FOUR, per_token=4),
]


def mixture(experts: Experts, **changes: Any) -> Mixture:
    layer = Mixture(ModelConfig(**(SHAPE | {"experts": experts} | changes)))
    for seed, parameter in enumerate(layer.parameters()):
        draw = torch.Generator().manual_seed(seed)
        parameter.data = torch.randn(parameter.shape, generator=draw) * parameter.shape[-1] ** -0.5
    return layer


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def written_out(layer: Mixture, x: Tensor) -> Tensor:
    """Every expert sees every token, and what was not chosen is multiplied by 0."""
    settings, stack = layer.settings, layer.experts
    probabilities = torch.softmax(x @ layer.router.weight.t(), dim=-1)
    least = probabilities.sort(dim=-1, descending=True).values[..., settings.per_token - 1 : settings.per_token]
    weights = torch.where(probabilities >= least, probabilities, 0)
    if settings.normalise:
        weights = weights / weights.sum(-1, keepdim=True)
    out = torch.zeros_like(x)
    for expert in range(settings.count):
        inside = x @ stack.up.weight[expert].t()
        if stack.gated:
            inside = inside * nn.functional.silu(x @ stack.gate.weight[expert].t())
        else:
            inside = torch.relu(inside) ** 2
        out = out + weights[..., expert : expert + 1] * (inside @ stack.down.weight[expert].t())
    if settings.shared_width:
        shared = layer.shared(x)
        if settings.shared_gate:
            shared = shared * torch.sigmoid(x @ layer.shared_gate.weight.t())
        out = out + shared
    return out


@pytest.mark.parametrize("activation", ["swiglu", "relu2"])
@pytest.mark.parametrize("experts", KINDS, ids=str)
def test_the_layer_is_its_formula(experts: Experts, activation: str) -> None:
    layer, x, out = mixture(experts, activation=activation), numbers(3, 7, 32), numbers(3, 7, 32, seed=1)
    inputs = [x.requires_grad_(), *layer.parameters()]
    found, expected = layer(x), written_out(layer, x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(*(torch.autograd.grad((y * out).sum(), inputs) for y in (found, expected))):
        assert theirs.norm() > 0
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_softmax_and_top_k_in_either_order_are_the_same() -> None:
    """Mixtral's paper takes the softmax of the best logits, its code the best of the softmax."""
    layer, x = mixture(FOUR), numbers(1, 9, 32)
    best, chosen = (x @ layer.router.weight.t()).topk(2, dim=-1)
    expected = torch.zeros_like(x)
    for k in range(2):
        alone = mixture(replace(FOUR, count=1, per_token=1))
        for token in range(9):
            for name in ("gate", "up", "down"):
                stack = getattr(layer.experts, name).weight[chosen[0, token, k]]
                getattr(alone.experts, name).weight.data[0] = stack
            expected[0, token] += torch.softmax(best, dim=-1)[0, token, k] * alone(x[:, token : token + 1])[0, 0]
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", ["swiglu", "geglu", "gelu", "gelu_exact", "relu2"])
def test_one_expert_is_the_feed_forward_layer(activation: str) -> None:
    layer, x = mixture(Experts(1, 1, 48), activation=activation), numbers(2, 5, 32)
    plain = FeedForward(ModelConfig(**SHAPE, activation=activation))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(layer.experts.get_parameter(name)[0])
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_the_grouped_product_is_the_products(dtype: torch.dtype) -> None:
    """Also for an expert that nobody chose."""
    ends = torch.tensor([3, 3, 8, 16])
    x, weight = numbers(16, 32).to(dtype).requires_grad_(), numbers(4, 24, 32, seed=1).to(dtype).requires_grad_()
    found, expected = in_one_call(x, weight, ends), one_by_one(x, weight, ends)
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    out = numbers(16, 24, seed=2).to(dtype)
    for ours, theirs in zip(*(torch.autograd.grad(y, (x, weight), out) for y in (found, expected))):
        assert (ours.float() - theirs.float()).norm() < tolerance * theirs.float().norm()
    assert not torch.autograd.grad(one_by_one(x, weight, ends), weight, out)[0][1].any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_layer_is_the_same_on_a_gpu() -> None:
    layer, x = mixture(FOUR), numbers(3, 7, 32)
    found = layer.cuda()(x.cuda().bfloat16()).cpu().float()
    torch.testing.assert_close(found, written_out(layer.cpu(), x), rtol=0.05, atol=0.05)


def test_routing_stays_float32_and_the_rest_takes_the_dtype_of_its_input() -> None:
    layer, x = mixture(FOUR), numbers(2, 9, 32).bfloat16()
    ledgers = [Ledger(torch.ones(2, 9)) for _ in range(2)]
    found, expected = layer(x, ledgers[0]), layer(x.float(), ledgers[1])
    assert found.dtype == torch.bfloat16
    assert torch.equal(ledgers[0].sums()["router_z"], ledgers[1].sums()["router_z"])
    assert (found.float() - expected).norm() < 0.02 * expected.norm()


def test_the_losses_are_their_formulas() -> None:
    """Fedus et al. (2021), equations 4 to 6, and Zoph et al. (2022), equation 5, times the tokens that count."""
    logits = numbers(6, 4)
    probabilities = torch.softmax(logits, dim=-1)
    chosen, weights = probabilities.topk(2, dim=-1).indices, torch.tensor([[1.0, 0.0, 2.0], [1.0, 1.0, 0.5]])
    ledger = Ledger(weights)
    ledger.write(logits, probabilities, chosen)
    flat = weights.flatten()
    picked = nn.functional.one_hot(chosen, 4).sum(1).float()
    share, mean = (flat @ picked) / (2 * flat.sum()), (flat @ probabilities) / flat.sum()
    balance = flat.sum() * 4 * (share * mean).sum()
    z = (flat * torch.log(logits.exp().sum(-1)) ** 2).sum()
    torch.testing.assert_close(ledger.sums(), {"balance": balance, "router_z": z})
    torch.testing.assert_close(ledger.loads[0], share)
    torch.testing.assert_close(ledger.loss(replace(FOUR, balance=0.3, router_z=0.2)), 0.3 * balance + 0.2 * z)


def test_an_even_load_costs_one_for_each_token() -> None:
    ledger = Ledger(torch.ones(2, 4))
    ledger.write(torch.zeros(8, 4), torch.full((8, 4), 0.25), torch.arange(16).view(8, 2) % 4)
    torch.testing.assert_close(ledger.sums()["balance"], torch.tensor(8.0))


def auxiliary(model: Transformer, ids: Tensor, segments: Tensor, which: str) -> Tensor:
    """The gradient of one of the losses in the routers, where padding does not count."""
    ledger = Ledger(segments >= 0)
    model.hidden(ids, segments, ledger=ledger)
    routers = [parameter for name, parameter in model.named_parameters() if "router" in name]
    return torch.cat([grad.flatten() for grad in torch.autograd.grad(ledger.sums()[which], routers)])


def rows(count: int, length: int = 9) -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 61, (count, length), generator=torch.Generator().manual_seed(3))
    segments = torch.zeros(count, length, dtype=torch.int32)
    segments[:, 6:] = -1
    return ids, segments


@pytest.mark.parametrize("which", ["balance", "router_z"])
def test_padding_does_not_count(tiny: Tiny, which: str) -> None:
    model, (ids, segments) = tiny(experts=FOUR), rows(2)
    other = torch.where(segments < 0, ids % 60 + 1, ids)
    # Another token of padding goes to another expert, whose product then has a row more or less: rounding may differ.
    found = auxiliary(model, ids, segments, which)
    torch.testing.assert_close(found, auxiliary(model, other, segments, which), rtol=1e-5, atol=1e-6)
    without = auxiliary(model, ids[:, :6], segments[:, :6], which)
    torch.testing.assert_close(auxiliary(model, ids, segments, which), without, rtol=1e-4, atol=1e-6)


def test_micro_batches_add_up(tiny: Tiny) -> None:
    """The z-loss always; the balance loss, a product of two means, where each part is loaded like the whole."""
    model, (ids, segments) = tiny(experts=FOUR), rows(4)

    def parts(which: str, ids: Tensor) -> tuple[Tensor, Tensor]:
        halves = [auxiliary(model, ids[half], segments[half], which) for half in (slice(0, 2), slice(2, 4))]
        return auxiliary(model, ids, segments, which), halves[0] + halves[1]

    torch.testing.assert_close(*parts("router_z", ids), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*parts("balance", ids[:2].repeat(2, 1)), rtol=1e-4, atol=1e-5)
    whole, halves = parts("balance", ids)
    assert (whole - halves).norm() > 1e-3 * whole.norm()


def test_checkpointing_gives_the_same_losses(tiny: Tiny) -> None:
    found = []
    for checkpointing in (False, True):
        model, (ids, segments) = tiny(experts=FOUR), rows(2)
        model.checkpointing, ledger = checkpointing, Ledger(segments >= 0)
        loss = model.hidden(ids, segments, ledger=ledger).square().mean() + ledger.loss(FOUR)
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1])
    assert all(torch.equal(a, b) for a, b in zip(*found))


def test_the_balance_loss_spreads_the_load() -> None:
    """A router that sends nearly everything to one expert learns not to."""
    torch.manual_seed(0)
    router, x = nn.Linear(16, 8, bias=False), numbers(256, 16) + 1
    with torch.no_grad():
        router.weight[0] += 0.5
    optimizer, loads = torch.optim.Adam(router.parameters(), lr=0.02), []
    for _ in range(60):
        ledger, logits = Ledger(torch.ones(256)), router(x)
        probabilities = torch.softmax(logits, dim=-1)
        ledger.write(logits, probabilities, probabilities.topk(1).indices)
        optimizer.zero_grad()
        ledger.loss(replace(FOUR, router_z=0.0)).backward()
        optimizer.step()
        loads.append(float(ledger.loads[0].max()))
    assert loads[0] > 0.9
    assert loads[-1] < 0.3


@torch.no_grad()
def test_decoding_is_the_whole_forward(tiny: Tiny) -> None:
    model = tiny(experts=replace(FOUR, shared_width=16))
    prompts = [[5, 9, 3], [7, 2, 8, 1, 4, 6], [11]]
    for prompt, answer in zip(prompts, Engine(model, ()).generate(prompts, Sampling(temperature=0, max_new_tokens=6))):
        ids = torch.tensor([prompt + answer.ids])
        assert model(ids)[0, len(prompt) - 1 : -1].argmax(-1).tolist() == answer.ids


@pytest.mark.parametrize("activation", ["swiglu", "gelu"])
@pytest.mark.parametrize("experts", [*KINDS, replace(FOUR, every=2), replace(FOUR, dense_first=3)], ids=str)
def test_all_weights_are_counted_and_a_token_pays_for_its_own(experts: Experts, activation: str) -> None:
    config = ModelConfig(**{**SHAPE, "layers": 4, "activation": activation, "experts": experts})  # type: ignore[arg-type]
    model = Transformer(config)
    assert config.parameters() == sum(parameter.numel() for parameter in model.parameters())
    idle, matrices = 0, 0
    for name, parameter in model.named_parameters():
        if ".experts." in name:
            matrices += parameter.numel()
            idle += parameter.numel() * (experts.count - experts.per_token) // experts.count
        elif parameter.dim() == 2:
            matrices += parameter.numel()
    assert config.matrix_parameters() == matrices - idle
    dense = ModelConfig(**{**SHAPE, "layers": 4, "activation": activation})  # type: ignore[arg-type]
    attention = dense.flops_per_token(16) - 6 * dense.matrix_parameters()
    assert config.flops_per_token(16) == 6 * config.matrix_parameters() + attention


def test_which_layers_have_experts() -> None:
    def sparse(**changes: int) -> list[bool]:
        config = ModelConfig(**{**SHAPE, "layers": 6, "experts": replace(FOUR, **changes)})  # type: ignore[arg-type]
        return [isinstance(block.feedforward, Mixture) for block in Transformer(config).blocks]  # type: ignore[union-attr]

    assert sparse() == [True] * 6
    assert sparse(every=2) == [False, True] * 3
    assert sparse(dense_first=2) == [False] * 2 + [True] * 4
    assert sparse(every=3, dense_first=3) == [False] * 5 + [True]


def test_each_block_begins_as_the_identity() -> None:
    model = Transformer(ModelConfig(**SHAPE, experts=FOUR), seed=3)  # type: ignore[arg-type]
    ids = torch.arange(5)[None]
    assert torch.equal(model.features(ids), model.norm(model.embed(ids)))
    spread = model.blocks[0].feedforward.experts.up.weight.detach().std() * 32**0.5  # type: ignore[union-attr]
    assert 0.95 < float(spread) < 1.05  # type: ignore[arg-type]


CHANGES: dict[str, Any] = {
    "count": 5,
    "per_token": 3,
    "width": 16,
    "shared_width": 16,
    "shared_gate": True,
    "normalise": False,
    "every": 2,
    "dense_first": 1,
    "balance": 0.5,
    "router_z": 0.5,
}


@pytest.mark.parametrize("key", list(Experts.__dataclass_fields__))
def test_every_key_changes_something(tiny: Tiny, key: str) -> None:
    base = replace(FOUR, shared_width=24) if key == "shared_gate" else FOUR
    found = []
    for experts in (base, replace(base, **{key: CHANGES[key]})):
        model, (ids, segments) = tiny(experts=experts), rows(2)
        ledger = Ledger(segments >= 0)
        out = model.hidden(ids, segments, ledger=ledger)
        found.append((out.square().sum() + ledger.loss(experts)).detach())
    assert not torch.equal(*found)


@pytest.mark.parametrize("activation", ["swiglu", "relu2"])
def test_what_is_saved_is_loaded(tiny: Tiny, activation: str, tmp_path: Path) -> None:
    model = tiny(experts=replace(FOUR, shared_width=16, every=2, balance=0.25), activation=activation)
    save_model(model, tmp_path, {})
    again, (ids, _) = load_model(tmp_path), rows(2)
    assert again.config == model.config
    assert torch.equal(again(ids), model(ids))


def test_transformers_opens_it_as_danlu(tiny: Tiny, tmp_path: Path) -> None:
    model, ids = tiny(experts=replace(FOUR, shared_width=16), activation="gelu"), rows(2)[0]
    save_model(model, tmp_path, {})
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(theirs, danlu.model.hf.DanluForCausalLM)
    assert theirs.config.native() == model.config
    torch.testing.assert_close(theirs(ids).logits, model(ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"per_token": 5}, r"a token cannot use 5 experts of 4\. Let per_token be at most count"),
        ({"per_token": 1}, "the weight of a single expert, normalised, is always 1: .* Set normalise to false"),
        ({"count": 0}, "experts count must be at least 1, is 0"),
        ({"balance": -0.1}, r"experts balance must not be negative, is -0\.1"),
        ({"shared_gate": True}, "shared_gate is for a shared expert, and there is none"),
    ],
    ids=str,
)
def test_experts_that_make_no_sense(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        replace(FOUR, **changes)


def test_models_that_make_no_sense() -> None:
    with pytest.raises(UserError, match="experts have no biases"):
        ModelConfig(**SHAPE, experts=FOUR, bias=True)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no layer has experts"):
        ModelConfig(**SHAPE, experts=replace(FOUR, every=3))  # type: ignore[arg-type]


def test_a_gpu_takes_the_grouped_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine both run; which one is taken is decided by device, dtype and size alone."""
    taken = list[str]()
    for name in ("one_by_one", "in_one_call"):
        monkeypatch.setattr(moe, name, lambda *_, name=name: taken.append(name))

    class Elsewhere:
        is_cuda = True

        def __init__(self, dtype: torch.dtype) -> None:
            self.dtype = dtype

    for x, inside in (
        (numbers(3, 32), 32),
        (Elsewhere(torch.bfloat16), 32),
        (Elsewhere(torch.float32), 32),
        (Elsewhere(torch.bfloat16), 30),
    ):
        moe.grouped(x, torch.zeros(4, 24, inside), torch.zeros(4))  # type: ignore[arg-type]
    assert taken == ["one_by_one", "in_one_call", "one_by_one", "one_by_one"]
