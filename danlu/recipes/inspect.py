"""Looking at what is there: the report of a run, the lineage of a model, the rooms of the house."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from danlu.base.artifact import lineage as walk
from danlu.base.files import existing
from danlu.base.river import RIVER


@dataclass(frozen=True)
class Report:
    """Write report.html and its plots for a stage or a chain."""

    run: Annotated[Path, tyro.conf.Positional]
    """The directory of a stage or of a chain."""


@dataclass(frozen=True)
class Lineage:
    """Walk from an artifact back to its source files."""

    path: Annotated[Path, tyro.conf.Positional]
    """The directory that a stage wrote."""


@dataclass(frozen=True)
class Map:
    """Show the rooms of the house in the order in which data flows."""


def report(recipe: Report) -> None:
    """Write it, and say where."""
    from danlu.evaluate.report import write_report

    print(write_report(existing(recipe.run)))


def lineage(recipe: Lineage) -> None:
    """One line for each artifact and source, indented by depth."""
    for depth, stage, path, digest in walk(existing(recipe.path)):
        print(f"{'  ' * depth}{stage:<12} {digest[:12]}  {path}")


def house(_: Map) -> None:
    """One line a room."""
    for room in RIVER:
        print(f"{room.name:<12} {room.flow:<40} {room.holds}")
