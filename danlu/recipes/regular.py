"""What holds fine-tuning back from learning its examples by heart, and from forgetting what it knew.

    danlu sft --model runs/smollm2 --chats chats.jsonl --neftune 5 --label-smoothing 0.1 --patience 2 --keep best
    danlu sft --model runs/smollm2 --chats chats.jsonl --replay runs/tokens --forgetting wiki.txt

Each key is a part that others know nothing of: a setting of the model's layers, an objective around an objective, a
source of batches around a source. What is held out is measured without any of them.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.base.errors import UserError
from danlu.base.recipe import UNCHANGING
from danlu.objectives.settings import Adversarial
from danlu.recipes.common import Training, share
from danlu.train.settings import TrainSettings

if TYPE_CHECKING:
    from danlu.base.artifact import Draft
    from danlu.model.transformer import Transformer
    from danlu.objectives.objective import Objective
    from danlu.recipes.training import Measure
    from danlu.tokens.batches import Source
    from danlu.tokens.pack import Items
    from danlu.tokens.tokenizer import Tokenizer

REPLAY_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Regular(Training):
    """The keys of fine-tuning against overfitting and forgetting."""

    dropout: float | None = None
    """Share of the embedding's and of each layer's output that is dropped in training; unset is the model's own."""
    attention_dropout: float = 0.0
    """Share of attention's probabilities that is dropped in training; slow on a CPU."""
    label_smoothing: float = 0.0
    """Share of a target's probability that is spread over the vocabulary, such as 0.1."""
    neftune: float = 0.0
    """Noise on the embeddings in training, NEFTune's alpha: 5 to 15 in the paper; 0 is none."""
    rdrop: float = 0.0
    """R-Drop's alpha: read twice with different dropout, and agree; 0 reads once. Needs dropout."""
    adversarial: Adversarial = Adversarial()
    """Learn from embeddings moved to where the loss is worse, too."""
    replay: Path | None = field(default=None, metadata=UNCHANGING)
    """General text to be read beside the conversations: a file or folder of documents, or token shards."""
    replay_share: float = REPLAY_SHARE
    """The share of the tokens that replay makes up."""
    forgetting: Path | None = field(default=None, metadata=UNCHANGING)
    """General text, such as replay takes, that is measured before and after, and never learned."""

    def __post_init__(self) -> None:
        super().__post_init__()
        share(self.dropout or 0.0, "dropout")
        for key in ("attention_dropout", "label_smoothing"):
            share(getattr(self, key), key)
        for key in ("neftune", "rdrop"):
            if getattr(self, key) < 0:
                raise UserError(f"must not be negative, found {getattr(self, key)}", where=f"recipe: {key}")
        if not 0 < self.replay_share < 1:
            raise UserError(f"must be above 0 and below 1, found {self.replay_share}", where="recipe: replay_share")
        if self.replay is None and self.replay_share != REPLAY_SHARE:
            raise UserError("there is nothing to replay", where="recipe: replay_share", remedy="Give --replay")
        if self.replay is not None and self.replay == self.forgetting:
            what = "what is learned tells nothing about what is forgotten"
            raise UserError(what, where="recipe: forgetting", remedy="Give other text than --replay")
        if self.adversarial.passes > 1 and self.update_in_backward:
            what = "a second pass adds to the gradients of the first, and update_in_backward forgets each"
            raise UserError(what, where="recipe: adversarial", remedy="Leave out one of them")

    def settings(self, steps: int) -> TrainSettings:
        """With a measurement before the first step, where forgetting is to be told."""
        return dataclasses.replace(super().settings(steps), evaluate_first=self.forgetting is not None)


def sources(recipe: Regular) -> dict[str, Path]:
    """What these keys read from disk."""
    found = {"replay": recipe.replay, "forgetting": recipe.forgetting}
    return {name: path for name, path in found.items() if path is not None}


def objective(recipe: Regular, model: "Transformer") -> "Objective":
    """The next token's loss with what the recipe puts around it; sets the dropout of ``model``.

    A `UserError` where R-Drop has no dropout to differ by.
    """
    from danlu.base.seed import derive
    from danlu.model.dropout import set_dropout
    from danlu.model.transformer import drops
    from danlu.objectives.adversarial import Perturbed
    from danlu.objectives.next_token import NextToken
    from danlu.objectives.noise import Neftune
    from danlu.objectives.rdrop import RDrop

    set_dropout(model, recipe.dropout, recipe.attention_dropout)
    if recipe.rdrop and not drops(model):
        what = "without dropout both passes are the same"
        raise UserError(what, where="recipe: rdrop", remedy="Give --dropout 0.1, or with LoRA --lora.dropout 0.1")
    smoothing: dict[str, Any] = {"smoothing": recipe.label_smoothing}
    found: Objective = RDrop(recipe.rdrop, **smoothing) if recipe.rdrop else NextToken(**smoothing)
    if recipe.neftune:
        found = Neftune(found, recipe.neftune, derive(recipe.seed, "neftune"))
    if recipe.adversarial.name != "none":
        found = Perturbed(found, recipe.adversarial, derive(recipe.seed, "adversarial"))
    return found


def batches(recipe: Regular, chats: "Items", tokenizer: "Tokenizer", *, length: int, rows: int) -> "Source":
    """Batches of ``rows`` rows of ``length`` tokens: of whole conversations, and in their share of what is replayed.

    Where something is drawn for each row, rows are numbered.
    """
    from danlu.recipes.general import replayed
    from danlu.tokens.batches import PackedBatches
    from danlu.tokens.mixture import MixedBatches
    from danlu.tokens.numbered import NumberedBatches

    shape: dict[str, Any] = {"length": length, "pad_id": tokenizer.pad_id}
    found: Source = PackedBatches(chats, batch_size=rows, split=False, seed=recipe.seed, **shape)
    if recipe.replay is not None:
        alone = PackedBatches(chats, batch_size=1, split=False, seed=recipe.seed, **shape)
        again, parted = replayed(recipe.replay, tokenizer, length, recipe.seed)
        shares = {name: part * recipe.replay_share for name, part in parted.items()}
        parts = {"chats": alone, **again}
        found = MixedBatches(parts, {"chats": 1 - recipe.replay_share, **shares}, batch_size=rows)
    drawn = recipe.neftune or recipe.adversarial.name == "freelb"
    return NumberedBatches(found) if drawn else found


def measured(recipe: Regular, draft: "Draft", own: "Measure", tokenizer: "Tokenizer", length: int) -> "Measure":
    """The stage's own measurement and, beside it, that of what may be forgotten."""
    if recipe.forgetting is None:
        return own
    from danlu.recipes.general import forgetting

    return forgetting(draft, recipe.forgetting, own, tokenizer, length)
