"""What `danlu task train` can be told of one kind of task, or of several. Plain data: no torch here."""

from dataclasses import dataclass
from typing import Literal

from danlu.base.errors import UserError
from danlu.objectives.settings import Masking


@dataclass(frozen=True)
class Embed:
    """Vectors of texts."""

    pooling: Literal["auto", "first", "last", "mean"] = "auto"
    """Which vector a text becomes: its first token's, its last one's or the mean; auto is last for a decoder, else
    mean."""
    temperature: float = 0.05
    """By what the cosine is divided, where pairs have no degree (SimCSE: 0.05)."""
    group: int = 0
    """Pairs that see one another as negatives; 0 is the whole batch. Micro-batches hold whole groups."""

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.group < 0 or self.group == 1:
            raise UserError("needs a temperature above 0, and groups of at least 2 pairs", where="recipe: embed")


@dataclass(frozen=True)
class Answers:
    """Questions with answers in a context."""

    longest: int = 30
    """Most tokens of an answer (BERT's script)."""

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise UserError(f"must be at least 1, found {self.longest}", where="recipe: qa.longest")


@dataclass(frozen=True)
class Several:
    """Several tasks at once."""

    weighting: Literal["fixed", "uncertainty", "gradnorm"] = "fixed"
    """What a task's rows count: fixed; uncertainty, learned (Kendall et al. 2018); gradnorm (Chen et al. 2018)."""
    weights: tuple[str, ...] = ()
    """With fixed: NAME=NUMBER of each task that does not count 1."""
    alpha: float = 0.5
    """Rows are drawn from each task in proportion to its size to this power: 1 as they are, 0 equally many."""
    gradnorm_alpha: float = 1.5
    """With gradnorm: how hard tasks that lag are helped."""
    gradnorm_rate: float = 0.025
    """With gradnorm: the step of the weights."""

    def __post_init__(self) -> None:
        if self.alpha < 0 or self.gradnorm_alpha < 0 or self.gradnorm_rate <= 0:
            raise UserError(
                "alpha and gradnorm_alpha must not be negative, gradnorm_rate above 0", where="recipe: several"
            )
        if self.weights and self.weighting != "fixed":
            raise UserError("only fixed weights can be given", where="recipe: several.weights")
        own = (self.gradnorm_alpha, self.gradnorm_rate)
        if self.weighting != "gradnorm" and own != (Several.gradnorm_alpha, Several.gradnorm_rate):
            raise UserError(
                "only gradnorm has such keys", where="recipe: several", remedy="Give several.weighting gradnorm"
            )
        self.given()

    def given(self) -> dict[str, float]:
        """The weights by task."""
        found = {}
        for item in self.weights:
            name, _, number = item.partition("=")
            try:
                found[name] = float(number)
            except ValueError:
                found[name] = -1.0
            if not 0 < found[name] < float("inf"):
                raise UserError(f"'{item}' is not NAME=NUMBER above 0", where="recipe: several.weights")
        return found


@dataclass(frozen=True)
class Holes:
    """Hidden tokens, found while tags are learned; for encoders with their output layer."""

    weight: float = 0.0
    """What a hidden token counts beside a tagged word; 0 hides none."""
    epochs_before: float = 0.0
    """Passes over the sentences with hidden tokens alone, before the tags (Gururangan et al. 2020)."""
    masking: Masking = Masking()
    """Which tokens are hidden, drawn anew each time."""

    def __post_init__(self) -> None:
        if self.weight < 0 or self.epochs_before < 0:
            raise UserError("weight and epochs_before must not be negative", where="recipe: holes")
        if not self.used and self.masking != Masking():
            raise UserError("nothing is hidden", where="recipe: holes.masking", remedy="Give weight or epochs_before")

    @property
    def used(self) -> bool:
        """Is anything hidden?"""
        return self.weight > 0 or self.epochs_before > 0


@dataclass(frozen=True)
class Semi:
    """Texts without labels, for classify."""

    method: Literal["pseudo", "consistency", "cotraining"] = "pseudo"
    """pseudo: labels that the model is sure of are learned (Lee 2013); consistency: a changed text is to be labelled
    as the text is (UDA: Xie et al. 2020); cotraining: models of two halves of a text teach each other (Blum and
    Mitchell 1998)."""
    threshold: float = 0.9
    """The least probability of a label that is believed."""
    rounds: int = 2
    """How often labels are guessed anew (pseudo, cotraining)."""
    most: int = 0
    """At most so many guessed labels of each kind are believed in a round, the surest; 0 takes as many of each as
    keep the shares that labels have among the known (pseudo, cotraining)."""
    weight: float = 1.0
    """What a text with a guessed label counts, or the mean over unlabelled texts beside the labelled."""
    ratio: float = 1.0
    """Unlabelled rows for each labelled one in a batch (consistency)."""
    share: float = 0.2
    """The share of tokens that are changed: half dropped, half replaced (consistency)."""
    temperature: float = 0.4
    """By what logits of targets are divided: below 1 sharpens (consistency; UDA: 0.4)."""
    align: bool = True
    """Bring what is said of texts in line with the shares of the known labels (consistency)."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1 or not 0 < self.share < 1:
            raise UserError("threshold and share are shares: below 1", where="recipe: semi")
        if self.rounds < 1 or self.most < 0 or self.weight <= 0 or self.ratio <= 0 or self.temperature <= 0:
            raise UserError("rounds must be at least 1, weight, ratio and temperature above 0", where="recipe: semi")
        theirs = ("rounds", "most") if self.method == "consistency" else ("ratio", "share", "temperature", "align")
        for key in theirs:
            if getattr(self, key) != type(self).__dataclass_fields__[key].default:
                raise UserError(f"{self.method} has none", where=f"recipe: semi.{key}")
