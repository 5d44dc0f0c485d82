"""What changes begin with is what peft begins with, number for number, and what the papers say of it holds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from torch import Tensor
from transformers import AutoModelForCausalLM

from danlu.model.adapters.lora import adapted, add_lora
from danlu.model.adapters.quantization import Quantization
from danlu.model.adapters.settings import Lora
from danlu.model.adapters.starting import loftq, principal, start
from danlu.model.hub import save_model
from danlu.model.quantized import Nf4Linear, rounded

# Two libraries of others meet here, and one warns of what the other uses.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")
IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
W = torch.randn(48, 40, generator=torch.Generator().manual_seed(5))
PISSA = Lora(rank=4, alpha=6, init="pissa")


@pytest.fixture(scope="module")
def peft() -> Any:
    """The reference."""
    return pytest.importorskip("peft", reason="peft is not installed: pip install peft")


def draw(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("init", "theirs", "iterations"),
    [
        ("gaussian", "gaussian", 0),
        ("orthogonal", "orthogonal", 0),
        ("pissa", "pissa", 0),
        ("pissa", "pissa_niter_3", 3),
    ],
)
def test_they_are_pefts(peft: Any, init: Any, theirs: str, iterations: int) -> None:
    """Of one layer, drawn from the same generator: A, B, and what is left of the matrix."""
    settings = Lora(rank=4, alpha=6, init=init, pissa_iterations=iterations)
    found = start(W, 4, 1.5, settings, draw(), rounded)
    layer = torch.nn.Linear(40, 48, bias=False)
    layer.weight.data.copy_(W)
    config = peft.LoraConfig(r=4, lora_alpha=6, init_lora_weights=theirs, target_modules=["0"])
    torch.manual_seed(7)
    made = peft.tuners.lora.Linear(layer, "default", config=config, r=4, lora_alpha=6)
    torch.manual_seed(7)
    made.reset_lora_parameters("default", theirs) if init == "gaussian" else None
    if theirs == "pissa_niter_3" or init == "orthogonal":
        layer.weight.data.copy_(W)
        torch.manual_seed(7)
        getattr(made, f"{init}_init")("default", *([theirs] if init == "pissa" else []))
    left = W if found.taken is None else W - 1.5 * found.taken[1] @ found.taken[0]
    torch.testing.assert_close(found.a, made.lora_A["default"].weight.data, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.b, made.lora_B["default"].weight.data, rtol=0, atol=1e-6)
    torch.testing.assert_close(left, layer.weight.data, rtol=0, atol=1e-5)


def test_pissa_takes_the_best_of_its_rank() -> None:
    a, b = principal(W, 4, 1.5, 0, draw())
    values = torch.linalg.svdvals(W)
    assert float((W - 1.5 * b @ a).norm()) == pytest.approx(float(values[4:].norm()), rel=1e-5)
    torch.testing.assert_close(a @ a.t() * 1.5, torch.diag(values[:4]), rtol=0, atol=1e-4)
    near = principal(W, 4, 1.5, 8, draw())
    assert float((W - 1.5 * near[1] @ near[0]).norm()) == pytest.approx(float(values[4:].norm()), rel=2e-2)


def test_subspace_iteration_leaves_the_generator_of_the_run_alone() -> None:
    before = torch.get_rng_state()
    one, other = (principal(W, 4, 1.0, 2, draw(3))[0] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, other)


@pytest.mark.parametrize("iterations", [1, 3])
def test_loftq_is_pefts(peft: Any, iterations: int) -> None:
    """Its loop by its own decomposition; the whole of it runs on a GPU only, and rounds by bitsandbytes as we do."""
    from peft.utils.loftq_utils import _low_rank_decomposition

    left = W.clone()
    for turn in range(iterations):
        base = rounded(left, double=False)
        output = _low_rank_decomposition(W - base, reduced_rank=4)
        if turn + 1 < iterations:
            left = W - output["L"] @ output["R"]
    found = loftq(W, 4, 1.0, iterations, lambda weight: rounded(weight, double=False))
    assert (found.taken is None) == (iterations == 1)
    whole = W if found.taken is None else W - found.taken[1] @ found.taken[0]
    torch.testing.assert_close(rounded(whole, double=False), base, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.b @ found.a, output["L"] @ output["R"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_loftq_is_nearer_to_the_matrix_than_its_rounding(scale: float) -> None:
    apart = [float((rounded(W) - W).norm())]
    for iterations in (1, 4):
        a, b, taken = loftq(W, 8, scale, iterations, rounded)
        base = rounded(W if taken is None else W - scale * taken[1] @ taken[0])
        apart.append(float((base + scale * b @ a - W).norm()))
    assert apart[0] > 1.1 * apart[1] > 1.1 * apart[2]


INITS = [Lora(rank=4, init="gaussian"), Lora(rank=4, init="orthogonal"), PISSA, Lora(rank=4, init="pissa", dora=True),
         Lora(rank=4, init="pissa", pissa_iterations=4, rslora=True)]  # fmt: skip


@pytest.mark.parametrize("settings", INITS, ids=str)
def test_the_model_begins_as_it_was(tiny: Tiny, settings: Lora) -> None:
    model = tiny()
    before = model(IDS)
    starts = add_lora(model, settings, 0)
    torch.testing.assert_close(model(IDS), before, rtol=0, atol=2e-5)
    moving = settings.init == "pissa"
    assert len(starts.pairs) == len(starts.taken) == (14 if moving else 0)
    for layer in adapted(model).values():
        assert bool(layer.lora_B.any()) == (settings.init in ("pissa", "orthogonal"))
        assert float((layer.lora_B @ layer.lora_A).abs().max()) > 0.01 if moving else True


def test_gaussian_is_narrower_at_higher_ranks(tiny: Tiny) -> None:
    model = tiny(width=64, feedforward=256, kv_heads=4, head_width=16)
    add_lora(model, Lora(rank=32, init="gaussian"), 0)
    for layer in adapted(model).values():
        assert float(layer.lora_A.std()) == pytest.approx(1 / 32, rel=0.1)


@pytest.mark.parametrize("init", ["kaiming", "pissa", "loftq"])
def test_a_rounded_model_begins_near_where_it_was(tiny: Tiny, init: Any) -> None:
    """PiSSA rounds what is smaller, and LoftQ makes up for it: both are nearer than rounding alone."""
    model, wanted = tiny(width=64, feedforward=128, kv_heads=4, head_width=16), tiny
    before = model(IDS)
    add_lora(model, Lora(rank=16, init=init, **({"loftq_iterations": 5} if init == "loftq" else {})), 0, Quantization())
    assert all(isinstance(layer.base, Nf4Linear) for layer in adapted(model).values())
    plain = wanted(width=64, feedforward=128, kv_heads=4, head_width=16)
    add_lora(plain, Lora(rank=16), 0, Quantization())
    alone, found = (float((each(IDS) - before).abs().mean()) for each in (plain, model))
    assert found == alone if init == "kaiming" else found < 0.9 * alone


def test_the_first_gradients_of_pissa_are_pefts(peft: Any, tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    save_model(model, tmp_path, {"pad_token_id": 0, "eos_token_id": 3})
    theirs = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(tmp_path),
        peft.LoraConfig(
            r=4, lora_alpha=6, init_lora_weights="pissa", target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    add_lora(model, PISSA, 0)
    found: Tensor = model(IDS)
    torch.testing.assert_close(theirs(IDS).logits, found, rtol=0, atol=3e-5)
    theirs(IDS).logits.square().sum().backward()
    found.square().sum().backward()
    layers = adapted(model)
    for name, module in theirs.base_model.model.named_modules():
        if name in layers:
            for own, other in ((layers[name].lora_A, module.lora_A), (layers[name].lora_B, module.lora_B)):
                gradient = other["default"].weight.grad
                torch.testing.assert_close(own.grad, gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))
