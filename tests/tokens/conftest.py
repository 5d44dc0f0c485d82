"""A small bilingual tokenizer, and the same one as transformers opens it."""

from pathlib import Path
from typing import Any

import pytest

from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.training.train import train_bpe

CORPUS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps, the fox runs, and the user waits.",
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。",
    "In 2024 the assistant's answer isn't 42; it's 1,234.56!\n\n    def answer(question):\n        return 42\n",
    "用Python写程序，天下大势 users assistant system 2023年12月。",
] * 5


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_bpe(CORPUS, 420)


@pytest.fixture(scope="session")
def reference(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    path: Path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(path)
    return AutoTokenizer.from_pretrained(path)
