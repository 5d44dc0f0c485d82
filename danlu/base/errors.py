"""Errors that a person can act on: what is wrong, where, and what to do.

The command line prints the sentence and exits with code 2; a traceback is shown only with ``--debug``.
Anything that is not a `UserError` is a fault of Danlu's own and keeps its traceback.
"""

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Something that a person typed or supplied is wrong.

    ``where`` names the file, line or record; ``remedy`` says what to do about it.
    """

    def __init__(self, what: str, *, where: object = None, remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        sentence = f"{where}: {what}" if where is not None else what
        super().__init__(f"{sentence}. {remedy}" if remedy else sentence)


class MissingExtra(UserError):
    """An optional library is not installed; the remedy is its pip line."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {library}, which is not installed",
            remedy=f'Install it with: pip install "danlu[{extra}]"',
        )


def require(settings: object, *rules: tuple[str, bool, str]) -> None:
    """A `UserError` for the first rule of (key, does it hold?, what the rule is) that does not hold in a recipe."""
    for key, holds, rule in rules:
        if not holds:
            raise UserError(f"{rule}, found {getattr(settings, key)!r}", where=f"recipe: {key}")


def nearest(name: str, names: Iterable[str]) -> str:
    """A remedy that names what was probably meant, or lists what there is."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known names: {', '.join(known)}"


def from_os_error(error: OSError) -> UserError | None:
    """The sentence for an operating-system error that a person can mend, or None for the rest."""
    path = Path(error.filename) if isinstance(error.filename, str) else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            "no space left on the device",
            where=path,
            remedy="Free some space and run the same command again: what was finished is kept",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError("no permission", where=path, remedy="Check the owner and mode, or choose another --out")
    if error.errno == errno.ENOENT and path is not None:
        return UserError("no such file or directory", where=path, remedy="Check the path")
    return None
