"""From what a person names to files: folders are walked, patterns matched, every file comes once.

What a person typed wrong (nothing there, nothing readable in it) is a `UserError`, told before any work starts. What
is found on the way (a folder that may not be entered, a link in a circle, a named pipe) is told in the report and
skipped: nothing here opens a file, so nothing here can block.
"""

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from danlu.base.errors import UserError
from danlu.text import packages
from danlu.text.reading.faults import reason, shown
from danlu.text.reading.settings import Reading
from danlu.text.report import Funnel

PACKED = (".gz", ".zst")
KINDS = {
    ".txt": "plain", ".md": "plain", ".html": "page", ".htm": "page", ".xhtml": "page", ".jsonl": "lines",
    ".json": "json", ".csv": "table", ".tsv": "table", ".warc": "warc", ".wet": "warc",
    ".parquet": "parquet", ".epub": "epub",
}  # fmt: skip
WHOLE = ("parquet", "epub")  # hold compressed data inside, and are not compressed again
SUPPORTED = f"Supported: {', '.join(KINDS)}; all but {', '.join(f'.{kind}' for kind in WHOLE)} also with .gz or .zst"
SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip

Report = Callable[[str], None]
Seen = set[tuple[int, int]]  # device and inode: the same file under two names is read once


def kind(name: str) -> str:
    """What a file is by its name, '' if that is nothing readable: ``a.jsonl.gz`` → ``lines``."""
    name = name.lower()
    packed = name.endswith(PACKED)
    found = KINDS.get(os.path.splitext(name.rpartition(".")[0] if packed else name)[1], "")
    return "" if packed and found in WHOLE else found


def resolve(
    inputs: Sequence[str], reading: Reading | None = None, tally: Funnel | None = None
) -> dict[str, list[Path]]:
    """Each input with its files (none for ``package:NAME``), every file once; a `UserError` for what is not there.

    It opens nothing, so a recipe can call it before it claims a directory. ``tally`` gets what was skipped.
    """
    if not inputs:
        raise UserError("no input", remedy="Name files, folders, patterns such as 'data/*.txt', or package:NAME")
    report: Report = tally.problem if tally is not None else lambda sentence: None
    follow = reading is not None and reading.follow_links
    resolved: dict[str, list[Path]] = {}
    seen: Seen = set()
    for given in inputs:
        if packages.is_package(given):
            packages.check(packages.name_of(given), "documents")
            resolved[given] = []
        else:
            resolved.setdefault(given, []).extend(_fresh(_files(given, follow, report), seen))
    files = [path for paths in resolved.values() for path in paths]
    if files and all(resolved.values()) and not any(map(_size, files)):
        what = "is empty" if len(files) == 1 else f"is empty, and so are the other {len(files) - 1} files"
        raise UserError(what, where=shown(files[0]), remedy="Give a file with text in it")
    return resolved


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 1  # unknown; reading will tell


def _fresh(paths: list[Path], seen: Seen) -> Iterator[Path]:
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            yield path  # reading will tell
            continue
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield path


def _files(given: str, follow: bool, report: Report) -> list[Path]:
    path = Path(given).expanduser()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        if any(character in given for character in "*?["):
            return _matches(given, follow, report)
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not path.is_symlink():
            raise UserError("no such file or directory", where=shown(given), remedy="Check the path") from None
        raise UserError(reason(error), where=shown(given), remedy="Check the path, its owner and its mode") from None
    if stat.S_ISDIR(mode):
        inside = sorted(_walk(path, follow, report), key=lambda found: found.parts)
        if not inside:
            raise UserError(_why_nothing(path), where=shown(path), remedy=SUPPORTED)
        return inside
    if not stat.S_ISREG(mode):
        raise UserError(f"{_special(mode)}, not a file", where=shown(path), remedy="Write what it gives to a file")
    if not kind(path.name):
        raise UserError("unsupported kind of file", where=shown(path), remedy=SUPPORTED)
    return [path]


def _why_nothing(folder: Path) -> str:
    try:
        os.scandir(folder).close()
    except OSError as error:
        return reason(error)
    return "no readable file in it"


def _special(mode: int) -> str:
    return next((name for test, name in SPECIAL if test(mode)), "something special")


def _walk(folder: Path, follow: bool, report: Report) -> Iterator[Path]:
    """The readable files below a folder, hidden ones left out; a folder is entered once, so a circle ends."""
    waiting, entered = [folder], {_identity(os.stat(folder))}
    while waiting:
        here = waiting.pop()
        try:
            entries = list(os.scandir(here))
        except OSError as error:
            report(f"{shown(here)}: {reason(error)}; the folder was skipped")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                status = entry.stat()
            except OSError as error:
                report(f"{shown(entry.path)}: {_link(entry, error)}; skipped")
                continue
            if stat.S_ISDIR(status.st_mode):
                if entry.is_symlink() and not follow:
                    report(f"{shown(entry.path)}: a link to a folder, not entered (follow_links)")
                elif _identity(status) in entered:
                    report(f"{shown(entry.path)}: leads back to a folder that is read already; skipped")
                else:
                    entered.add(_identity(status))
                    waiting.append(Path(entry.path))
            elif kind(entry.name):
                if stat.S_ISREG(status.st_mode):
                    yield Path(entry.path)
                else:
                    report(f"{shown(entry.path)}: {_special(status.st_mode)}, not a file; skipped")


def _link(entry: "os.DirEntry[str]", error: OSError) -> str:
    broken = isinstance(error, FileNotFoundError) and entry.is_symlink()
    return "a link that leads nowhere" if broken else reason(error)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _matches(given: str, follow: bool, report: Report) -> list[Path]:
    """The readable files that a pattern stands for. Below ``**`` `glob` follows links in circles, so that is walked."""
    pattern = os.path.expanduser(given)
    deep = re.search(r"(?:^|(?<=/))\*\*(?=/|$)", pattern)
    found: list[Path] = []
    if deep:
        wanted = [part for part in pattern[deep.start() :].split("/") if part]
        for folder in filter(os.path.isdir, glob.glob(pattern[: deep.start()]) if deep.start() else ["."]):
            below = _walk(Path(folder), follow, report)
            found += [path for path in below if _fits(path.relative_to(folder).parts, wanted)]
    else:
        for path in map(Path, glob.glob(pattern)):
            if kind(path.name) and os.path.isfile(path):
                found.append(path)
            elif kind(path.name) and not os.path.isdir(path):
                report(f"{shown(path)}: not a file that can be read; skipped")
    if not found:
        raise UserError("matches no readable file", where=shown(given), remedy=SUPPORTED)
    return sorted(found, key=lambda path: path.parts)


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Does a path below the folder fit, part by part? ``**`` stands for any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
