"""The matrices that adapters' files name are those of the directories, whatever family wrote them."""

from pathlib import Path

import pytest
import torch
from conftest import Tiny
from safetensors.torch import load_file
from torch import nn

from danlu.base.errors import UserError
from danlu.model.adapters.files import attach
from danlu.model.adapters.layers import Slot, block_of, linears, matrix, narrow, slots
from danlu.model.adapters.lora import linear_layers
from danlu.model.adapters.method_settings import Ia3
from danlu.model.adapters.rows import open_rows
from danlu.model.adapters.settings import Lora
from danlu.model.config import ModelConfig
from danlu.model.hub import load_model
from danlu.model.kinds import Experts, StateSpace
from danlu.model.transformer import Transformer
from tests.family_cases import CASES, class_of

KINDS = ["llama2", "gpt2", "gpt2-wide", "gpt_neox", "bloom", "phi3-part", "gemma2", "bert"]


@pytest.mark.parametrize("name", KINDS)
def test_each_is_a_tensor_of_the_directory(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    kind = class_of(case.kind)
    torch.manual_seed(0)
    network = kind(kind.config_class(**case.values))
    network.save_pretrained(tmp_path)
    tensors = {n: v for n, v in load_file(tmp_path / "model.safetensors").items() if v.dim() == 2}
    model = load_model(tmp_path)
    found = slots(model)
    turned = case.kind == "GPT2"
    for name_, slot in found.items():
        theirs = tensors.pop(f"{name_}.weight")
        assert torch.equal(slot.weight, theirs.t() if turned else theirs), name_
        assert slot.shape == slot.weight.shape
        cut = slot.cut(slot.weight)
        assert all(torch.equal(part, matrix(layer)) for part, (_, layer) in zip(cut, slot.parts, strict=True))
        assert block_of(name_) in (0, 1, 2)
    left = ("embed", "wte", "wpe", "lm_head", "predictions", "pooler", "router")
    assert all(any(part in rest for part in left) for rest in tensors), tensors.keys()


def test_parts_in_an_order_of_their_own_go_there_and_back() -> None:
    layers = [nn.Linear(3, 2), nn.Linear(3, 4)]
    slot = Slot(tuple((str(i), layer) for i, layer in enumerate(layers)), torch.tensor([5, 0, 2, 1, 3, 4]))
    pieces = [torch.tensor([10, 11]), torch.tensor([20, 21, 22, 23])]
    whole = slot.glue(pieces)
    assert whole.tolist() == [23, 10, 20, 11, 21, 22]
    assert [part.tolist() for part in slot.cut(whole)] == [[10, 11], [20, 21, 22, 23]]


def test_separate_layers_are_asked_for_by_name(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    assert {name: slot.parts[0] for name, slot in slots(model).items()} == linear_layers(model)
    case = CASES["gpt2"]
    class_of(case.kind)(class_of(case.kind).config_class(**case.values)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="keep several matrices as one"):
        linear_layers(load_model(tmp_path))


def test_what_has_no_matrix_for_adapters_is_refused() -> None:
    space = StateSpace(state=8, head_width=8, groups=1)
    config = ModelConfig(vocab_size=61, layers=1, width=32, positions="none", tied=False, state_space=space)
    with pytest.raises(UserError, match="a mamba2 model reads some matrices without"):
        slots(Transformer(config))


def test_routers_are_left_alone(tiny: Tiny) -> None:
    model = tiny(experts=Experts(count=4, per_token=2, width=24), activation="gelu")
    names = [name.rpartition(".")[2] for name, _ in linears(model)]
    assert "router" in [name.rpartition(".")[2] for name, _ in model.named_modules()]
    assert set(names) == {"q", "k", "v", "o"}


@pytest.mark.parametrize("words", [False, True], ids=["LoRA", "IA3"])
def test_frozen_matrices_in_the_format_they_are_computed_in_give_the_same_bits(tiny: Tiny, words: bool) -> None:
    found = []
    for narrowed in (False, True):
        model = tiny().train()
        model.compute_dtype = torch.bfloat16
        attach(model, Ia3() if words else Lora(rank=2, alpha=4.0), Path("base"), 0)
        if narrowed:
            narrow(model, torch.bfloat16)
        assert model.blocks[0].attention.k.base.weight.dtype == (torch.bfloat16 if narrowed else torch.float32)  # type: ignore[union-attr]
        out = model(torch.randint(61, (2, 9), generator=torch.Generator().manual_seed(0)))
        out.float().square().sum().backward()
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        assert {parameter.dtype for parameter in learned} == {torch.float32}
        found.append([out, *(parameter.grad for parameter in learned)])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_what_learns_or_whose_lengths_count_stays_in_float32(tiny: Tiny) -> None:
    model = tiny()
    narrow(model, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    attach(model, Lora(rank=2, alpha=4.0, targets=("q_proj",), dora=True), Path("base"), 0)
    narrow(model, torch.bfloat16)
    block = model.blocks[0].attention
    assert block.q.base.weight.dtype == torch.float32  # type: ignore[union-attr]
    assert block.k.weight.dtype == model.embed.weight.dtype == torch.bfloat16  # type: ignore[union-attr]
    extended = tiny()
    open_rows(extended.requires_grad_(False), 50)
    narrow(extended, torch.bfloat16)
    assert extended.embed.weight.dtype == torch.float32
