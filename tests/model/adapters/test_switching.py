"""One model, several adapters: each as if it were alone, and without any the model as it was, to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny

from danlu.base.errors import UserError
from danlu.model.adapters.files import attach, save_adapter
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.method_settings import Bottleneck, Ia3, Prefix, Prompt, Ptuning
from danlu.model.adapters.settings import Lora
from danlu.model.adapters.switching import Adapters
from danlu.model.hub import load_model, save_model
from danlu.model.transformer import Transformer
from danlu.tokens.extending.note import EXTENSION

IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
ALL: dict[str, Any] = {
    "lora": Lora(rank=3),
    "dora": Lora(rank=2, dora=True, targets=("q_proj",)),
    "ia3": Ia3(),
    "adapter": Bottleneck(width=4),
    "prefix": Prefix(tokens=3),
    "prompt": Prompt(tokens=5),
    "ptuning": Ptuning(tokens=2),
}


def logits(model: Transformer) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS)


def write(tiny: Tiny, folder: Path, name: str, **shape: Any) -> Path:
    model = tiny(**shape)
    adapter = attach(model, ALL[name], folder / "base", 0)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    save_adapter(model, adapter, folder / name)
    return folder / name


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``base``, and an adapter of each kind."""
    place = tmp_path_factory.mktemp("adapters")
    save_model(tiny(), place / "base", {})
    for name in ALL:
        write(tiny, place, name)
    return place


def test_each_is_what_it_is_alone_and_back_is_to_the_bit(folder: Path) -> None:
    model = load_model(folder / "base")
    plain, names = logits(model), [n for n, _ in model.named_parameters()]
    adapters = Adapters(model, {name: folder / name for name in ALL})
    assert adapters.names == list(ALL)
    assert adapters.active is None
    alone = {name: logits(open_adapter(folder / name)) for name in ALL}
    for name in (*ALL, *reversed(ALL), "lora"):
        adapters.switch(name)
        assert adapters.active == name
        assert torch.equal(logits(model), alone[name])
    adapters.switch(None)
    assert torch.equal(logits(model), plain)
    assert [n for n, _ in model.named_parameters()] == names
    assert model.config == load_model(folder / "base").config
    assert len({tuple(found.flatten().tolist()) for found in (plain, *alone.values())}) == 1 + len(ALL)


def test_for_a_while(folder: Path) -> None:
    model = load_model(folder / "base")
    adapters, plain = Adapters(model, {name: folder / name for name in ("lora", "prefix")}), logits(model)
    with adapters.using("lora") as used:
        assert used is model
        outer = logits(model)
        with adapters.using("prefix"):
            assert not torch.equal(logits(model), outer)
        assert torch.equal(logits(model), outer)
        with adapters.using(None):
            assert torch.equal(logits(model), plain)
    assert adapters.active is None
    with pytest.raises(KeyError), adapters.using("lora"):
        raise KeyError
    assert torch.equal(logits(model), plain)


def test_what_cannot_be_switched_is_one_sentence(tiny: Tiny, folder: Path, tmp_path: Path) -> None:
    model = load_model(folder / "base")
    adapters = Adapters(model, {"lora": folder / "lora"})
    with pytest.raises(UserError, match=r"there is no adapter 'lara'. Did you mean 'lora'"):
        adapters.switch("lara")
    with pytest.raises(UserError, match="an adapter is on the model already"):
        Adapters(open_adapter(folder / "prefix"), {})
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / EXTENSION).write_text('{"old_vocab": 50}')
    with pytest.raises(UserError, match=r"rows of new tokens, or whole tensors\), so it cannot be switched"):
        Adapters(model, {"rows": write(tiny, tmp_path, "lora")})


@pytest.mark.parametrize("name", list(ALL))
def test_one_of_another_model_leaves_none_on(tiny: Tiny, folder: Path, tmp_path: Path, name: str) -> None:
    model = load_model(folder / "base")
    plain = logits(model)
    other = write(tiny, tmp_path, name, width=40, kv_heads=1)
    adapters = Adapters(model, {"other": other, "lora": folder / "lora"})
    adapters.switch("lora")
    with pytest.raises(UserError, match="was made for another base"):
        adapters.switch("other")
    assert adapters.active is None
    assert torch.equal(logits(model), plain)
