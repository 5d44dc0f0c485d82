"""PEFT directories, ``adapter_config.json`` and ``adapter_model.safetensors``, as the library peft has them.

Names are those of the base's Hugging Face directory behind ``base_model.model.``. The rows of new tokens take the form
that peft gives to ``trainable_token_indices``: the rows themselves, not a difference, so that they mean the same on a
base that never had them. Hence an adapter that was trained after an extension loads on the model from before it: the
tables grow to the rows it carries. Whole tensors (``modules_to_save``) are read, and never written. Pickle is not read.

Where A and B began as a part of the base, what is written is the difference that training made, of twice the rank; so
every adapter here is one of the base that people have. What a base in four bits needs beside that, peft's files have no
place for (`danlu.model.adapters.quantized_base`).

Left out, and refused by name: what changes more than A, B and DoRA's lengths say (peft's adapters of a changed base,
and the like), and changes of the embeddings or the output layer by LoRA. The other kinds of adapter are read and
written by the module of each (`danlu.model.adapters.kinds`); only LoRA carries rows of new tokens.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from danlu.base.artifact import find
from danlu.base.errors import UserError
from danlu.base.files import existing, remove, sync, write_text
from danlu.model import families
from danlu.model.adapters import kinds
from danlu.model.adapters.common import LONE, Held
from danlu.model.adapters.lora import (
    Starts,
    add_lora,
    changed_slots,
    ends,
    hub_name,
    pair_of,
    pattern_value,
    scale_of,
    short_names,
    since,
)
from danlu.model.adapters.method_settings import Other
from danlu.model.adapters.pairs import A, B, Pair, read_json, read_tensors
from danlu.model.adapters.quantization import Quantization
from danlu.model.adapters.quantized_base import Rounding, tell, write_rounding
from danlu.model.adapters.rows import open_rows, tables_of
from danlu.model.adapters.settings import Lora
from danlu.model.families import gpt2
from danlu.model.foreign import Foreign
from danlu.model.hub import ADAPTER, DAMAGED
from danlu.model.transformer import Transformer
from danlu.tokens.extending.note import EXTENSION, first_new_row

CONFIG, WEIGHTS = ADAPTER, "adapter_model.safetensors"
PREFIX, ROWS = "base_model.model.", ".token_adapter.trainable_tokens_delta"
LENGTHS = ".lora_magnitude_vector"
TABLES = ("embed_tokens", "lm_head")
# After a resize peft writes each table three times: under its own name, and under those of its wrapper's parts
TWICE = r"\.(modules_to_save|original_module)\."
# Keys of peft's configuration that change what A and B mean, or name tensors of another kind (peft 0.21, LoraConfig)
REFUSED = (
    "lora_bias", "layer_replication", "use_qalora", "alora_invocation_tokens",
    "target_parameters", "arrow_config", "use_bdlora", "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip
INITS = (None, True, False, "gaussian", "orthogonal", "eva", "mica")  # the others change the base as well


@dataclass(frozen=True)
class Adapter:
    """What was put into a model: its settings, the model's directory, and the first of the new rows it carries."""

    settings: Lora | Other
    base: Path
    first_row: int | None
    layers: tuple[str, ...]
    starts: Starts = Starts()
    quantization: Quantization | None = None


@dataclass
class Saved:
    """What the files hold, by the base's names: the pairs of layers, rows of tables with their ids, whole tensors."""

    path: Path
    config: dict[str, Any]
    pairs: dict[str, Pair] = field(default_factory=dict)
    rows: dict[str, tuple[list[int], Tensor]] = field(default_factory=dict)
    whole: dict[str, Tensor] = field(default_factory=dict)
    other: Held | None = None
    """What is no LoRA, and then all the rest is empty."""

    @property
    def needed_rows(self) -> int:
        """How many rows the tables must have for the ids whose rows are carried."""
        ids = max((max(ids) + 1 for ids, _ in self.rows.values() if ids), default=0)
        return max([ids, *(len(v) for n, v in self.whole.items() if n.removesuffix(".weight").endswith(TABLES))])


def attach(
    model: Transformer,
    settings: Lora | Other,
    base: Path,
    seed: int,
    words: Sequence[int] = (),
    quantization: Quantization | None = None,
) -> Adapter:
    """Freeze ``model``, which was read from ``base``, and put an adapter into it: LoRA, and the rows of new tokens, or
    one of another kind. ``words`` are the ids of the text that virtual tokens begin as. With ``quantization`` the base
    is put into four bits before LoRA: QLoRA.
    """
    if not isinstance(settings, Lora):
        return Adapter(settings, base, None, kinds.add(model, settings, seed, words))
    first = first_new_row(base, model.config.vocab_size)
    if first is not None and isinstance(model, Foreign):
        what = f"the new rows of a {model.config.model_type} model cannot be carried by an adapter"
        raise UserError(what, where=base, remedy="Train all weights")
    starts = add_lora(model, settings, seed, quantization)
    if quantization is not None:
        tell(model)
    if first is not None and settings.new_rows:
        open_rows(model, first)
    return Adapter(settings, base, first, tuple(starts.scales), starts, quantization)


def save_adapter(model: Transformer, adapter: Adapter, path: Path) -> None:
    """Write the adapter that is in ``model``; the tokenizer is written by who has it."""
    if not isinstance(adapter.settings, Lora):
        values = kinds.config(model, adapter.settings, adapter.layers, adapter.base)
        write_files(path, kinds.tensors(model, adapter.settings), values)
        write_rounding(path, None)
        return
    tensors: dict[str, Tensor] = {}
    for name, slot in changed_slots(model).items():
        pair = pair_of(slot)
        if began := adapter.starts.pairs.get(name):
            pair = since(pair, *began)
        tensors |= {f"{PREFIX}{name}{A}": pair.a, f"{PREFIX}{name}{B}": pair.b}
        if pair.lengths is not None:
            tensors[f"{PREFIX}{name}{LENGTHS}"] = pair.lengths
    if adapter.first_row is not None:
        for name, table in tables_of(model).items():
            tensors[f"{PREFIX}{hub_name(model.config, name)}{ROWS}"] = table.weight[adapter.first_row :]
    _write(tensors, path)
    if adapter.first_row is not None:
        note = {"old_vocab": adapter.first_row, "rows": model.config.vocab_size}
        write_text(path / EXTENSION, _json(note | _original(adapter.base, path)))
    starts, how = adapter.starts, adapter.quantization
    write_rounding(path, None if how is None else Rounding(how, bool(starts.pairs), starts.taken))
    write_text(path / CONFIG, _json(_config(model, adapter, adapter.settings)))


def write_files(path: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write an adapter of tensors without peft's beginning of their names, and its configuration."""
    _write({(name if name == LONE else PREFIX + name): value for name, value in tensors.items()}, path)
    write_text(path / CONFIG, _json(config))


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    temporary = path / f".{WEIGHTS}.tmp"
    try:
        # Clones: rows are part of a table, of which nothing else shall be written.
        save_file({n: v.detach().cpu().clone() for n, v in tensors.items()}, temporary, metadata={"format": "pt"})
        sync(temporary)
        temporary.replace(path / WEIGHTS)
    except SafetensorError as error:
        remove(temporary)
        raise OSError(28, f"could not write the adapter ({error})", str(path / WEIGHTS)) from None


def _config(model: Transformer, adapter: Adapter, settings: Lora) -> dict[str, Any]:
    indices = None
    if adapter.first_row is not None:
        ids = list(range(adapter.first_row, model.config.vocab_size))
        names = [hub_name(model.config, name).rpartition(".")[2] for name in tables_of(model)]
        indices = ids if model.config.tied else dict.fromkeys(names, ids)
    twice = 2 if adapter.starts.pairs else 1  # ranks, and so alphas: s stays as it was
    more = twice**0.5 if settings.rslora else twice
    exact = adapter.layers if settings.layers else short_names(adapter.layers, settings.targets)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if model.config.causal else None,
        "base_model_name_or_path": str(adapter.base),
        "r": settings.rank * twice,
        "lora_alpha": _whole(settings.alpha * more),
        "rank_pattern": {name: rank * twice for name, rank in settings.rank_pattern.items()},
        "alpha_pattern": {name: _whole(alpha * more) for name, alpha in settings.alpha_pattern.items()},
        "lora_dropout": settings.dropout,
        "use_rslora": settings.rslora,
        "use_dora": settings.dora,
        "target_modules": list(exact),
        "bias": "none",
        "fan_in_fan_out": families.writing(model.config) is gpt2,  # how peft calls that its files turn matrices
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
        "trainable_token_indices": indices,
    }


def _whole(number: float) -> float:
    return int(number) if number % 1 == 0 else number


def _original(base: Path, path: Path) -> dict[str, str]:
    """Where the model from before the extension lies, and its digest, for when the extended one is there no more."""
    artifact = find(base)
    source = artifact.manifest["inputs"].get("model") if artifact and artifact.stage == "extend" else None
    return {"base": os.path.relpath(base / source["path"], path), "sha256": source["sha256"]} if source else {}


def read_adapter(path: Path) -> Saved:
    """The files of an adapter, checked for themselves; a `UserError` for what is damaged or not understood."""
    config = read_json(path / CONFIG)
    kind, init = config.get("peft_type"), config.get("init_lora_weights")
    if str(kind) in kinds.KINDS:
        found = {key.removeprefix(PREFIX): value for key, value in _tensors(path).items()}
        return Saved(path, config, other=Held(path, config, found))
    if kind != "LORA":
        known = ", ".join(("LORA", *kinds.KINDS))
        raise UserError(f"adapters of type {kind} are not supported", where=path / CONFIG, remedy=f"Supported: {known}")
    refused = [name for name in REFUSED if config.get(name)]
    refused += ["init_lora_weights"] if init not in INITS else []
    refused += ["bias"] if config.get("bias") not in (None, "none") else []
    if refused:
        said = str(config[refused[0]])[:40]
        raise UserError(f"'{refused[0]}: {said}' is not supported", where=path / CONFIG,
                        remedy="Merge it with the library that made it")  # fmt: skip
    saved = Saved(path, config)
    tensors = _tensors(path)
    for key, value in tensors.items():
        name = key.removeprefix(PREFIX)
        if name.endswith(A):
            owner = name.removesuffix(A)
            lengths = tensors.get(f"{PREFIX}{owner}{LENGTHS}")
            saved.pairs[owner] = _pair(saved, owner, value, tensors.get(f"{PREFIX}{owner}{B}"), lengths)
        elif name.endswith(ROWS):
            owner = name.removesuffix(ROWS)
            saved.rows[owner] = (_ids(saved, owner, value), value)
        elif name.endswith((B, LENGTHS)):
            if f"{PREFIX}{name.removesuffix(B).removesuffix(LENGTHS)}{A}" not in tensors:
                raise UserError(f"tensor {key} has no A beside it", where=path / WEIGHTS, remedy=DAMAGED)
        elif re.sub(TWICE, ".", key) == key or re.sub(TWICE, ".", key) not in tensors:
            saved.whole[name] = value
    if not saved.pairs:
        raise UserError("holds no LoRA tensors", where=path / WEIGHTS, remedy=DAMAGED)
    return saved


def _tensors(path: Path) -> dict[str, Tensor]:
    remedy = "Only safetensors are read: an adapter_model.bin can be converted by peft"
    return read_tensors(existing(path / WEIGHTS, remedy=remedy))


def _pair(saved: Saved, layer: str, a: Tensor, b: Tensor | None, lengths: Tensor | None) -> Pair:
    where = saved.path / WEIGHTS
    if b is None or a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
        shapes = f"{list(a.shape)} and {'nothing' if b is None else list(b.shape)}"
        raise UserError(f"A and B of {layer} do not fit together: {shapes}", where=where, remedy=DAMAGED)
    if bool(saved.config.get("use_dora")) != (lengths is not None) or not (lengths is None or len(lengths) == len(b)):
        found = "nothing" if lengths is None else f"{len(lengths)} numbers"
        raise UserError(f"the lengths of {layer} do not fit its B: {found}", where=where, remedy=DAMAGED)
    try:
        alpha = pattern_value(saved.config.get("alpha_pattern") or {}, layer, saved.config["lora_alpha"])
        return Pair(a, b, scale_of(a.shape[0], float(alpha), bool(saved.config.get("use_rslora"))), lengths)
    except (KeyError, ValueError, TypeError, AttributeError, re.error) as error:
        raise UserError(f"does not say how LoRA is scaled ({error!r})", where=saved.path / CONFIG) from None


def _ids(saved: Saved, table: str, rows: Tensor) -> list[int]:
    """Which ids the rows of a table belong to."""
    found = saved.config.get("trainable_token_indices")
    if isinstance(found, dict):
        found = next((ids for name, ids in found.items() if ends(table, name)), None)
    if not isinstance(found, list) or len(found) != len(rows) or not all(isinstance(i, int) and i >= 0 for i in found):
        what = f"names no ids for the {len(rows)} rows of {table}"
        raise UserError(what, where=saved.path / CONFIG, remedy=DAMAGED)
    return found


def _json(values: dict[str, Any]) -> str:
    """Indented, and a list of numbers on one line: that of the new rows has thousands."""
    text = json.dumps(values, indent=2, ensure_ascii=False)
    return re.sub(r"\[[\d,\s]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"
