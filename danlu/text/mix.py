"""How much of each source a model reads: shares by weight or by temperature, with a cap on repetition.

Temperature turns sizes into shares, p ∝ size^(1/T) (Arivazhagan et al. 2019, arXiv:1907.05019): 1 keeps the sizes'
own proportions, infinity gives every source the same. The cap is UniMax's (Chung et al. 2023, arXiv:2304.09151): no
source is read more than so many times, and what a capped one leaves goes to the others in proportion to their shares;
UniMax itself is an infinite temperature with a cap. The arithmetic is exact, so amounts add up to the budget.

Left out: shares learned by training small models (DoReMi and its heirs), which cost runs and belong to a planner.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rich.cells import cell_len, set_cell_size

from danlu.base.errors import UserError, nearest
from danlu.base.progress import count

# Up to four epochs of the same text teach about as much as new text (Muennighoff et al. 2023, arXiv:2305.16264).
HARMLESS_EPOCHS = 4.0
WIDEST_NAME = 40


@dataclass(frozen=True)
class Part:
    """One source of a plan, in tokens or bytes: what it holds, and how much of it is read."""

    name: str
    size: int
    amount: int
    wanted: float
    """Its share before the cap."""

    @property
    def epochs(self) -> float:
        """How many times it is read."""
        return self.amount / self.size if self.size else 0.0


@dataclass(frozen=True)
class Plan:
    """What a budget is spent on."""

    parts: tuple[Part, ...]
    unit: str = "tokens"

    @property
    def budget(self) -> int:
        """All amounts together."""
        return sum(part.amount for part in self.parts)

    @property
    def shares(self) -> dict[str, float]:
        """Source → its share of the budget."""
        return {part.name: part.amount / self.budget for part in self.parts}

    def lines(self) -> list[str]:
        """The plan as a table for a person, and a remark on every source that is read too often."""
        width = max(len("together"), *(min(cell_len(part.name), WIDEST_NAME) for part in self.parts))
        rows = [f"  {'source':<{width}} {'holds':>8} {'share':>7} {self.unit:>8} {'epochs':>7}"]
        for part in self.parts:
            share = part.amount / self.budget
            capped = "  capped" if part.amount < part.wanted * self.budget - 1 else ""  # 1 is for rounding
            rows.append(
                f"  {set_cell_size(part.name, width)} {count(part.size):>8} {share:>7.1%} "
                f"{count(part.amount):>8} {part.epochs:>7.2f}{capped}"
            )
        rows.append(
            f"  {'together':<{width}} {count(sum(p.size for p in self.parts)):>8} {'':>7} {count(self.budget):>8}"
        )
        for part in self.parts:
            if part.epochs > HARMLESS_EPOCHS:
                rows.append(
                    f"  {part.name} is read {part.epochs:.1f} times: beyond {HARMLESS_EPOCHS:g}, repeats teach little"
                )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        parts = [{**vars(part), "share": self.shares[part.name], "epochs": part.epochs} for part in self.parts]
        return {"unit": self.unit, "budget": self.budget, "parts": parts}


def plan(
    sizes: Mapping[str, int],
    budget: int,
    *,
    weights: Mapping[str, float] | None = None,
    temperature: float = 1.0,
    max_epochs: float | None = None,
    unit: str = "tokens",
) -> Plan:
    """Spend ``budget`` on sources of ``sizes``, all in ``unit``.

    ``weights`` (any positive scale, 0 leaves a source out) or else ``temperature`` decide the shares. A `UserError`
    says what to do where the sources hold too little for ``max_epochs``.
    """
    if not sizes:
        raise UserError("there is no source to mix", remedy="Give at least one")
    if budget < 1:
        raise UserError(f"a budget of {budget} {unit} buys nothing", remedy="Give a positive budget")
    if max_epochs is not None and not max_epochs > 0:
        raise UserError(f"must be above 0, found {max_epochs}", where="recipe: max_epochs")
    wanted = by_temperature(sizes, temperature) if weights is None else by_weight(sizes, weights)
    for name, share in wanted.items():
        if share and not sizes[name]:
            raise UserError(f"holds no {unit}", where=name, remedy="Leave it out, or give it the weight 0")
    amounts = _spend(wanted, sizes, budget, max_epochs, unit)
    return Plan(tuple(Part(n, size, amounts[n], float(wanted[n])) for n, size in sizes.items()), unit)


def by_weight(sizes: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, Fraction]:
    """Shares in proportion to ``weights``, which must name every source and no other."""
    for name in weights:
        if name not in sizes:
            raise UserError(f"there is no source '{name}'", where="recipe: weights", remedy=nearest(name, sizes))
    missing = [name for name in sizes if name not in weights]
    if missing:
        remedy = "Give each source a weight; 0 leaves it out"
        raise UserError(f"no weight for {', '.join(missing)}", where="recipe: weights", remedy=remedy)
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"the weight of {name} is {weight}", where="recipe: weights", remedy="Give 0 or more")
    return _normalized({name: weights[name] for name in sizes}, "all weights are 0")


def by_temperature(sizes: Mapping[str, int], temperature: float) -> dict[str, Fraction]:
    """Shares in proportion to size^(1/temperature); empty sources get none."""
    if not temperature > 0:
        raise UserError(f"must be above 0, found {temperature}", where="recipe: temperature")
    largest = max(sizes.values())
    if temperature == 1 or not largest:
        return _normalized(sizes, "the sources are empty")
    scaled = {name: (size / largest) ** (1 / temperature) if size else 0.0 for name, size in sizes.items()}
    return _normalized(scaled, "the sources are empty")


def _normalized(values: Mapping[str, float], problem: str) -> dict[str, Fraction]:
    exact = {name: Fraction(value) for name, value in values.items()}
    total = sum(exact.values())
    if not total:
        raise UserError(problem, remedy="Give at least one source a share")
    return {name: value / total for name, value in exact.items()}


def _spend(
    wanted: Mapping[str, Fraction], sizes: Mapping[str, int], budget: int, max_epochs: float | None, unit: str
) -> dict[str, int]:
    """Whole amounts that add up to ``budget``: fill capped sources, share out the rest, until no other overflows."""
    open_sources = [name for name, share in wanted.items() if share]
    most = {name: math.floor(sizes[name] * _exact(max_epochs)) if max_epochs else budget for name in open_sources}
    reach = sum(most.values())
    if max_epochs is not None and reach < budget:
        enough = _enough_epochs([sizes[name] for name in open_sources], budget)
        raise UserError(
            f"{max_epochs:g} epochs of the sources give {count(reach)} {unit}, and the budget is {count(budget)}",
            where=", ".join(open_sources[:5]),
            remedy=f"Lower the budget to {reach}, raise max_epochs to {enough:.12g}, or add text",
        )
    amounts = dict.fromkeys(wanted, 0)
    left = budget
    while True:
        total = sum(wanted[name] for name in open_sources)
        exact = {name: left * wanted[name] / total for name in open_sources}
        full = [name for name in open_sources if exact[name] > most[name]]
        if not full:
            return amounts | _whole(exact, left)
        for name in full:
            amounts[name] = most[name]
            left -= most[name]
        open_sources = [name for name in open_sources if name not in full]


def _exact(epochs: float) -> Fraction:
    """What a person meant by 0.1: a tenth, and not the float nearest to it."""
    return Fraction(str(epochs))


def _enough_epochs(sizes: Sequence[int], budget: int) -> float:
    """The least number of epochs, with one decimal, that gives ``budget``."""
    tenths = math.ceil(Fraction(budget * 10, sum(sizes)))
    while sum(size * tenths // 10 for size in sizes) < budget:
        tenths += 1
    return tenths / 10


def _whole(exact: Mapping[str, Fraction], total: int) -> dict[str, int]:
    """Each amount rounded down, and what is left to the largest remainders (Hamilton), the earlier first."""
    amounts = {name: math.floor(amount) for name, amount in exact.items()}
    order: Sequence[str] = sorted(exact, key=lambda name: amounts[name] - exact[name])
    for name in order[: total - sum(amounts.values())]:
        amounts[name] += 1
    return amounts
