"""Names of tensors, ours and theirs, and matrices that a family keeps as one.

A family's table has a line for each module, ``{}`` being the number of the layer; a fused matrix has a name of our
own beside its parts, such as ``attention.qkv``. Legend: H heads, W head width.
"""

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from danlu.base.errors import UserError

Names = dict[str, str]  # our module, or a parameter of none, → theirs
Tensors = dict[str, Tensor]

# Not weights: masks (GPT-2, GPT-NeoX), RoPE's frequencies (Llama, GPT-NeoX), numbers of positions (BERT)
BUFFERS = re.compile(
    r"(^|\.)(attn\.(masked_)?bias|attention\.(masked_)?bias|rotary_emb\.\w+|position_ids|token_type_ids)$"
)
FUSED = {"q": "qkv", "k": "qkv", "v": "qkv", "gate": "gate_up", "up": "gate_up"}
OLD = {".gamma": ".weight", ".beta": ".bias"}  # BERT's norms as they were first published
NUMBER = re.compile(r"(^|(?<=\.))\d+(?=\.)")
LLAMA: Names = {
    "embed": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "blocks.{}.attention_norm": "model.layers.{}.input_layernorm",
    "blocks.{}.feedforward_norm": "model.layers.{}.post_attention_layernorm",
    **{f"blocks.{{}}.attention.{part}": f"model.layers.{{}}.self_attn.{part}_proj" for part in ("q", "k", "v", "o")},
    **{f"blocks.{{}}.feedforward.{part}": f"model.layers.{{}}.mlp.{part}_proj" for part in ("gate", "up", "down")},
}
QK_NORM: Names = {
    f"blocks.{{}}.attention.{part}": f"model.layers.{{}}.self_attn.{part}" for part in ("q_norm", "k_norm")
}


def renamed(table: Names, name: str) -> str | None:
    """The other name of a parameter, or None if the table has no line for it."""
    number = NUMBER.search(name)
    key = NUMBER.sub("{}", name, count=1)
    module, _, part = key.rpartition(".")
    found = table.get(key) or (f"{table[module]}.{part}" if module in table else None)
    return found and found.format(number[0] if number else "")


def theirs(table: Names, name: str) -> str:
    """What the files call our parameter, or the matrix that it is a part of."""
    module, _, part = name.rpartition(".")
    parent, _, leaf = module.rpartition(".")
    return renamed(table, name) or renamed(table, f"{parent}.{FUSED.get(leaf, leaf)}.{part}") or name


def load_names(tensors: Tensors, table: Names, prefix: str, left_out: str = "", same: Names | None = None) -> Tensors:
    """Their tensors by our names, buffers left out; what has no place is refused.

    Files may lack the ``prefix`` of the names, and hold ``same``, other names of tensors that the table has. Of what
    ``left_out`` matches, nothing is taken.
    """
    back = {value: key for key, value in table.items()}
    other = same or {}
    found: Tensors = {}
    for name, value in tensors.items():
        plain = next((name.removesuffix(old) + new for old, new in OLD.items() if name.endswith(old)), name)
        if BUFFERS.search(plain) or (left_out and re.search(left_out, plain)):
            continue
        plain = other.get(plain, plain)
        mine = renamed(back, plain) or renamed(back, prefix + plain)
        if mine is None:
            raise UserError(f"tensor {name} has no place in the model that config.json describes")
        if mine in found and not torch.equal(found[mine], value):
            raise UserError(f"tensor {name} is there twice, and the two differ")
        found[mine] = value
    return found


def save_names(tensors: Tensors, table: Names) -> Tensors:
    """Our tensors by their names."""
    found = {name: renamed(table, name) for name in tensors}
    assert all(found.values()), [name for name, other in found.items() if other is None]
    return {str(other): tensors[name] for name, other in found.items()}


Cut = Callable[[Tensor], Sequence[Tensor]]
Glue = Callable[[list[Tensor]], Tensor]


def split(tensors: Tensors, table: Names, fused: str, parts: Sequence[str], rows: int, cut: Cut) -> Tensors:
    """Every matrix and bias called ``fused``, of so many ``rows``, as its ``parts``."""
    out: Tensors = {}
    for name, value in tensors.items():
        if f".{fused}." not in name:
            out[name] = value
            continue
        if value.shape[0] != rows:
            shapes = f"{list(value.shape)}, and config.json says {rows} rows"
            raise UserError(f"tensor {renamed(table, name)} has shape {shapes}")
        out |= {name.replace(fused, part): piece for part, piece in zip(parts, cut(value), strict=True)}
    return out


def join(tensors: Tensors, fused: str, parts: Sequence[str], glue: Glue) -> Tensors:
    """The way back."""
    out: Tensors = {}
    for name, value in tensors.items():
        if f".{parts[0]}." in name:
            out[name.replace(parts[0], fused)] = glue([tensors[name.replace(parts[0], part)] for part in parts])
        elif not any(f".{part}." in name for part in parts):
            out[name] = value
    return out


QKV = ("attention.q", "attention.k", "attention.v")


def by_head(heads: int) -> tuple[Cut, Glue]:
    """Queries, keys and values of a head side by side: [H · 3 · W, ...]."""

    def cut(value: Tensor) -> Sequence[Tensor]:
        return [part.flatten(0, 1) for part in value.unflatten(0, (heads, 3, -1)).unbind(1)]

    def glue(parts: list[Tensor]) -> Tensor:
        return torch.stack([part.unflatten(0, (heads, -1)) for part in parts], 1).flatten(0, 2)

    return cut, glue
