"""An adapter's directory → the model it makes of its base, which is found where the files say, or given."""

import dataclasses
import os
from contextlib import suppress
from pathlib import Path

import torch

from danlu.base.artifact import find
from danlu.base.errors import UserError
from danlu.base.progress import say
from danlu.model.adapters import kinds
from danlu.model.adapters.common import GIVE, another
from danlu.model.adapters.files import CONFIG, Saved, read_adapter
from danlu.model.adapters.layers import slots
from danlu.model.adapters.lora import hub_name, quantise, tensor_name, wrap
from danlu.model.adapters.pairs import read_json
from danlu.model.adapters.quantization import Quantization, Quantize
from danlu.model.adapters.quantized_base import Rounding, read_rounding, round_base, tell
from danlu.model.adapters.rows import grow_rows, tables_of
from danlu.model.adapters.settings import Lora
from danlu.model.config import ModelConfig
from danlu.model.hub import is_adapter, load_model, read_config
from danlu.model.transformer import Transformer
from danlu.tokens.extending.note import EXTENSION


def base_of(path: Path, base: Path | None = None) -> Path:
    """The directory of an adapter's base: ``base`` if it is given, else the first that is there of what is noted.

    Tried in turn: the path as it was given when the adapter was trained, the same from the adapter's own place (so that
    a tree may be moved), and, after an extension, the model from before it.
    """
    if base is not None:
        return base
    named = read_json(path / CONFIG).get("base_model_name_or_path")
    artifact = find(path)
    noted = artifact.manifest["inputs"].get("model") if artifact else None
    extension = read_json(path / EXTENSION).get("base") if (path / EXTENSION).is_file() else None
    tried = [Path(named)] if named else []
    tried += [Path(os.path.normpath(path / str(other))) for other in (noted and noted["path"], extension) if other]
    for candidate in tried:
        if candidate.is_dir() and candidate.resolve() != path.resolve():
            return candidate
    what = f"its base model {named!r} is not there" if named else "does not say what its base model is"
    raise UserError(what, where=path, remedy=GIVE)


def open_adapter(path: Path, base: Path | None = None, quantize: Quantize = "none") -> Transformer:
    """The base with the adapter beside its layers: the logits of the model that was trained, to the bit.

    With ``quantize`` the base is in four bits, as it was in training if that was QLoRA. Without dropout: what is loaded
    is used, and training on begins with a new adapter.
    """
    return open_saved(read_adapter(path), base_of(path, base), quantize)


def open_saved(saved: Saved, place: Path, quantize: Quantize = "none") -> Transformer:
    """`open_adapter` of files that were read, on the base at ``place``."""
    model, rounding = load_model(place), read_rounding(saved.path)
    _tell_if_another(saved.path, place)
    if rounding is not None and quantize == "none":
        what = f"{saved.path} was trained beside a base in NF4, and is used beside the whole one"
        say(f"  {what}; --quantize nf4 is as trained")
    put_on(saved, model, place, None if quantize == "none" else rounding or Rounding())
    return model


def put_on(saved: Saved, model: Transformer, place: Path, rounding: Rounding | None = None) -> None:
    """Give ``model``, read from ``place``, the adapter, after ``rounding`` it; nothing in it learns then."""
    with torch.no_grad():
        _put_rows(saved, model, place)
        _put_whole(saved, model, place)
        _check_layers(saved, model, place)
        if rounding is not None:
            pairs = round_base(model, saved.pairs, rounding, saved.path)
            saved = dataclasses.replace(saved, pairs=pairs)
        if saved.other is not None:
            kinds.place(saved.other, model)
        _put_layers(saved, model)
    model.requires_grad_(False).eval()


def check_merges(path: Path) -> None:
    """A `UserError` where the adapter is of a kind that cannot be merged into its base, with the reason."""
    kinds.check_merges(read_json(path / CONFIG).get("peft_type"), path)


def merges(path: Path) -> bool:
    """Can the adapter be merged into its base?"""
    try:
        check_merges(path)
    except UserError:
        return False
    return True


def open_rounded(path: Path) -> Transformer:
    """A model directory with its linear layers in four bits, or an adapter's beside such a base, as it was trained."""
    if is_adapter(path):
        return open_adapter(path, quantize="nf4")
    model = load_model(path).requires_grad_(False)
    quantise(model, Quantization())
    tell(model)
    return model.eval()


def _tell_if_another(path: Path, place: Path) -> None:
    """Shapes do not tell two trainings of one model apart; their manifests do, where both are there."""
    artifact, base = find(path), find(place)
    known = {artifact.manifest["inputs"].get("model", {}).get("sha256")} if artifact else set()
    if (path / EXTENSION).is_file():
        known.add(read_json(path / EXTENSION).get("sha256"))
    with suppress(UserError):  # what it was trained on may be gone
        trained_on = find(base_of(path))
        if trained_on is not None and trained_on.stage == "compress":  # the numbers of another model, as four bits
            known.add(trained_on.manifest["inputs"]["model"]["sha256"])
    if base is not None and artifact is not None and base.digest not in known:
        say(f"  {place} is not what {path} was trained on, though it has the shape: {base.digest[:12]} is its manifest")


def adapter_config(path: Path) -> ModelConfig:
    """The shape of the model that an adapter makes of its base."""
    config, saved = read_config(base_of(path)), read_adapter(path)
    taken = kinds.virtual_tokens(saved.other) if saved.other is not None else 0
    rows = max(config.vocab_size, saved.needed_rows)
    return dataclasses.replace(config, vocab_size=rows, max_length=config.max_length - taken)


def _another(saved: Saved, what: str) -> UserError:
    return another(saved.path, what)


def _check_layers(saved: Saved, model: Transformer, place: Path) -> None:
    """A `UserError` for a change of a layer that is not there, or has another shape."""
    found = slots(model) if saved.pairs else {}
    for name, pair in saved.pairs.items():
        if name not in found:
            raise _another(saved, f"it changes {name}, which is no layer of a block of {place}")
        if (pair.b.shape[0], pair.a.shape[1]) != found[name].shape:
            theirs, ours = f"{pair.b.shape[0]} x {pair.a.shape[1]}", " x ".join(map(str, found[name].shape))
            raise _another(saved, f"{name} is {theirs} for it, and {ours} in {place}")


def _put_layers(saved: Saved, model: Transformer) -> None:
    found = slots(model) if saved.pairs else {}
    for name, (a, b, scale, lengths) in saved.pairs.items():
        made = wrap(model, found[name], a, b, scale, Lora(dora=lengths is not None))
        if lengths is None:
            continue
        for layer, part in zip(made, found[name].cut(lengths), strict=True):
            assert layer.lora_magnitude_vector is not None
            layer.lora_magnitude_vector.copy_(part)


def _put_rows(saved: Saved, model: Transformer, place: Path) -> None:
    tables = {hub_name(model.config, name): table for name, table in tables_of(model).items()}
    had = model.config.vocab_size
    for name, (_, rows) in saved.rows.items():
        if name not in tables or rows.shape[1] != model.config.width:
            raise _another(saved, f"it carries rows of {rows.shape[1]} numbers for {name}, which {place} has not")
    if saved.needed_rows > had:
        for name in tables:
            carried = set(saved.rows[name][0]) if name in saved.rows else set[int]()
            if name + ".weight" not in saved.whole and not carried.issuperset(range(had, saved.needed_rows)):
                raise _another(saved, f"{name} has {had} rows in {place}, and needs {saved.needed_rows}")
        grow_rows(model, saved.needed_rows)
    for name, (ids, rows) in saved.rows.items():
        tables[name].weight[ids] = rows


def _put_whole(saved: Saved, model: Transformer, place: Path) -> None:
    """What peft calls modules to save. A table that is also the output layer was two for peft, which must be equal."""
    named = {tensor_name(model.config, name): value for name, value in model.named_parameters()}
    parameters, whole = named, dict(saved.whole)
    if model.config.tied and whole:
        source = hub_name(model.config, "embed") + ".weight"
        output = whole.pop("lm_head.weight", None)
        if (source in whole) != (output is not None) or (output is not None and not torch.equal(output, whole[source])):
            raise _another(saved, f"it holds one of two embeddings, or two that differ, and {place} has one for both")
    for name, value in whole.items():
        if name not in parameters:
            raise _another(saved, f"{place} has no {name}, or not one that can be changed")
        if value.shape != parameters[name].shape:
            what = f"{list(value.shape)} for it, and {list(parameters[name].shape)} in {place}"
            raise _another(saved, f"{name} is {what}")
        parameters[name].copy_(value)
