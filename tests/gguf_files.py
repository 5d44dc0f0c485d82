"""Small GGUF files for the tests, written by the `gguf` package, which is llama.cpp's own writer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from numpy.typing import NDArray
from tokenizers import models, pre_tokenizers, trainers

from danlu.tokens.templates import CHATML
from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.training.train import train_bpe

gguf = pytest.importorskip("gguf", reason="gguf, which writes the files, is not installed")

Array = NDArray[np.float32]
# Widths are of whole blocks of 256, so that one file can hold every format; 4 query heads, 2 key heads
SHAPE: dict[str, Any] = {"layers": 3, "heads": 4, "kv_heads": 2, "theta": 10_000.0, "epsilon": 1e-5}
WIDTH, FEEDFORWARD, LENGTH = 256, 512, 128
FORMATS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
HALVES = {"Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}  # where the scales of a block lie, in bytes
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
PLAIN_CHATML = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
TEXTS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps, the fox runs, and the user waits.",
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。",
    "In 2024 the assistant's answer isn't 42; it's 1,234.56!\n\n    def answer(question):\n        return 42\n",
] * 5


def packed(values: Array, form: str, draw: np.random.Generator) -> NDArray[Any]:
    """The values in a format; of those that nothing here can write, random blocks of about their size."""
    kind = gguf.GGMLQuantizationType[form]
    if form not in HALVES:
        return np.asarray(gguf.quants.quantize(values, kind))
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = draw.integers(0, 256, (values.size // numbers, size), dtype=np.uint8)
    for at in HALVES[form]:
        scale = np.full(len(blocks), 1e-4, np.float16)
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(*values.shape[:-1], -1)


def unpacked(data: NDArray[Any], form: str) -> Array:
    """What the `gguf` package reads there."""
    return np.asarray(gguf.quants.dequantize(data, gguf.GGMLQuantizationType[form]), dtype=np.float32)


def names(layers: int = 3) -> dict[str, tuple[int, ...]]:
    """The tensors of a llama file and their shapes, the vocabulary's aside."""
    keys = WIDTH // SHAPE["heads"] * SHAPE["kv_heads"]
    found: dict[str, tuple[int, ...]] = {"output_norm.weight": (WIDTH,)}
    for layer in range(layers):
        found |= {f"blk.{layer}.{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        found |= {f"blk.{layer}.{name}.weight": (WIDTH, WIDTH) for name in ("attn_q", "attn_output")}
        found |= {f"blk.{layer}.{name}.weight": (keys, WIDTH) for name in ("attn_k", "attn_v")}
        found |= {f"blk.{layer}.{name}.weight": (FEEDFORWARD, WIDTH) for name in ("ffn_gate", "ffn_up")}
        found |= {f"blk.{layer}.ffn_down.weight": (WIDTH, FEEDFORWARD)}
    return found


def weights(vocab: int, *, tied: bool, bias: tuple[str, ...] = (), seed: int = 0) -> dict[str, Array]:
    """Random weights, none of them at a value that hides a mistake."""
    draw = np.random.default_rng(seed)
    shapes = {"token_embd.weight": (vocab, WIDTH), **names()}
    if not tied:
        shapes["output.weight"] = (vocab, WIDTH)
    for layer in range(SHAPE["layers"]):
        shapes |= {f"blk.{layer}.{n}.bias": shapes[f"blk.{layer}.{n}.weight"][:1] for n in bias}
    spread = {1: 0.3, 2: WIDTH**-0.5}
    return {
        name: (draw.standard_normal(shape) * spread[len(shape)] + name.endswith("norm.weight")).astype(np.float32)
        for name, shape in shapes.items()
    }


def metadata(vocab: int, family: str = "llama") -> dict[str, Any]:
    """The keys that say what shape the model has."""
    return {
        f"{family}.block_count": SHAPE["layers"],
        f"{family}.context_length": LENGTH,
        f"{family}.embedding_length": WIDTH,
        f"{family}.feed_forward_length": FEEDFORWARD,
        f"{family}.attention.head_count": SHAPE["heads"],
        f"{family}.attention.head_count_kv": SHAPE["kv_heads"],
        f"{family}.attention.layer_norm_rms_epsilon": SHAPE["epsilon"],
        f"{family}.rope.freq_base": SHAPE["theta"],
        f"{family}.vocab_size": vocab,
    }


def write(
    path: Path, tensors: Mapping[str, tuple[NDArray[Any], str]], values: Mapping[str, Any], family: str = "llama"
) -> Path:
    """A file of packed tensors (data, format) and metadata; None leaves a key out."""
    writer = gguf.GGUFWriter(path, family)
    for key, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, (data, form) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[form])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_level(size: int = 400) -> tuple[dict[str, Any], Tokenizer]:
    """The keys of a byte-level tokenizer that is trained here, and the tokenizer."""
    made = train_bpe(TEXTS, size)
    _, (core, _) = made.__reduce__()
    special = set(made.special_ids.values())
    keys = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": [made.token(i) for i in range(made.vocab_size)],
        "tokenizer.ggml.token_type": [CONTROL if i in special else NORMAL for i in range(made.vocab_size)],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in json.loads(core)["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": made.bos_id,
        "tokenizer.ggml.eos_token_id": made.end_of_turn_id,
        "tokenizer.ggml.padding_token_id": made.pad_id,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": PLAIN_CHATML,
    }
    return keys, made


def sentencepiece(size: int = 330) -> dict[str, Any]:
    """The keys of a SentencePiece tokenizer as Llama 2's: three control pieces, bytes, merged pieces, characters."""
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    ids = core.get_vocab()
    learned = sorted((piece for piece in ids if len(piece) > 1), key=lambda piece: ids[piece])
    # "</s>" can be put together from pieces, as in Llama 2's vocabulary, and must not be
    plain = [*learned, "</", "s>", *sorted({*(piece for piece in ids if len(piece) == 1), *"</s>"})]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *plain]
    control = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [0.0] * len(control) + [-float(rank) for rank in range(len(plain))],
        "tokenizer.ggml.token_type": control + [NORMAL] * len(plain),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def plain_file(path: Path, values: Mapping[str, Any] | None = None, **changes: Any) -> Path:
    """A whole small model in float32, with the byte-level tokenizer; ``values`` are other metadata, None removes."""
    keys, made = byte_level()
    tensors = {name: (value, "F32") for name, value in weights(made.vocab_size, tied=True, **changes).items()}
    return write(path, tensors, {**metadata(made.vocab_size), **keys, **(values or {})})
