"""The other peer of gguf_import: llama.cpp itself, as the package cyllama brings it. JSON in its last line.

llama_cpp_gguf.py logits FILE IDS OUT       float32 logits [T, V] of a JSON list of ids, as a NumPy file
llama_cpp_gguf.py ids FILE TEXTS OUT        ids of a JSON list of texts, as JSON

All is as llama.cpp has it by default, but that it stays on the processor: it multiplies the blocks of the file as they
are with inputs rounded to 8 bits, and keeps keys and values in half precision.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cyllama.llama import llama_cpp


class Model(llama_cpp.LlamaModel):
    """With what `get_logits_ith` asks of a model, and cyllama 0.2.18 forgot to give it."""

    @property
    def n_vocab(self) -> int:
        """V."""
        return int(self.get_vocab().n_vocab)


def opened(file: Path) -> Model:
    """The model, on the processor."""
    llama_cpp.disable_logging()
    asked = llama_cpp.LlamaModelParams()
    asked.n_gpu_layers = 0
    return Model(path_model=str(file), params=asked, verbose=False)


def logits(file: Path, ids: list[int]) -> Any:
    """[T, V] of one sequence."""
    wanted = llama_cpp.LlamaContextParams()
    wanted.n_ctx = wanted.n_batch = wanted.n_ubatch = len(ids)
    context = llama_cpp.LlamaContext(model=opened(file), params=wanted, verbose=False)
    batch = llama_cpp.LlamaBatch(n_tokens=len(ids), embd=0, n_seq_max=1)
    for place, token in enumerate(ids):
        batch.add(token, place, [0], True)
    context.decode(batch)
    return np.array([context.get_logits_ith(place) for place in range(len(ids))], np.float32)


def main(task: str, file: Path, given: Path, out: Path) -> dict[str, str]:
    """One task."""
    values = json.loads(given.read_text(encoding="utf-8"))
    if task == "ids":
        model = opened(file)  # must outlive its words
        words = model.get_vocab()
        out.write_text(json.dumps([words.tokenize(text, False, False) if text else [] for text in values]))
    else:
        np.save(out, logits(file, values))
    return {"ggml": llama_cpp.ggml_version()}


print(json.dumps(main(sys.argv[1], *map(Path, sys.argv[2:]))))
