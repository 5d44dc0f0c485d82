"""Tools and calls of them, as data sets write them → as OpenAI does, with values where it has JSON in strings.

Chat templates write ``arguments | tojson``: given a string they would quote it a second time.
"""

import json
from typing import Any

from danlu.base.errors import UserError

CALL = 'A call is {"name": "...", "arguments": {...}}'


def parsed(value: Any) -> Any:
    """A value, read as JSON where it is a string that holds a list or an object: a table has nothing but strings."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return None if value == "" else value


def tools_of(given: Any, where: str) -> list[dict[str, Any]]:
    """The tools of a record, each ``{"type": "function", "function": {"name", "description", "parameters"}}``.

    Given as a list, as JSON text (glaive), each wrapped or bare.
    """
    values = parsed(given)
    if not values:
        return []
    found = []
    for number, value in enumerate(values if isinstance(values, list) else [values], 1):
        inner = value.get("function", value) if isinstance(value, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            remedy = 'A tool is {"name", "description", "parameters"}, alone or under "function"'
            raise UserError(f"tool {number} has no name", where=where, remedy=remedy)
        found.append({"type": "function", "function": inner})
    return found


def calls(given: Any, where: str, place: str) -> list[dict[str, Any]]:
    """The calls of a turn, each ``{"type": "function", "function": {"name", "arguments"}}``, with its id if it has one.

    Given as a list or a single one, as values or as JSON text (ShareGPT's ``function_call``), each wrapped or bare.
    """
    if given is None or given == []:
        return []
    values = parsed(given)
    found = []
    for value in values if isinstance(values, list) else [values]:
        inner = value.get("function", value) if isinstance(value, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise UserError(f"{place}: not a call of a tool", where=where, remedy=CALL)
        arguments = parsed(inner.get("arguments"))
        if arguments is not None and not isinstance(arguments, dict):
            raise UserError(f"{place}: the call's arguments are no object", where=where, remedy=CALL)
        call = {"type": "function", "function": {"name": inner["name"], "arguments": arguments or {}}}
        found.append(call | ({"id": value["id"]} if isinstance(value.get("id"), str) else {}))
    if not found:
        raise UserError(f"{place}: not a call of a tool", where=where, remedy=CALL)
    return found
