"""A model on disk is a Hugging Face directory: read and write ``config.json`` and ``model.safetensors``.

A configuration that a class of transformers expresses (`danlu.model.families`) is written as that class, so
transformers, vLLM and llama.cpp's converter open it as it is. Any other combination of switches is written as
``model_type: danlu``, which transformers opens after ``import danlu.model.hf``. A family that is not native is read
and written by transformers itself (`danlu.model.foreign`). Pickle is never read.
"""

import json
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from danlu.base.artifact import find
from danlu.base.errors import UserError
from danlu.base.files import existing, remove, sha256, sync, write_text
from danlu.base.progress import say
from danlu.base.recipe import from_dict, to_dict
from danlu.model import families
from danlu.model.config import ModelConfig
from danlu.model.families.names import Tensors
from danlu.model.families.shape import MAX_LENGTH
from danlu.model.transformer import Transformer

SHARD_BYTES = 2 * 10**9
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"  # a directory with it holds an adapter and not a model: danlu.model.adapters
# Names by which transformers understands, and refuses, another thing.
RENAMED = {"max_length": MAX_LENGTH, "rope_scaling": "rope_reach"}
DAMAGED = "The file is damaged: make or copy it again"
GIVE = "Give a model directory: one with config.json and model.safetensors"
SCORE_DROPOUT = ("attn_pdrop", "attention_dropout", "attention_probs_dropout_prob")


def to_hub_config(config: ModelConfig, tokens: dict[str, Any]) -> dict[str, Any]:
    """``config.json``. ``tokens``: bos_token_id, eos_token_id, pad_token_id where known."""
    family = families.writing(config)
    if family is None:
        shape = {RENAMED.get(name, name): value for name, value in to_dict(config).items()}
        kind = {"model_type": "danlu", "architectures": ["DanluForCausalLM"]}
        return kind | shape | {"tie_word_embeddings": config.tied, "dtype": "float32", **tokens}
    values = family.write(config)
    fixed = {key: values[key] for key in tokens if values.get(key) is not None}  # RoBERTa counts positions from it
    return {**values, "dtype": "float32", **tokens, **fixed}


def from_hub_config(values: dict[str, Any], where: Path) -> ModelConfig:
    """The `ModelConfig` of a ``config.json``; a `UserError` for a family that is not native."""
    kind = values.get("model_type")
    if kind == "danlu":
        names = {RENAMED.get(name, name): name for name in ModelConfig.__dataclass_fields__}
        return from_dict(ModelConfig, {names[k]: v for k, v in values.items() if k in names}, str(where))
    family = families.reading(str(kind))
    if family is None:
        native = ", ".join([*families.types(), "danlu"])
        raise UserError(f"model type '{kind}' is not supported", where=where, remedy=f"Native families: {native}")
    if values.get("quantization_config"):
        raise UserError("quantization_config: quantised weights are not supported", where=where)
    return family.read(values, where)


def save_model(model: Transformer, path: Path, tokens: dict[str, Any], stop_ids: tuple[int, ...] = ()) -> None:
    """Write ``config.json``, ``generation_config.json`` and the weights (sharded above 2 GB)."""
    from danlu.model.foreign import Foreign, save_foreign

    path.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Foreign):
        save_foreign(model, path, tokens, stop_ids)
        return
    tensors = to_hub_names(model.config, {name: value.detach().cpu() for name, value in model.named_parameters()})
    write_tensors({name: value.contiguous() for name, value in tensors.items()}, path)
    write_text(path / "config.json", _json(to_hub_config(model.config, tokens)))
    generation = dict(tokens)
    if stop_ids:
        generation["eos_token_id"] = list(stop_ids)
    write_text(path / "generation_config.json", _json(generation))


def to_hub_names(config: ModelConfig, tensors: Tensors) -> Tensors:
    """Parameters, or their gradients, as the directory has them: renamed, and fused where the family fuses."""
    family = families.writing(config)
    return tensors if family is None else family.save(tensors, config)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write the weights of a directory by the names they have here, sharded above 2 GB, each file atomically."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in sorted(tensors.items()):
        if size and size + value.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = value
        size += value.nbytes
    names = (
        [WEIGHTS]
        if len(shards) == 1
        else [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    )
    for file, shard in zip(names, shards, strict=True):
        temporary = path / f".{file}.tmp"
        try:
            save_file(shard, temporary, metadata={"format": "pt"})
            sync(temporary)
            temporary.replace(path / file)
        except SafetensorError as error:
            remove(temporary)
            raise OSError(28, f"could not write the weights ({error})", str(path / file)) from None
    sync(path)
    remove(path / INDEX)  # of an earlier save, whose shards would be read instead
    if len(shards) > 1:
        weight_map = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        total = sum(value.nbytes for value in tensors.values())
        write_text(path / INDEX, _json({"metadata": {"total_size": total}, "weight_map": weight_map}))


def is_adapter(path: Path) -> bool:
    """Does the directory hold an adapter? transformers asks the same."""
    return (path / ADAPTER).is_file()


def read_config(path: Path) -> ModelConfig:
    """The configuration of a model directory, or of what an adapter makes of its base."""
    if is_adapter(path):
        from danlu.model.adapters.loading import adapter_config

        return adapter_config(path)
    return read_kind(path)[1]


def read_kind(path: Path) -> tuple[str, ModelConfig]:
    """The model type, and what it is to us."""
    where = existing(path / "config.json", remedy=GIVE)
    try:
        values = json.loads(where.read_text(encoding="utf-8"))
        kind = str(values.get("model_type"))
        if kind == "danlu" or families.reading(kind) is not None:
            return kind, from_hub_config(values, where)
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise UserError(f"not a usable configuration ({error!r})", where=where) from None
    from danlu.model.foreign import foreign_config

    return kind, foreign_config(path, kind)


def load_model(path: Path) -> Transformer:
    """Read a model directory. Damage (truncation, flipped bits, missing tensors) is named, never loaded.

    An adapter's directory becomes its base with the adapter merged in: a model like any other, to use or to train on.
    One that cannot be merged is a `UserError`; `danlu.model.adapters.loading.open_adapter` opens it to be used.
    """
    if is_adapter(path):
        from danlu.model.adapters.loading import check_merges, open_adapter
        from danlu.model.adapters.merging import merge

        check_merges(path)
        return merge(open_adapter(path))
    kind, config = read_kind(path)
    family = families.reading(kind)
    if family is None and kind != "danlu":
        from danlu.model.foreign import load_foreign

        return load_foreign(path, config)
    tensors = read_weights(path)
    try:
        ours = tensors if family is None else family.load(tensors, config)
    except UserError as error:
        raise UserError(error.what, where=path) from None
    model = Transformer(config)
    names = {name: families.theirs(getattr(family, "NAMES", {}), name) for name, _ in model.named_parameters()}
    fill_model(model, ours, names, path)
    _tell(family, tensors, path)
    return model


def read_weights(path: Path) -> Tensors:
    """The weights of a directory by the names they have there; damage is named."""
    tensors = {}
    for file in weight_files(path):
        check_hash(path, file)
        try:
            tensors.update(load_file(file))
        except (SafetensorError, OSError, struct.error) as error:
            raise UserError(f"cannot be read as safetensors ({error})", where=file, remedy=DAMAGED) from None
    return tensors


def _tell(family: ModuleType | None, tensors: Tensors, path: Path) -> None:
    """What of the directory is not taken over."""
    if family is None:
        return
    if names := families.left_out(family, tensors):
        say(f"  {path}: no part of the model, and not kept when it is saved: {', '.join(names)}")
    values = json.loads((path / "config.json").read_text(encoding="utf-8"))
    for key in SCORE_DROPOUT:
        if values.get(key):
            say(f"  {path}: {key} {values[key]} is not taken over; --attention-dropout says it for a run")


def weight_files(path: Path) -> list[Path]:
    """Those with weights; a `UserError` where there is none, or only pickles."""
    if (path / INDEX).exists():
        try:
            names = json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
            files = [path / name for name in sorted(set(names))]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"not a usable index ({error!r})", where=path / INDEX, remedy=DAMAGED) from None
        return [existing(file) for file in files]
    _no_pickle(path)
    return [existing(path / WEIGHTS, remedy=GIVE)]


def _no_pickle(path: Path) -> None:
    """A `UserError` where the only weights are pickled: opening such a file runs whatever is in it."""
    if (path / WEIGHTS).exists() or (path / INDEX).exists():
        return
    for file in sorted(path.glob("*.bin")):
        raise UserError("is a pickle, which is never read", where=file, remedy="Give a directory with safetensors")


def check_hash(path: Path, file: Path) -> None:
    """Where a manifest says what the file was, hold it to that: safetensors itself notices no flipped bit."""
    artifact = find(path)
    expected = artifact.manifest["outputs"].get(file.name) if artifact else None
    if expected and sha256(file) != expected:
        raise UserError("differs from what its manifest says", where=file, remedy=DAMAGED)


@torch.no_grad()
def fill_model(model: Transformer, tensors: Tensors, names: dict[str, str], path: Path) -> None:
    """Copy, so that every parameter keeps torch's own alignment: a mapped file's would change rounding.

    ``tensors`` have our names, and ``names`` says what the files call them. What is left over is refused, but for an
    output layer that is the embedding once more.
    """
    left = dict(tensors)
    for name, parameter in model.named_parameters():
        found = left.pop(name, None)
        if found is None:
            raise UserError(f"tensor {names[name]} is missing", where=path, remedy="The file is incomplete")
        if found.shape != parameter.shape:
            shapes = f"{list(found.shape)}, and config.json says {list(parameter.shape)}"
            raise UserError(f"tensor {names[name]} has shape {shapes}", where=path)
        parameter.copy_(found)
    head = left.pop("head.weight", None) if model.config.tied else None
    if head is not None and not torch.equal(head, tensors["embed.weight"]):
        raise UserError("the output layer is not the embedding, and config.json says that it is", where=path,
                        remedy="Correct tie_word_embeddings")  # fmt: skip
    for name in left:
        raise UserError(f"tensor {name} has no place in the model that config.json describes", where=path)


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
