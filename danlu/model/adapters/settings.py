"""What LoRA and partial fine-tuning can be told. Plain data: reading a recipe starts nothing, so no torch here."""

from dataclasses import dataclass

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
    new_rows: bool = True
    """Where the vocabulary was extended, the rows of the new tokens learn too; the adapter carries them either way."""

    def __post_init__(self) -> None:
        for key, valid, rule in (
            ("rank", self.rank >= 1, "must be at least 1"),
            ("alpha", self.alpha > 0, "must be above 0"),
            ("targets", bool(self.targets) and all(self.targets), f"needs names of layers, or {ALL_LINEAR}"),
            ("dropout", 0 <= self.dropout < 1, "must be at least 0 and below 1"),
        ):
            if not valid:
                raise UserError(f"{rule}, found {getattr(self, key)!r}", where=f"recipe: lora.{key}")
        if ALL_LINEAR in self.targets and len(self.targets) > 1:
            raise UserError(f"{ALL_LINEAR} leaves nothing to add to it", where="recipe: lora.targets")


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
