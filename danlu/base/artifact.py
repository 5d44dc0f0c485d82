"""What a stage leaves behind: a directory whose ``manifest.json`` is written last.

A directory without a valid manifest does not exist for the stages after it. While a stage runs, its
directory holds ``stage.json``, the identity of the run in progress, so that the same command takes up
where it was killed and another recipe is told apart. `lineage` walks from any artifact to its sources.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from danlu.base import recipe as recipes
from danlu.base.errors import UserError
from danlu.base.files import remove, sha256, write_text

MANIFEST, STAGE = "manifest.json", "stage.json"
FORMAT = 1
UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Artifact:
    """A finished stage: where it is and what its manifest says."""

    path: Path
    manifest: dict[str, Any]

    @property
    def stage(self) -> str:
        return str(self.manifest["stage"])

    @property
    def metrics(self) -> dict[str, Any]:
        return dict(self.manifest["metrics"])

    @property
    def digest(self) -> str:
        """The manifest's own SHA-256: the name by which later stages know this artifact."""
        return sha256(self.path / MANIFEST)

    def verify(self) -> None:
        """Check every output's hash; a `UserError` names the first file that is damaged or missing."""
        for name, expected in self.manifest["outputs"].items():
            file = self.path / name
            if not file.is_file() or sha256(file) != expected:
                problem = "differs from its manifest" if file.is_file() else "is missing"
                raise UserError(
                    f"{name} {problem}",
                    where=self.path,
                    remedy="Delete the directory and run the stage again",
                )


def load(path: Path, stage: str | None = None) -> Artifact:
    """The artifact at ``path``; a `UserError` if there is none, or if another stage made it."""
    artifact = find(path)
    if artifact is None:
        state = (
            "an unfinished run"
            if (path / STAGE).exists()
            else "nothing that Danlu made"
            if path.exists()
            else "nothing"
        )
        raise UserError(
            f"holds {state}",
            where=path,
            remedy=f"Run the stage that makes it{f' ({stage})' if stage else ''} first",
        )
    if stage is not None and artifact.stage != stage:
        raise UserError(f"was made by '{artifact.stage}', and '{stage}' is needed", where=path)
    return artifact


def find(path: Path) -> Artifact | None:
    """The artifact at ``path``, or None if there is no directory with a valid manifest."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] == FORMAT and isinstance(manifest["outputs"], dict):
            return Artifact(path, manifest)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


@dataclass
class Draft:
    """A stage in progress; `finish` hashes what it wrote and puts the manifest down."""

    path: Path
    stage: str
    recipe: Any
    inputs: dict[str, dict[str, str]]
    resumed: bool
    started: float
    metrics: dict[str, Any] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    decisions: dict[str, str] = field(default_factory=dict)

    def decide(self, name: str, measure: Callable[[], str]) -> str:
        """A choice made by measuring: made once a run and kept, so that a run taken up again decides the same."""
        file = self.path / ".decisions.json"
        decisions = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if name not in decisions:
            decisions[name] = measure()
            write_text(file, json.dumps(decisions))
        self.decisions = decisions
        return str(decisions[name])

    def finish(self) -> Artifact:
        """Write the manifest, last. Files under names that begin with a dot are working files, not outputs."""
        recipes.save(self.recipe, self.path / "recipe.yaml")
        outputs = {
            str(file.relative_to(self.path)): sha256(file)
            for file in sorted(self.path.rglob("*"))
            if file.is_file() and file.name not in (STAGE, MANIFEST) and not _hidden(file.relative_to(self.path))
        }
        manifest = {
            "format": FORMAT,
            "stage": self.stage,
            "recipe": recipes.to_dict(self.recipe),
            "identity": _identity(self.stage, self.recipe, self.inputs),
            "inputs": self.inputs,
            "outputs": outputs,
            "metrics": self.metrics,
            "seeds": self.seeds,
            "decisions": self.decisions,
            "versions": versions(),
            "seconds": round(time.time() - self.started, 3),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        write_text(self.path / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
        for entry in self.path.iterdir():
            if entry.name.startswith(".") or entry.name == STAGE:  # checkpoints and other working files
                remove(entry)
        return Artifact(self.path, manifest)


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def describe_inputs(inputs: Mapping[str, Path | Artifact], start: Path) -> dict[str, dict[str, str]]:
    """Name → path (relative to ``start``, so that a tree can be moved) and SHA-256 of the manifest or file."""
    described = {}
    for name, value in inputs.items():
        path = value.path if isinstance(value, Artifact) else value
        artifact = value if isinstance(value, Artifact) else find(path)
        described[name] = {
            "path": os.path.relpath(path, start),
            "sha256": artifact.digest if artifact else _plain_digest(path),
        }
    return described


def _plain_digest(path: Path) -> str:
    """A digest of a user's file, or of a folder's names and contents."""
    if path.is_file():
        return _digest_of(path)
    files = {os.fsencode(f.relative_to(path)).hex(): _digest_of(f) for f in sorted(path.rglob("*")) if f.is_file()}
    return recipes.fingerprint(files)


def _digest_of(file: Path) -> str:
    """A file that nobody may read, or that is gone, is one that says nothing: the stage that reads it will name it."""
    try:
        return sha256(file)
    except OSError as error:
        return f"unreadable: {type(error).__name__}"


def _identity(stage: str, recipe: Any, inputs: dict[str, dict[str, str]]) -> dict[str, Any]:
    values = {
        "stage": stage,
        "recipe": recipes.identity(recipe),
        "inputs": {n: i["sha256"] for n, i in inputs.items()},
    }
    return json.loads(json.dumps(values))


def _in_progress(path: Path) -> dict[str, Any] | None:
    """The identity of the run that claimed ``path`` and has not finished."""
    try:
        found = json.loads((path / STAGE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def changes(path: Path, stage: str, recipe: Any, inputs: Mapping[str, Path | Artifact]) -> str | None:
    """Why ``stage`` has to run to fill ``path``: a phrase, or None if what is there is up to date."""
    artifact, wanted = find(path), _identity(stage, recipe, describe_inputs(inputs, path))
    if artifact is None:
        return UNFINISHED if _in_progress(path) == wanted else "not made yet"
    differs = recipes.difference(artifact.manifest["identity"], wanted)
    if not differs:
        missing = [name for name in artifact.manifest["outputs"] if not (path / name).is_file()]
        return f"{missing[0]} is missing" if missing else None
    changed = [d.split()[0].removeprefix("inputs.") for d in differs if d.startswith("inputs.")]
    return (
        f"input changed: {', '.join(changed)}"
        if changed
        else f"recipe changed: {'; '.join(differs[:3]).replace('recipe.', '')}"
    )


def begin(
    path: Path,
    stage: str,
    recipe: Any,
    inputs: Mapping[str, Path | Artifact] | None = None,
    *,
    fresh: bool = False,
) -> Draft:
    """Claim ``path`` for a run of ``stage``.

    The same run in progress is taken up again (``resumed``); a finished artifact is replaced; an unfinished
    run of another recipe is refused unless ``fresh``; a folder that Danlu did not make is never touched.
    """
    described = describe_inputs(inputs or {}, path)
    wanted = _identity(stage, recipe, described)
    marker, resumed, finished = path / STAGE, False, find(path) is not None
    if path.exists() and not path.is_dir():
        raise UserError("is a file, not a folder", where=path, remedy="Choose another --out")
    if marker.exists() and not finished and not fresh:
        found = _in_progress(path)
        differs = recipes.difference(found, wanted)
        if found is not None and differs:
            raise UserError(
                f"holds an unfinished run of another recipe ({'; '.join(differs[:3])})",
                where=path,
                remedy="Give the old recipe to continue it, --fresh to start over, or another --out",
            )
        resumed = found is not None
    elif path.exists() and any(path.iterdir()) and not finished and not marker.exists():
        raise UserError("is not empty and was not made by Danlu", where=path, remedy="Choose another --out")
    if not resumed:
        # "null" marks the folder as ours while it is emptied: a kill in between leaves neither a directory
        # that looks finished nor one that looks like somebody else's.
        path.mkdir(parents=True, exist_ok=True)
        write_text(marker, "null\n")
        remove(path / MANIFEST)
        for entry in path.iterdir():
            if entry != marker:
                remove(entry)
        write_text(marker, json.dumps(wanted, ensure_ascii=False, indent=2) + "\n")
    recipes.save(recipe, path / "recipe.yaml")
    return Draft(path, stage, recipe, described, resumed, time.time())


def versions() -> dict[str, str]:
    """Versions of what a result can depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("danlu", "torch", "numpy", "tokenizers", "safetensors", "pyarrow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def lineage(path: Path) -> list[tuple[int, str, Path, str]]:
    """The artifact and all it was made from, depth first: (depth, stage or 'source', path, digest)."""
    rows: list[tuple[int, str, Path, str]] = []

    def walk(depth: int, where: Path, digest: str) -> None:
        artifact = find(where)
        rows.append((depth, artifact.stage if artifact else "source", where, digest))
        if artifact is not None:
            for item in artifact.manifest["inputs"].values():
                walk(depth + 1, Path(os.path.normpath(where / item["path"])), item["sha256"])

    walk(0, path, load(path).digest)
    return rows
