"""The kinds beside LoRA against peft, both ways: the same logits, the same gradients, and the same files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from danlu.model.adapters.files import CONFIG, WEIGHTS, attach, save_adapter
from danlu.model.adapters.ia3 import scaled
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.method_settings import Ia3, Other, Prefix, Prompt, Ptuning
from danlu.model.hub import save_model
from danlu.model.transformer import Transformer

# Two libraries of others meet here, and one warns of what the other uses.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")
IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
SHAPES: list[dict[str, Any]] = [{}, {"kv_heads": 1, "bias": True, "head_width": 6, "tied": False}]
METHODS: dict[str, Other] = {
    "prefix": Prefix(tokens=4),
    "projected": Prefix(tokens=4, projection=True, hidden=7),
    "prompt": Prompt(tokens=4),
    "ptuning": Ptuning(tokens=4, hidden=10),
    "lstm": Ptuning(tokens=4, hidden=6, encoder="lstm", layers=1),
    "ia3": Ia3(),
    "ia3 named": Ia3(targets=("q_proj", "1.mlp.up_proj"), inputs=("1.mlp.up_proj",)),
}


@pytest.fixture(scope="module")
def peft() -> Any:
    """The reference."""
    return pytest.importorskip("peft", reason="peft is not installed: pip install peft")


def noise(parameters: Any) -> None:
    """Nothing at its first value."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn_like(parameter), alpha=0.3)


def learning(model: Any) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def ours(tiny: Tiny, path: Path, settings: Other, **changes: Any) -> Transformer:
    """A model with an adapter that learned something; ``base`` and ``adapter`` are written."""
    model = tiny(**changes)
    save_model(model, path / "base", {"pad_token_id": 0, "eos_token_id": 3})
    adapter = attach(model, settings, path / "base", 0)
    noise(learning(model).values())
    save_adapter(model, adapter, path / "adapter")
    return model


def logits(model: Any, ids: Tensor = IDS) -> Tensor:
    """Of the ids alone: peft gives those of virtual tokens as well."""
    found = model(ids)
    return found if isinstance(found, Tensor) else found.logits[:, -ids.shape[1] :]


def base(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(path / "base")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_peft_opens_ours(peft: Any, tiny: Tiny, tmp_path: Path, method: str, shape: dict[str, Any]) -> None:
    model = ours(tiny, tmp_path, METHODS[method], **shape)
    theirs = peft.PeftModel.from_pretrained(base(tmp_path), tmp_path / "adapter")
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=3e-5)
    assert float((logits(model) - logits(tiny(**shape))).abs().max()) > 0.05
    again = open_adapter(tmp_path / "adapter")
    # An encoder's matrix product is rounded once when it is saved, and so is every embedding that it made.
    torch.testing.assert_close(logits(again), logits(model), rtol=0, atol=1e-6)
    assert not learning(again)


def config_of(peft: Any, method: str) -> Any:
    """peft's settings of the same."""
    settings: Any = METHODS[method]
    own: dict[str, Any] = {"task_type": "CAUSAL_LM"}
    if isinstance(settings, Ia3):
        if settings.targets:
            own |= {"target_modules": list(settings.targets), "feedforward_modules": list(settings.inputs)}
        return peft.IA3Config(**own)
    own |= {"num_virtual_tokens": settings.tokens}
    if isinstance(settings, Prompt):
        return peft.PromptTuningConfig(**own)
    if isinstance(settings, Prefix):
        return peft.PrefixTuningConfig(
            **own, prefix_projection=settings.projection, encoder_hidden_size=settings.hidden or None
        )
    kind, layers = settings.encoder.upper(), settings.layers
    return peft.PromptEncoderConfig(
        **own, encoder_reparameterization_type=kind, encoder_hidden_size=settings.hidden, encoder_num_layers=layers
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_we_open_pefts(peft: Any, tiny: Tiny, tmp_path: Path, method: str, shape: dict[str, Any]) -> None:
    save_model(tiny(**shape), tmp_path / "base", {"pad_token_id": 0, "eos_token_id": 3})
    theirs = peft.get_peft_model(base(tmp_path), config_of(peft, method))
    noise(learning(theirs).values())
    theirs.eval().save_pretrained(tmp_path / "adapter")
    found = logits(open_adapter(tmp_path / "adapter"))
    torch.testing.assert_close(found, logits(theirs), rtol=0, atol=3e-5)
    assert float((found - logits(tiny(**shape))).abs().max()) > 0.05


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_pefts(peft: Any, tiny: Tiny, tmp_path: Path, method: str, shape: dict[str, Any]) -> None:
    """Through the networks that make virtual tokens, too: they are peft's, name by name."""
    model = ours(tiny, tmp_path, METHODS[method], **shape)
    theirs = peft.get_peft_model(base(tmp_path), config_of(peft, method)).train()
    found: dict[str, Tensor | None] = {}
    if isinstance(METHODS[method], Ia3):
        given = {name: layer.scales for name, layer in scaled(model).items()}
    else:
        given = {name.rpartition("embed.maker.")[2].removeprefix("prefix."): p for name, p in learning(model).items()}
        given = {name.replace("vectors", "embedding.weight"): p for name, p in given.items()}
    wanted = {_plain(name): parameter for name, parameter in learning(theirs).items()}
    assert wanted.keys() == given.keys()
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(given[name].view_as(parameter))
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=3e-5)
    for net in (model, theirs):
        logits(net).square().sum().backward()
    for name, parameter in wanted.items():
        found[name] = given[name].grad
        assert found[name] is not None
        assert parameter.grad is not None
        torch.testing.assert_close(found[name].view_as(parameter), parameter.grad, rtol=1e-4, atol=2e-3, msg=name)  # type: ignore[union-attr]


def _plain(name: str) -> str:
    """peft's name of a parameter without what it puts around."""
    for part in ("base_model.model.", "prompt_encoder.default.", ".ia3_l.default"):
        name = name.replace(part, "")
    return name


def test_what_is_written(tiny: Tiny, tmp_path: Path) -> None:
    """Names that other programs read; a text or a network that made virtual tokens is no part of it."""
    wanted: dict[str, dict[str, Any]] = {
        "prefix": {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "token_dim": 16, "num_attention_heads": 2},
        "projected": {"prefix_projection": True, "encoder_hidden_size": 7},
        "prompt": {"peft_type": "PROMPT_TUNING", "token_dim": 32, "num_layers": 2},
        "lstm": {"peft_type": "P_TUNING", "encoder_reparameterization_type": "LSTM", "encoder_num_layers": 1},
        "ia3": {"target_modules": ["down_proj", "k_proj", "v_proj"], "feedforward_modules": ["down_proj"]},
        "ia3 named": {"feedforward_modules": ["model.layers.1.mlp.up_proj"]},
    }
    for method, keys in wanted.items():
        ours(tiny, tmp_path / method, METHODS[method])
        found = json.loads((tmp_path / method / "adapter" / CONFIG).read_text())
        assert found | keys | {"base_model_name_or_path": str(tmp_path / method / "base")} == found
        names = set(load_file(tmp_path / method / "adapter" / WEIGHTS))
        assert names == {"prompt_embeddings"} or all(name.endswith(".ia3_l") for name in names)


@pytest.mark.parametrize("method", ["prefix", "prompt"])
@torch.no_grad()
def test_windows_and_scaled_embeddings_as_peft_has_them(peft: Any, tiny: Tiny, tmp_path: Path, method: str) -> None:
    """A window counts the prefix's positions; Gemma's factor is for words and not for virtual tokens."""
    mistral, gemma = {"window": 6}, {"norm_plus_one": True, "embedding_multiplier": 32**0.5, "activation": "geglu"}
    gemma |= {
        "norm_place": "sandwich",
        "norm_epsilon": 1e-6,
        "attention_scale": 8**-0.5,
        "window": 6,
        "global_every": 2,
    }
    for name, shape in (("mistral", mistral), ("gemma", gemma)):
        model = ours(tiny, tmp_path / name, METHODS[method], **shape)
        theirs = peft.PeftModel.from_pretrained(base(tmp_path / name), tmp_path / name / "adapter")
        torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=1e-4, msg=name)
