"""What a pretraining run learns and in what order: the next token, tokens further ahead, or hidden ones.

A masked run makes an encoder: a new model sees both ways, the tokenizer gains a mask token if it has none, and held-out
text is measured by the loss of hidden tokens, the same ones each time. Bits per byte need a model that writes.
"""

from dataclasses import replace
from typing import Any

from danlu.base.artifact import Draft
from danlu.base.errors import UserError
from danlu.base.seed import derive
from danlu.model.config import ModelConfig
from danlu.model.heads import attach
from danlu.model.transformer import Transformer
from danlu.objectives.ahead import NextTokens
from danlu.objectives.masked import Masked, MaskedBatches, Masker, with_mask
from danlu.objectives.next_token import NextToken
from danlu.objectives.objective import Objective
from danlu.recipes import continuing
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.training import Measure
from danlu.tokens.batches import Source, sequential
from danlu.tokens.mixture import Mixture, Tokens
from danlu.tokens.pack import ShardItems
from danlu.tokens.tokenizer import Tokenizer
from danlu.train.settings import TrainSettings

EMBEDDING_SCALE = 8.0


def prepared(recipe: Pretrain, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, with a mask token where tokens are hidden."""
    return with_mask(tokenizer)[0] if recipe.objective == "masked" else tokenizer


def check_sight(recipe: Pretrain, config: ModelConfig) -> None:
    """An encoder finds hidden tokens, a decoder the next one."""
    if (recipe.objective == "masked") == config.causal:
        sees, wanted = ("what came before", "causal") if config.causal else ("both sides", "masked")
        what = f"the model sees {sees}, and the objective is {recipe.objective}"
        raise UserError(what, where="recipe: objective", remedy=f"Use --objective {wanted}")


def fast_embedding(settings: TrainSettings) -> TrainSettings:
    """The settings for a new model: its embedding learns eight times as fast (LOG.md), unless the recipe says else.

    One that is trained on has learned, and a tied one also writes: at eight times the rate SmolLM2 grew worse.
    """
    if settings.optimizer.embedding_scale is not None:
        return settings
    return replace(settings, optimizer=replace(settings.optimizer, embedding_scale=EMBEDDING_SCALE))


def batches(
    recipe: Pretrain, data: Tokens | Mixture, replay: Tokens | Mixture | None, tokenizer: Tokenizer, tokens: int
) -> Source:
    """Rows in the recipe's order, masked where that is what is learned; ``tokens`` is the length of the run."""
    rows: dict[str, Any] = {"batch_size": recipe.rows, "length": recipe.length, "pad_id": tokenizer.pad_id}
    rows |= {"seed": recipe.seed, "packing": recipe.packing}
    if replay is not None:
        found = continuing.batches(data, replay, recipe.replay_share, **rows)
    else:
        found = data.batches(**rows, curriculum=recipe.curriculum, run_tokens=tokens)
    if recipe.objective != "masked":
        return found
    return MaskedBatches(found, Masker(tokenizer, recipe.masking, derive(recipe.seed, "masking")))


def objective(recipe: Pretrain, model: Transformer) -> Objective:
    """The loss, and on the model the heads that it needs; `danlu.recipes.training.train` takes them off."""
    if recipe.objective == "masked":
        return Masked(recipe.z_loss)
    if recipe.predict_ahead.tokens:
        attach(model, recipe.predict_ahead.tokens, recipe.seed)
        return NextTokens(recipe.predict_ahead.weight, recipe.z_loss)
    return NextToken(recipe.z_loss)


def measure(
    draft: Draft, recipe: Pretrain, data: Tokens | Mixture, replay: Tokens | Mixture | None, tokenizer: Tokenizer
) -> Measure:
    """How well held-out text is known: bits per byte, or the loss of what is hidden in it."""
    if recipe.objective == "masked":
        return _measure_hidden(draft, recipe, data, tokenizer)
    return continuing.measure(draft, recipe, data, replay, tokenizer.pad_id)


def _measure_hidden(draft: Draft, recipe: Pretrain, data: Tokens | Mixture, tokenizer: Tokenizer) -> Measure:
    """The loss of hidden tokens of held-out text, about ``evaluation_bytes`` of it; noted in the draft's metrics."""
    masker = Masker(tokenizer, recipe.masking, derive(recipe.seed, "held out"))
    rows = max(recipe.evaluation_bytes // (4 * recipe.length), 1)  # a token is about four bytes

    def measure(model: Transformer) -> list[dict[str, object]]:
        nats = weight = 0.0
        loss, dealt = Masked(), 0
        for shards in data.held_out:
            shape: dict[str, Any] = {"batch_size": 8, "length": recipe.length, "pad_id": tokenizer.pad_id}
            for batch in sequential(ShardItems(shards), **shape, split=True):
                if dealt >= rows:
                    break
                batch = masker(batch, dealt)
                dealt += len(batch)
                moved = batch.to(model.embed.weight.device)
                nats += float(loss(model, moved)[0])
                weight += loss.weight(moved)
        draft.metrics["hidden_loss"] = nats / max(weight, 1.0)
        return [{"loss": draft.metrics["hidden_loss"]}]

    return measure
