"""A stage is a frozen dataclass; YAML, the command line and Python are three spellings of the same object.

`load` is strict: an unknown key is an error that names the nearest valid one, and a value of the wrong
type is an error that names the key. `save` writes the complete recipe, and that file reruns the stage.
A field with ``metadata={"identity": False}`` (an output directory, a number of workers) does not change
what a stage makes, so it is left out of `fingerprint`.
"""

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from danlu.base.errors import UserError, nearest
from danlu.base.files import existing, write_text

R = TypeVar("R")
UNCHANGING: dict[str, Any] = {"identity": False}


def to_dict(recipe: Any) -> dict[str, Any]:
    """The recipe as JSON-able values, nested recipes included."""
    return {f.name: _plain(getattr(recipe, f.name)) for f in dataclasses.fields(recipe)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def from_dict(cls: type[R], values: Any, where: str = "recipe") -> R:
    """Build ``cls`` from plain values; every key and type is checked."""
    if not isinstance(values, dict):
        raise UserError(f"expected keys and values, found {type(values).__name__}", where=where)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in fields:
            raise UserError(f"unknown key '{key}'", where=where, remedy=nearest(str(key), fields))
    missing = [name for name, f in fields.items() if name not in values and _required(f)]
    if missing:
        raise UserError(f"missing {', '.join(missing)}", where=where, remedy="Add it to the recipe")
    try:
        return cls(**{key: _typed(hints[key], value, f"{where}: {key}") for key, value in values.items()})
    except ValueError as error:
        raise UserError(str(error), where=where) from None


def _required(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _typed(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``hint`` says, or a `UserError`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            raise UserError(
                f"'{value}' is not one of the choices",
                where=where,
                remedy=nearest(str(value), map(str, arguments)),
            )
        return value
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            raise UserError(f"expected a list, found {value!r}", where=where)
        items = [_typed(arguments[0], item, where) for item in value]
        return tuple(items) if origin is tuple else items
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"expected keys and values, found {value!r}", where=where)
        return {key: _typed(arguments[1], item, f"{where}: {key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, typing.cast(type, hint)) else from_dict(typing.cast(type, hint), value, where)
    return _scalar(hint, value, where)


def _one_of(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    problem: UserError | None = None
    for choice in choices:
        if choice is type(None):
            continue
        try:
            return _typed(choice, value, where)
        except UserError as error:
            problem = problem or error
    raise problem or UserError(f"{value!r} does not fit", where=where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and not isinstance(value, bool):
        # YAML 1.1 reads 1e-3 as a string, so a string that spells a number is taken as one.
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    if hint is int and isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0:
        return int(value)
    if hint in (str, bool) and isinstance(value, hint):
        return value
    raise UserError(f"expected {getattr(hint, '__name__', hint)}, found {value!r}", where=where)


def load(cls: type[R], path: Path) -> R:
    """Read a recipe from YAML."""
    existing(path, remedy="Give the path of a recipe file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not valid YAML ({' '.join(str(error).split())})", where=path) from None
    return from_dict(cls, values if values is not None else {}, str(path))


class _Dumper(yaml.SafeDumper):
    """PyYAML writes Unicode's own line breaks raw and folds them into others when it reads; escaped, they stay."""

    def choose_scalar_style(self) -> str:
        text = getattr(self.event, "value", "")
        broken = any(character in text for character in "\x85\u2028\u2029")
        return '"' if broken else super().choose_scalar_style()


def dumps(recipe: Any) -> str:
    """The complete recipe as YAML."""
    return str(yaml.dump(to_dict(recipe), Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def save(recipe: Any, path: Path) -> None:
    """Write the complete recipe; `load` gives the same object back."""
    write_text(path, dumps(recipe))


def identity(recipe: Any) -> dict[str, Any]:
    """What decides the result: the recipe without its unchanging fields."""
    kept = {}
    for f in dataclasses.fields(recipe):
        if f.metadata.get("identity", True):
            value = getattr(recipe, f.name)
            kept[f.name] = identity(value) if dataclasses.is_dataclass(value) else _plain(value)
    return kept


def fingerprint(values: dict[str, Any]) -> str:
    """A SHA-256 over JSON-able values, key order aside."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def difference(old: Any, new: Any, prefix: str = "") -> list[str]:
    """What changed between two identities, as ``key old → new`` phrases."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [
            line
            for key in keys
            for line in difference(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        ]
    return [] if old == new else [f"{prefix} {old} → {new}"]
