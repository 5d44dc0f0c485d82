"""What a recipe can say about objectives. Plain data: reading a recipe starts nothing, so no torch here."""

from dataclasses import dataclass
from typing import Literal

from danlu.base.errors import UserError

ObjectiveName = Literal["causal", "masked"]


@dataclass(frozen=True)
class Masking:
    """Which tokens a masked language model has to find, and what it sees in their places."""

    unit: Literal["token", "word", "span"] = "token"
    """Tokens one by one, whole words, or spans of whole words."""
    share: float = 0.15
    """Share of the tokens that are chosen (BERT; larger models learn more from 0.4: Wettig et al. 2023)."""
    masked: float = 0.8
    """Share of the chosen that are replaced by the mask token."""
    random: float = 0.1
    """Share of the chosen that are replaced by any token; the rest stays as it is."""
    span_stop: float = 0.2
    """By span: the probability that a span ends after each of its words (SpanBERT)."""
    longest_span: int = 10
    """By span: the most words of one (SpanBERT)."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise UserError(f"must be above 0 and below 1, found {self.share}", where="recipe: masking.share")
        if self.masked < 0 or self.random < 0 or self.masked + self.random > 1:
            what = "masked and random are shares of the chosen: not negative, together at most 1"
            raise UserError(what, where="recipe: masking")
        if not 0 < self.span_stop <= 1 or self.longest_span < 1:
            raise UserError("span_stop must be above 0 and at most 1, longest_span at least 1", where="recipe: masking")
        if self.unit != "span" and (self.span_stop, self.longest_span) != (Masking.span_stop, Masking.longest_span):
            raise UserError("there are no spans", where="recipe: masking", remedy="Set masking.unit span")


@dataclass(frozen=True)
class PredictAhead:
    """Predict more than the next token, to learn more from the same text."""

    tokens: int = 0
    """How many tokens after the next one; 0 predicts the next one only."""
    weight: float = 0.3
    """Of their mean loss, beside the next token's (DeepSeek-V3: 0.3, and 0.1 in the last third)."""

    def __post_init__(self) -> None:
        if self.tokens < 0 or self.weight <= 0:
            raise UserError("tokens must not be negative, and weight must be above 0", where="recipe: predict_ahead")
        if not self.tokens and self.weight != PredictAhead.weight:
            raise UserError("nothing is predicted ahead", where="recipe: predict_ahead.weight", remedy="Set tokens")


@dataclass(frozen=True)
class Adversarial:
    """Move the embeddings to where the loss is worse, and learn from there too."""

    name: Literal["none", "fgm", "freelb"] = "none"
    """fgm: the plain loss and one from a step away (Miyato et al. 2017); freelb: steps from a random start (Zhu
    2020)."""
    epsilon: float = 1.0
    """How far at most: the L2 norm of the change of all embeddings of a document together."""
    step: float = 0.1
    """freelb: how far a step goes, in the same norm."""
    steps: int = 3
    """freelb: passes of a batch."""

    def __post_init__(self) -> None:
        if self.epsilon <= 0 or self.step <= 0 or self.steps < 2:
            what = "epsilon and step must be above 0, and steps at least 2"
            raise UserError(what, where="recipe: adversarial")
        own = (self.step, self.steps) != (Adversarial.step, Adversarial.steps)
        if self.name == "none" and (own or self.epsilon != Adversarial.epsilon):
            raise UserError("nothing is moved", where="recipe: adversarial", remedy="Give adversarial.name")
        if self.name == "fgm" and own:
            what = "fgm moves once, by epsilon"
            raise UserError(what, where="recipe: adversarial", remedy="Leave out step and steps, or use freelb")

    @property
    def passes(self) -> int:
        """How often a batch is read."""
        return {"none": 1, "fgm": 2, "freelb": self.steps}[self.name]


def check_z_loss(z_loss: float) -> None:
    """A `UserError` for a coefficient that rewards large normalisers."""
    if z_loss < 0:
        raise UserError(f"must not be negative, found {z_loss}", where="recipe: z_loss", remedy="PaLM used 1e-4")
