"""The weights and the shape of a Llama-family GGUF file, as the Hugging Face layout wants them.

Two families are read. ``llama`` (with Mistral, SmolLM and Yi, which are written under its name) is stored for
llama.cpp's rotary embedding, which turns neighbours (2i, 2i + 1): the rows of Q and K of every head were permuted
when the file was made, and are put back here for the rotate-half of Hugging Face, (i, i + W/2). A model read
without that still half works, which is why the tests look at the loss: 3.65 instead of 2.64 nats on one sentence.
``qwen2`` was never permuted; with biases in Q, K and V only it stays a Qwen2. Any other choice of biases becomes a
Llama with biases everywhere, the others zero.

Nothing larger than `CHUNK` numbers is held at once. Left out: RoPE scaling and mixtures of experts, which the
native model does not have; they are refused by name.

Legend: D width, V vocabulary, W head width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig
from danlu.model.gguf import COPY_AGAIN, Gguf, GgufTensor
from danlu.model.gguf_blocks import Floats

FAMILIES = ("llama", "qwen2")
CHUNK = 1 << 20  # numbers dequantised at once, 4 MB; 2^18 took as long and 2^22 a tenth longer
# GGUF's name in a block → Hugging Face's, the rows and the columns (of a bias: its length)
MATRICES = {
    "attn_q": ("self_attn.q_proj", "queries", "width"),
    "attn_k": ("self_attn.k_proj", "keys", "width"),
    "attn_v": ("self_attn.v_proj", "keys", "width"),
    "attn_output": ("self_attn.o_proj", "width", "queries"),
    "ffn_gate": ("mlp.gate_proj", "feedforward", "width"),
    "ffn_up": ("mlp.up_proj", "feedforward", "width"),
    "ffn_down": ("mlp.down_proj", "width", "feedforward"),
}
NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
PERMUTED, BIASED = ("attn_q", "attn_k"), ("attn_q", "attn_k", "attn_v")
SCALES = "rope_freqs.weight"
# What would change the arithmetic, and the value at which it does not
NEUTRAL: dict[str, Any] = {
    "expert_count": 0,
    "attention.causal": True,
    "rope.scaling.type": "none",
    "rope.scale_linear": 1.0,
}
LARGEST = 1 << 24  # of any size; Llama 4's context of 10 million tokens is the largest known


@dataclass(frozen=True)
class Weight:
    """One tensor of the directory: its name and shape there, and where it comes from; nowhere means zeros.

    ``head`` is the head width where rows were permuted, else 0.
    """

    name: str
    shape: tuple[int, ...]
    source: GgufTensor | None
    head: int = 0

    def chunks(self, file: Gguf) -> Iterator[Floats]:
        """The values in order, whole rows (whole heads) at a time, [rows, columns] each."""
        rows, columns = (1, *self.shape)[-2:]
        if self.source is None:
            yield np.zeros((rows, columns), np.float32)
            return
        if self.head and len(self.shape) == 1:
            yield unpermute(file.rows(self.source, 0, 1).reshape(-1, 1), self.head).reshape(1, -1)
            return
        unit = self.head or 1
        step = max(CHUNK // (columns * unit), 1) * unit
        for start in range(0, rows, step):
            values = file.rows(self.source, start, min(start + step, rows))
            yield unpermute(values, self.head) if self.head else values


def unpermute(rows: Floats, head: int) -> Floats:
    """Rows of whole heads, from neighbours (2i, 2i + 1) to halves (i, i + W/2): [rows, D] -> [rows, D]."""
    return rows.reshape(-1, head // 2, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def config_of(file: Gguf) -> ModelConfig:
    """The shape that the metadata states; a `UserError` for what the native model cannot compute."""
    family = file.get("general.architecture", str)
    if family not in FAMILIES:
        raise UserError(
            f"architecture '{family}' is not supported", where=file.path, remedy=f"Supported: {', '.join(FAMILIES)}"
        )

    def whole(key: str, default: int | None = None) -> int:
        return _size(file, f"{family}.{key}", default)

    for key, neutral in NEUTRAL.items():
        if (found := file.get(f"{family}.{key}", type(neutral), neutral)) != neutral:
            raise UserError(f"{family}.{key} is {found}, which is not supported", where=file.path)
    heads, width = whole("attention.head_count"), whole("embedding_length")
    if width % heads:
        raise UserError(f"{heads} heads do not divide a width of {width}", where=file.path)
    head_width = whole("attention.key_length", width // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if whole(key, head_width) != head_width:
            what = f"{family}.{key} is {whole(key)} and a head is {head_width} wide"
            raise UserError(f"{what}, which is not supported", where=file.path)
    biased = {name.split(".")[-2] for name in file.tensors if name.endswith(".bias")}
    only_qkv = biased == set(BIASED) and heads * head_width == width  # Qwen2's class knows no other shape
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise UserError("tensor token_embd.weight is missing", where=file.path, remedy="The file is incomplete")
    return ModelConfig(
        vocab_size=embedding.shape[0],
        layers=whole("block_count"),
        width=width,
        heads=heads,
        kv_heads=whole("attention.head_count_kv", heads),
        head_width=head_width,
        feedforward=whole("feed_forward_length"),
        norm_epsilon=_decimal(file.get(f"{family}.attention.layer_norm_rms_epsilon", float)),
        rope_theta=file.get(f"{family}.rope.freq_base", float, 10_000.0),
        max_length=whole("context_length"),
        tied="output.weight" not in file.tensors,
        bias=bool(biased) and not only_qkv,
        qkv_bias=only_qkv,
    )


def _size(file: Gguf, key: str, default: int | None) -> int:
    """A positive size; where each layer has its own, they must agree."""
    found = file.metadata.get(key)
    if isinstance(found, np.ndarray) and found.size and found.dtype.kind in "iu":
        if (found != found[0]).any():
            raise UserError(f"{key} differs from layer to layer, which is not supported", where=file.path)
        value = int(found[0])
    else:
        value = file.get(key, int, default)
    if not 1 <= value <= LARGEST:
        raise UserError(f"{key} is {value}, and no model has that", where=file.path, remedy=COPY_AGAIN)
    return value


def _decimal(value: float) -> float:
    """The shortest decimal that is this float32: 1e-05, where the file's 32 bits say 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def weights_of(file: Gguf, config: ModelConfig) -> list[Weight]:
    """Every tensor that the directory needs, checked against the file; what the file has too much is refused."""
    permuted = file.get("general.architecture", str) == "llama"
    sizes = {
        "width": config.width,
        "queries": config.heads * config.head_width,
        "keys": config.kv_heads * config.head_width,
        "feedforward": config.feedforward,
    }
    left = dict(file.tensors)
    _no_scaling(file, left.pop(SCALES, None))

    def take(source: str, name: str, shape: tuple[int, ...], head: int = 0) -> Weight:
        tensor = left.pop(source, None)
        if tensor is None and source.endswith(".bias"):
            return Weight(name, shape, None)
        if tensor is None:
            raise UserError(f"tensor {source} is missing", where=file.path, remedy="The file is incomplete")
        if tensor.shape != shape:
            what = f"{tensor} has shape {list(tensor.shape)}, and the metadata say {list(shape)}"
            raise UserError(what, where=file.path)
        return Weight(name, shape, tensor, head)

    table = (config.vocab_size, config.width)
    found = [take("token_embd.weight", "model.embed_tokens.weight", table)]
    for layer in range(config.layers):
        source, target = f"blk.{layer}", f"model.layers.{layer}"
        for ours, theirs in NORMS.items():
            found.append(take(f"{source}.{ours}.weight", f"{target}.{theirs}.weight", (config.width,)))
        for ours, (theirs, rows, columns) in MATRICES.items():
            head = config.head_width if permuted and ours in PERMUTED else 0
            shape = (sizes[rows], sizes[columns])
            found.append(take(f"{source}.{ours}.weight", f"{target}.{theirs}.weight", shape, head))
            if config.bias or (config.qkv_bias and ours in BIASED):
                found.append(take(f"{source}.{ours}.bias", f"{target}.{theirs}.bias", shape[:1], head))
    found.append(take("output_norm.weight", "model.norm.weight", (config.width,)))
    if not config.tied:
        found.append(take("output.weight", "lm_head.weight", table))
    if left:
        raise UserError(f"{next(iter(left.values()))} has no place in a Llama model", where=file.path)
    return found


def _no_scaling(file: Gguf, scales: GgufTensor | None) -> None:
    """Llama 3.1 and its kin divide RoPE's frequencies by numbers in a tensor; by one is no scaling."""
    if scales is not None and not np.all(file.rows(scales, 0, 1) == 1):
        raise UserError(f"RoPE scaling ({scales}) is not supported", where=file.path)
