"""A model and a task small enough to train in a test."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer
from danlu.objectives.next_token import NextToken
from danlu.tokens.batches import PackedBatches
from danlu.tokens.chat import Rendered
from danlu.tokens.pack import ListItems
from danlu.train.checkpoint import Checkpoints
from danlu.train.loop import Loop
from danlu.train.settings import TrainSettings

VOCABULARY = 32
eight_bit = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed: pip install 'danlu[8bit]'"
)


def items(seed: int = 0, count: int = 40) -> ListItems:
    """Sequences that count upwards from a random start, modulo 24: learnable, and of uneven length."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        start, length = int(draw.integers(24)), int(draw.integers(5, 20))
        ids = [(start + i) % 24 for i in range(length)]
        made.append(Rendered(ids, [int(i % 5 != 3) for i in range(length)]))
    return ListItems(made)


def model(seed: int = 0, **changes: Any) -> Transformer:
    """Two layers of width 32."""
    values: dict[str, Any] = {"layers": 2, "width": 32, "heads": 2, "kv_heads": 1, "head_width": 16, "feedforward": 64}
    return Transformer(ModelConfig(vocab_size=VOCABULARY, max_length=32, **values | changes), seed)


def loop(folder: Path, settings: TrainSettings, precision: str = "fp32", **changes: Any) -> Loop:
    """A run over `items`."""
    source = PackedBatches(items(), batch_size=8, length=32, pad_id=31, seed=0, split=False)
    values: dict[str, Any] = {"model": model(), "objective": NextToken(), "source": source} | changes
    return Loop(settings=settings, checkpoints=Checkpoints(folder), precision=precision, **values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where checkpoints go."""
    return tmp_path / "checkpoints"
