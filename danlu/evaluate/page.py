"""What the report pages share: tables, numbers as a person writes them, and rendering that escapes everything."""

from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import jinja2

FOLDER = Path(__file__).parent


class Table(NamedTuple):
    """A titled table of strings; the columns ``numeric`` hold numbers and stand to the right."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numeric: frozenset[int] = frozenset()


def render(template: str, **values: Any) -> str:
    """The page that ``template`` makes of ``values``; all of them are text that a stranger may have written."""
    loader = jinja2.FileSystemLoader(FOLDER, encoding="utf-8")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=style, **values)


def tables(title: str, value: Any) -> list[Table]:
    """Nested numbers as tables: leaves together, lists of records as columns, the rest one level down."""
    if isinstance(value, list):
        records = [item if isinstance(item, dict) else {"": item} for item in value]
        columns = list(dict.fromkeys(key for record in records for key in record))
        rows = [[cell(key, record.get(key)) for key in columns] for record in records]
        numeric = frozenset(i for i, key in enumerate(columns) if all(is_number(r.get(key, 0)) for r in records))
        return [Table(words(title), [words(key) for key in columns], rows, numeric)] if rows else []
    if not isinstance(value, dict):
        return []
    leaves = {key: item for key, item in value.items() if _is_leaf(item)}
    nested = {key: item for key, item in value.items() if not _is_leaf(item)}
    found = []
    if leaves:
        cells = [[words(key), cell(key, item)] for key, item in leaves.items()]
        numbers = all(is_number(item["value"] if isinstance(item, dict) else item) for item in leaves.values())
        found.append(Table(words(title), ["", ""], cells, frozenset({1} if numbers else ())))
    for key, item in nested.items():
        found += tables(f"{title}: {key}" if title else key, item)
    return found


def _is_leaf(value: Any) -> bool:
    if isinstance(value, dict):
        return "value" in value and all(_is_leaf(item) for item in value.values())
    return not isinstance(value, list) or not any(isinstance(item, dict | list) for item in value)


def cell(key: str, value: Any) -> str:
    """One value as a person writes it; an estimate with its interval in brackets."""
    if isinstance(value, dict):
        if "value" not in value:
            return ", ".join(f"{words(k)} {cell(k, v)}" for k, v in value.items())
        rest = [
            f"{cell('', v[0])} to {cell('', v[1])}"
            if k == "interval" and is_interval(v)
            else f"{words(k)} {cell(k, v)}"
            for k, v in value.items()
            if k != "value"
        ]
        return cell(key, value["value"]) + (f" ({', '.join(rest)})" if rest else "")
    if isinstance(value, list | tuple):
        return ", ".join(cell("", item) for item in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, int):
        return size(value) if key.endswith("bytes") else f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def words(key: object) -> str:
    """'bits_per_byte' → 'bits per byte'."""
    return str(key).replace("_", " ")


def size(number: float) -> str:
    """Bytes in units of a thousand: 12345678 → '12.3 MB'."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= limit:
            return f"{number / limit:.1f} {unit}"
    return f"{number:.0f} bytes"


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_interval(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))
