"""Curriculum: which documents come first (Bengio et al. 2009), and what a recipe can say of the data's order.

The documents are ranked, by length or by source, and the easiest share of their tokens is open from the start. More is
opened as the run goes on, by a competence that rises linearly or by the square root (Platanios et al. 2019,
arXiv:1903.09848: the root was the better one); what comes next is drawn at random from what is open. Both rise at
least as fast as tokens are dealt, so the open documents suffice, and every document is dealt once. The whole order
is made in advance, of the seed alone, in `STAGES` steps, and belongs to the first epoch: later ones are shuffled.

Left out: lengths of rows that grow. Short documents packed into long rows cost attention what short rows do, as far
as kernels skip what is hidden, and every row has the same shape.

Plain data and NumPy: reading a recipe starts nothing, so no torch here.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from danlu.base.errors import UserError

if TYPE_CHECKING:
    from danlu.tokens.pack import Items

Array = npt.NDArray[Any]
Packing = Literal["concat", "best_fit"]
STAGES = 64  # of a curriculum: at each, what is open grows and is shuffled


@dataclass(frozen=True)
class Curriculum:
    """The order of the first documents of a run."""

    by: Literal["none", "length", "source"] = "none"
    """none: shuffled; length: short documents first; source: the sources one after another."""
    share: float = 0.5
    """Share of the run's tokens after which the order is free."""
    start: float = 0.1
    """Share of the data's tokens, the easiest, that is open from the start."""
    pacing: Literal["root", "linear"] = "root"
    """How what is open grows to everything: root opens sooner."""
    sources: tuple[str, ...] = ()
    """By source: the names from first to last; those not named come last."""

    def __post_init__(self) -> None:
        if self.by == "none" and any(getattr(self, field.name) != field.default for field in fields(self)):
            raise UserError(
                "the order is not paced", where="recipe: curriculum", remedy="Set curriculum.by, or nothing"
            )
        if (self.by == "source") != bool(self.sources):
            what = "names no sources" if self.by == "source" else "has no use for the names of sources"
            raise UserError(f"the curriculum {what}", where="recipe: curriculum.sources")
        if not 0 < self.share <= 1 or not 0 < self.start <= 1:
            raise UserError("share and start must be above 0 and at most 1", where="recipe: curriculum")

    def identity(self, run_tokens: int) -> dict[str, Any]:
        """What must be the same for a run to be taken up, as JSON gives it back."""
        return {**asdict(self), "sources": list(self.sources), "lasts": self.lasts(run_tokens)}

    def lasts(self, run_tokens: int) -> float:
        """Tokens after which the order is free."""
        if run_tokens < 1:
            raise UserError("a curriculum needs to know how long the run is")
        return self.share * run_tokens

    def open(self, time: float) -> float:
        """Share of the tokens that is open when ``time``, a share of the curriculum, has passed."""
        if self.pacing == "linear":
            return self.start + (1 - self.start) * time
        return float((time * (1 - self.start**2) + self.start**2) ** 0.5)

    def ranked(self, names: Sequence[str]) -> list[str]:
        """``names``, in the order of `sources`; a `UserError` for one that is not among them."""
        for name in self.sources:
            if name not in names:
                remedy = f"There are: {', '.join(sorted(names))}"
                raise UserError(f"no source is called '{name}'", where="recipe: curriculum.sources", remedy=remedy)
        return [*self.sources, *(name for name in names if name not in self.sources)]


NONE = Curriculum()


def difficulty(items: "Items", curriculum: Curriculum) -> Array:
    """What the items are ranked by: their length, or the place of their source."""
    if curriculum.by == "length":
        return items.lengths()
    find = getattr(items, "sources", None)
    if find is None:
        raise UserError("these documents have no sources", where="recipe: curriculum.by")
    names, of = find()
    place = {name: i for i, name in enumerate(curriculum.ranked(names))}
    last = len(curriculum.sources)  # those not named come together
    found: Array = np.asarray([min(place[name], last) for name in names], np.int64)[of]
    return found


def paced(
    curriculum: Curriculum, hard: Array, lengths: Array, run_tokens: int, draw: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The numbers of all items, each once. hard, lengths: [items]; ties of difficulty are broken at random."""
    ties = draw.permutation(len(hard))
    ranked = ties[np.argsort(hard[ties], kind="stable")]
    reached = np.cumsum(lengths[ranked])
    total = int(reached[-1])
    lasts = min(curriculum.lasts(run_tokens), total)  # at most one epoch
    opened = dealt = 0
    pool, out = np.empty(0, np.int64), list[Array]()
    for stage in range(1, STAGES + 1):
        time = stage / STAGES
        upto = min(int(np.searchsorted(reached, curriculum.open(time) * total)) + 1, len(ranked))
        pool = draw.permutation(np.concatenate([pool, ranked[opened:upto]]))
        opened, ends = upto, np.cumsum(lengths[pool])
        due = lasts * time - dealt
        taken = min(int(np.searchsorted(ends, due)) + 1, len(pool)) if due > 0 else 0
        dealt += int(ends[taken - 1]) if taken else 0
        out.append(pool[:taken])
        pool = pool[taken:]
    return np.concatenate([*out, draw.permutation(np.concatenate([pool, ranked[opened:]]))])
