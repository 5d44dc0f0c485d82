"""What several rooms need: a small model whose every weight counts, and a disk that is soon full."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from danlu.base.seed import derive
from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer

Tiny = Callable[..., Transformer]
# The same examples every time: a test that fails for one person in ten teaches everybody to run it again.
settings.register_profile("danlu", derandomize=True, database=None, deadline=None)
settings.load_profile("danlu")


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    """A factory of models in which nothing is left at its first value: zeros and ones would hide mistakes."""

    def make(seed: int = 0, **changes: Any) -> Transformer:
        shape = {"vocab_size": 61, "layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "head_width": 8}
        model = Transformer(ModelConfig(**({**shape, "feedforward": 48, "max_length": 64} | changes)))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                draw = torch.Generator().manual_seed(derive(seed, name))
                noise = torch.randn(parameter.shape, generator=draw)
                table = name.startswith(("embed", "positions"))
                spread = 0.3 if parameter.dim() < 2 or table else parameter.shape[1] ** -0.5
                parameter.mul_(0 if parameter.dim() > 1 else 1).add_(noise, alpha=spread)
        return model

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if not sys.platform.startswith("linux") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)
