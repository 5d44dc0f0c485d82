"""What LoRA and partial fine-tuning can be told. Plain data: reading a recipe starts nothing, so no torch here."""

import re
from dataclasses import dataclass, field
from typing import Literal

from danlu.base.errors import UserError

ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class Lora:
    """Low-rank adaptation (Hu et al. 2021): the change of a matrix is the product of two small ones."""

    rank: int = 16
    """Columns of the one and rows of the other: how much can be learned."""
    alpha: float = 32.0
    """The change is scaled by alpha / rank."""
    targets: tuple[str, ...] = (ALL_LINEAR,)
    """Names of the layers, or their ends, such as q_proj v_proj; all-linear is every matrix of the blocks."""
    dropout: float = 0.0
    """The share of a layer's input that its change does not see, while training."""
    rslora: bool = False
    """Scale by alpha / √rank instead, which keeps the change as large at high ranks (Kalajdzievski 2023)."""
    dora: bool = False
    """Learn the length of each row of a changed matrix apart from its direction: DoRA (Liu et al. 2024)."""
    init: Literal["kaiming", "gaussian", "orthogonal", "pissa", "loftq"] = "kaiming"
    """What A and B begin as: A drawn and B zero (kaiming, gaussian); both drawn, their product zero (orthogonal); the
    largest singular vectors of the matrix, which then learns them (pissa); what rounding it lost (loftq, of qlora)."""
    pissa_iterations: int = 0
    """Find the singular vectors by so many steps of subspace iteration, faster; 0 finds them exactly."""
    loftq_iterations: int = 1
    """How often to round what the product leaves of the matrix, and to fit the product to what that lost."""
    b_rate_ratio: float = 1.0
    """B's learning rate over A's: LoRA+ (Hayou et al. 2024), which found 16 good."""
    rank_pattern: dict[str, int] = field(default_factory=dict)
    """Ranks of layers whose names end as the pattern says, such as down_proj 32; the first that matches counts."""
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    """Likewise alpha."""
    layers: tuple[int, ...] = ()
    """Numbers of the blocks that are changed, from 0; none given is all."""
    new_rows: bool = True
    """Where the vocabulary was extended, the rows of the new tokens learn too; the adapter carries them either way."""

    def __post_init__(self) -> None:
        for key, valid, rule in (
            ("rank", self.rank >= 1, "must be at least 1"),
            ("alpha", self.alpha > 0, "must be above 0"),
            ("targets", bool(self.targets) and all(self.targets), f"needs names of layers, or {ALL_LINEAR}"),
            ("dropout", 0 <= self.dropout < 1, "must be at least 0 and below 1"),
            ("b_rate_ratio", self.b_rate_ratio > 0, "must be above 0"),
            ("rank_pattern", min(self.rank_pattern.values(), default=1) >= 1, "needs ranks of at least 1"),
            ("alpha_pattern", min(self.alpha_pattern.values(), default=1) > 0, "needs alphas above 0"),
            ("layers", min(self.layers, default=0) >= 0, "must not be negative"),
            ("pissa_iterations", self.pissa_iterations >= 0, "must not be negative"),
            ("loftq_iterations", self.loftq_iterations >= 1, "must be at least 1"),
        ):
            if not valid:
                raise UserError(f"{rule}, found {getattr(self, key)!r}", where=f"recipe: lora.{key}")
        if ALL_LINEAR in self.targets and len(self.targets) > 1:
            raise UserError(f"{ALL_LINEAR} leaves nothing to add to it", where="recipe: lora.targets")
        self._check_patterns()
        self._check_init()

    def _check_patterns(self) -> None:
        for key, patterns in (("rank_pattern", self.rank_pattern), ("alpha_pattern", self.alpha_pattern)):
            for pattern in patterns:
                try:
                    re.compile(pattern)
                except re.error as error:
                    what = f"'{pattern}' is no regular expression ({error})"
                    raise UserError(what, where=f"recipe: lora.{key}") from None

    def _check_init(self) -> None:
        for key, init in (("pissa_iterations", "pissa"), ("loftq_iterations", "loftq")):
            if self.init != init and getattr(self, key) != type(self).__dataclass_fields__[key].default:
                raise UserError(f"only --lora.init {init} reads it", where=f"recipe: lora.{key}")
        odd = [rank for rank in (self.rank, *self.rank_pattern.values()) if rank % 2]
        if self.init == "orthogonal" and odd:
            what = f"orthogonal gives half of its directions to A and half to B, so the rank must be even, not {odd[0]}"
            raise UserError(what, where="recipe: lora.rank")


@dataclass(frozen=True)
class Freeze:
    """Partial fine-tuning: what learns, while the rest is frozen."""

    last_layers: int = 2
    """So many of the last blocks."""
    names: tuple[str, ...] = ()
    """Parameters with these parts in their names, such as bias, norm, q_proj or layers.3."""
    embeddings: bool = False
    """The input embedding, and the output layer."""

    def __post_init__(self) -> None:
        if self.last_layers < 0 or not all(self.names):
            raise UserError("needs last_layers not negative, and names that are not empty", where="recipe: freeze")
        if not (self.last_layers or self.names or self.embeddings):
            raise UserError("leaves nothing to learn", where="recipe: freeze", remedy="Give last_layers or names")
