"""LoRA begins as the model it is put into, learns nothing but A and B, and computes what its formula says."""

import pytest
import torch
from conftest import Tiny
from torch import Tensor
from torch.nn.functional import dropout

from danlu.base.errors import UserError
from danlu.model.adapters.lora import (
    LoraLinear,
    adapted,
    add_lora,
    chosen,
    linear_layers,
    pattern_value,
    scale_of,
    short_names,
)
from danlu.model.adapters.settings import Lora
from danlu.model.linear import Linear

IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
X = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
LEAVES = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def layer(dropped: float = 0.0) -> LoraLinear:
    """8 to 6 at rank 2, nothing in it zero."""
    torch.manual_seed(0)
    made = LoraLinear(Linear(8, 6), 2, 0.7, dropped)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def by_hand(made: LoraLinear, x: Tensor, seen: Tensor) -> Tensor:
    return made.base(x) + 0.7 * (seen @ made.lora_A.t() @ made.lora_B.t())


def test_a_layer_computes_its_formula() -> None:
    made = layer()
    torch.testing.assert_close(made(X), by_hand(made, X, X), rtol=0, atol=1e-5)
    assert made(X).shape == (3, 5, 6)
    assert made(X[0, 0]).shape == (6,)
    assert made(X.bfloat16()).dtype == torch.bfloat16


def test_gradients_are_those_of_the_formula() -> None:
    made, names = layer(), ("lora_A", "lora_B")
    wanted = torch.autograd.grad(by_hand(made, X, X).square().sum(), [made.lora_A, made.lora_B])
    found = torch.autograd.grad(made(X).square().sum(), [made.lora_A, made.lora_B])
    for name, one, other in zip(names, found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4, msg=name)
    assert not made.base.weight.requires_grad


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dropped", [0.0, 0.5])
def test_dora_computes_its_formula(bias: bool, dropped: float) -> None:
    """m (W + s B A) / its rows' lengths; with dropout, what that adds to W sees the shortened input, as in peft."""
    torch.manual_seed(0)
    made = LoraLinear(Linear(8, 6, bias=bias), 2, 0.7, dropped, dora=True).train()
    for parameter in (made.lora_A, made.lora_B, made.lora_magnitude_vector):
        assert parameter is not None
        torch.nn.init.normal_(parameter)
    matrix = made.base.weight + 0.7 * made.lora_B @ made.lora_A
    wanted = made.lora_magnitude_vector.unsqueeze(1) * matrix / matrix.norm(dim=1, keepdim=True).detach()
    torch.manual_seed(7)
    found = made(X)
    torch.manual_seed(7)
    seen = dropout(X, dropped)
    by_formula = made.base(X) + seen @ (wanted - made.base.weight).t()
    torch.testing.assert_close(found, by_formula, rtol=0, atol=1e-5)
    names = [made.lora_A, made.lora_B, made.lora_magnitude_vector]
    ours = torch.autograd.grad(found.square().sum(), names)
    theirs = torch.autograd.grad(by_formula.square().sum(), names)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_dora_leaves_rows_of_zeros_alone() -> None:
    """A length of 0 has no direction: the row gives 0, as it did, and its gradients are numbers."""
    base = Linear(8, 6, bias=False)
    with torch.no_grad():
        base.weight[2] = 0
    made = LoraLinear(base, 2, 0.7, dora=True)
    torch.nn.init.normal_(made.lora_A)
    found = made(X)
    torch.testing.assert_close(found, base(X))
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (made.lora_A, made.lora_B))
    assert found[..., 2].eq(0).all()


def test_dropout_hides_input_from_the_change_alone_and_only_while_training() -> None:
    made = layer(0.5)
    made.train()
    torch.manual_seed(7)
    found = made(X)
    torch.manual_seed(7)
    torch.testing.assert_close(found, by_hand(made, X, dropout(X, 0.5)), rtol=0, atol=1e-5)
    made.eval()
    assert torch.equal(made(X), layer()(X))


def test_without_dropout_no_random_number_is_drawn() -> None:
    made = layer().train()
    before = torch.get_rng_state()
    made(X)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("tied", "dora"), [(True, False), (False, False), (True, True)])
def test_the_model_begins_as_it_was(tiny: Tiny, tied: bool, dora: bool) -> None:
    model = tiny(tied=tied)
    before = model(IDS)
    starts = add_lora(model, Lora(rank=3, dora=dora), 0)
    assert len(starts.scales) == len(adapted(model)) == 14
    assert torch.equal(model(IDS), before)
    trained = {name.rpartition(".")[2] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"lora_A", "lora_B", "lora_magnitude_vector"} - ({"lora_magnitude_vector"} if not dora else set())


def test_first_values(tiny: Tiny) -> None:
    """Kaiming's uniform with a = √5 is uniform within 1/√I: its deviation is that over √3."""
    model = tiny(width=64, feedforward=256, kv_heads=4, head_width=16)
    add_lora(model, Lora(rank=32), 0)
    for name, made in adapted(model).items():
        bound = made.base.in_features**-0.5
        first = made.lora_A.detach()
        assert float(first.abs().max()) <= bound
        assert float(first.std()) == pytest.approx(bound / 3**0.5, rel=0.05), name
        assert not made.lora_B.any()


def test_the_seed_alone_decides_them(tiny: Tiny) -> None:
    def first(seed: int, targets: tuple[str, ...]) -> Tensor:
        torch.rand(3)
        model = tiny()
        add_lora(model, Lora(rank=3, targets=targets), seed)
        return adapted(model)["model.layers.1.mlp.down_proj"].lora_A

    assert torch.equal(first(1, ("all-linear",)), first(1, ("down_proj",)))
    assert not torch.equal(first(1, ("down_proj",)), first(2, ("down_proj",)))


def test_scale() -> None:
    assert scale_of(16, 32, False) == 2
    assert scale_of(16, 32, True) == 8
    model_scale = {True: 8 / 2**0.5, False: 4.0}
    for rslora, wanted in model_scale.items():
        assert scale_of(2, 8, rslora) == pytest.approx(wanted)


def test_dropout_changes_what_is_learned_from(tiny: Tiny) -> None:
    for share in (0.0, 0.5):
        model = tiny()
        add_lora(model, Lora(rank=4, dropout=share), 0)
        for made in adapted(model).values():
            torch.nn.init.normal_(made.lora_B)
        assert torch.equal(model.train()(IDS), model(IDS)) == (share == 0)


def test_alpha_and_rslora_reach_the_layers(tiny: Tiny) -> None:
    for settings, wanted in ((Lora(rank=4, alpha=8), 2.0), (Lora(rank=4, alpha=8, rslora=True), 4.0)):
        model = tiny()
        add_lora(model, settings, 0)
        assert {made.scale for made in adapted(model).values()} == {wanted}


def test_targets_are_names_or_their_ends(tiny: Tiny) -> None:
    names = list(linear_layers(tiny()))
    assert chosen(names, ("all-linear",)) == names
    assert chosen(names, ("q_proj", "v_proj")) == [n for n in names if n[-6:] in ("q_proj", "v_proj")]
    assert chosen(names, ("layers.1.mlp.up_proj",)) == ["model.layers.1.mlp.up_proj"]
    assert chosen(names, ("model.layers.0.self_attn.q_proj",)) == ["model.layers.0.self_attn.q_proj"]
    assert short_names(names, ("all-linear",)) == LEAVES
    assert short_names(names[:1], ("q_proj", "1.mlp.up_proj")) == ["1.mlp.up_proj", "q_proj"]
    own = linear_layers(tiny(activation="gelu"))  # no class of transformers has it, so the names are ours
    assert chosen(own, ("attention.q",)) == ["blocks.0.attention.q", "blocks.1.attention.q"]
    with pytest.raises(UserError, match=r"no layer is called 'q_pro'. Did you mean 'q_proj'"):
        chosen(names, ("q_pro",))
    with pytest.raises(UserError, match="no layer is called 'proj'"):
        chosen(names, ("q_proj", "proj"))


def test_a_rank_beyond_the_matrix_is_refused_before_anything_changes(tiny: Tiny) -> None:
    model = tiny()
    with pytest.raises(UserError, match=r"rank 17 is more than model.layers.0.self_attn.k_proj has.*lora.rank 16"):
        add_lora(model, Lora(rank=17), 0)
    assert not adapted(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    add_lora(model, Lora(rank=16), 0)


def test_a_pattern_matches_the_end_of_a_name() -> None:
    """As peft 0.21 reads ``alpha_pattern``: the first that matches from a dot to the end."""
    patterns = {"layers.0.self_attn.q_proj": 3.0, "q_proj": 4.0, r".*\.mlp.*": 5.0}
    assert pattern_value(patterns, "model.layers.0.self_attn.q_proj", 1.0) == 3.0
    assert pattern_value(patterns, "model.layers.1.self_attn.q_proj", 1.0) == 4.0
    assert pattern_value(patterns, "model.layers.1.mlp.up_proj", 1.0) == 5.0
    assert pattern_value({"proj": 2.0}, "model.layers.1.mlp.up_proj", 1.0) == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_the_joined_product_is_the_two(dtype: torch.dtype, bias: bool) -> None:
    """Against the formula left to autograd, in the layer's own form and shapes."""
    draw = torch.Generator().manual_seed(0)
    base = Linear(12, 20, bias)
    layer = LoraLinear(base, 4, 0.5)
    found = []
    for joined in (True, False):
        draw.manual_seed(0)
        x = torch.randn(2, 3, 12, generator=draw).to(dtype).requires_grad_()
        with torch.no_grad():
            layer.lora_A.copy_(torch.randn(4, 12, generator=draw))
            layer.lora_B.copy_(torch.randn(20, 4, generator=draw))
        a, b = layer.lora_A.to(dtype), layer.lora_B.to(dtype)
        y = layer(x) if joined else base(x) + 0.5 * (x @ a.t()) @ b.t()
        wanted = [x, layer.lora_A, layer.lora_B]
        found.append([y, *torch.autograd.grad(y.sin().sum(), wanted)])
    close = {"rtol": 0.05, "atol": 0.3} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(found[0], found[1], **close)
