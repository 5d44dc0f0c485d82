"""Some parameters learn at a multiple of the run's rate, with every optimizer; AdamW's steps are those of peft's LoRA+."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from danlu.train.optim import Optimizer
from danlu.train.settings import OptimizerSettings, TrainSettings
from tests.train.conftest import eight_bit, loop

KINDS = ["adamw", "muon", "lion", "adafactor", pytest.param("adamw8bit", marks=eight_bit)]


class Pair(nn.Module):
    """Two matrices that are as large as 8-bit state begins, named as blocks' are."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.blocks = nn.ParameterDict({n: nn.Parameter(torch.randn(64, 64, generator=draw)) for n in ("one", "other")})


def moved(name: Any, ratios: dict[str, float]) -> dict[str, float]:
    """How far each matrix goes in one step of equal gradients."""
    pair = Pair()
    before = {name: p.detach().clone() for name, p in pair.named_parameters()}
    optimizer = Optimizer(pair, OptimizerSettings(name=name, weight_decay=0.0), torch.float32, ratios=ratios)
    draw = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
    for parameter in pair.parameters():
        parameter.grad = draw.clone()
    optimizer.step(1e-3)
    return {name: float((p.detach() - before[name]).norm()) for name, p in pair.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer_takes_the_multiple(kind: str) -> None:
    plain, found = moved(kind, {}), moved(kind, {"blocks.other": 4.0})
    assert found["blocks.one"] == pytest.approx(plain["blocks.one"], rel=1e-3)
    assert found["blocks.other"] == pytest.approx(4 * plain["blocks.other"], rel=1e-2)


def test_steps_are_those_of_pefts_lora_plus(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    from peft.optimizers import create_loraplus_optimizer

    torch.manual_seed(0)
    theirs = peft.get_peft_model(
        nn.Sequential(nn.Linear(8, 6)), peft.LoraConfig(r=2, target_modules=["0"], init_lora_weights=False)
    )
    ours = nn.ModuleDict({"blocks": nn.Module()})
    named = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
    for name, parameter in named.items():
        ours["blocks"].register_parameter(name.split(".")[-3], nn.Parameter(parameter.detach().clone()))
    given = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8}
    reference = create_loraplus_optimizer(theirs, torch.optim.AdamW, loraplus_lr_ratio=16.0, **given)
    settings = OptimizerSettings(name="adamw", weight_decay=0.0)
    optimizer = Optimizer(ours, settings, torch.float32, ratios={"blocks.lora_B": 16.0})
    for step in range(5):
        for name, parameter in named.items():
            draw = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
            parameter.grad = draw
            ours["blocks"].get_parameter(name.split(".")[-3]).grad = draw.clone()
        reference.step()
        optimizer.step(1e-2)
    for name, parameter in named.items():
        found = ours["blocks"].get_parameter(name.split(".")[-3])
        torch.testing.assert_close(found, parameter, rtol=1e-5, atol=1e-6)


def test_the_loop_hands_them_on(folder: Path) -> None:
    settings = TrainSettings(steps=1, optimizer=OptimizerSettings(name="adamw", lr=1e-3, weight_decay=0.0, clip=0.0))
    found = []
    for ratio in (1.0, 3.0):
        run = loop(folder / str(ratio), settings, ratios={"blocks.0.attention.q.weight": ratio})
        before = run.model.blocks[0].attention.q.weight.detach().clone()
        run.run()
        found.append(float((run.model.blocks[0].attention.q.weight - before).detach().norm()))
    assert found[1] == pytest.approx(3 * found[0], rel=1e-3)
