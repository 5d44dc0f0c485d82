"""Token shards → a language model."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.progress import count, say
from danlu.base.recipe import UNCHANGING
from danlu.model.config import Activation, ModelConfig, Norm, Position
from danlu.recipes.common import Training
from danlu.recipes.sizes import parse_count, sized
from danlu.train.settings import OptimizerSettings

STAGE = "pretrain"


@dataclass(frozen=True)
class Shape:
    """Overrides of what the size derives; unset values follow from it."""

    layers: int | None = None
    """Transformer blocks."""
    width: int | None = None
    """Size of the residual stream."""
    heads: int | None = None
    """Query heads."""
    kv_heads: int | None = None
    """Key and value heads: as many as query heads is MHA, 1 is MQA, between is GQA."""
    head_width: int | None = None
    """Size of one head."""
    feedforward: int | None = None
    """Hidden size of the feed-forward layer."""
    activation: Activation | None = None
    """swiglu, gelu or relu2."""
    norm: Norm | None = None
    """rmsnorm or layernorm."""
    norm_epsilon: float | None = None
    """Added under the root of the norm."""
    positions: Position | None = None
    """rope, alibi, learned or sinusoidal."""
    rope_theta: float | None = None
    """Base of RoPE's frequencies."""
    tied: bool | None = None
    """Share the embedding with the output layer."""
    bias: bool | None = None
    """Biases in the blocks' linear layers."""

    def apply(self, config: ModelConfig) -> ModelConfig:
        """``config`` with the values that are set; unset heads follow the width."""
        given = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        if "width" in given and "heads" not in given:
            given["heads"] = max(given["width"] // given.get("head_width", config.head_width), 1)
        if "heads" in given and "kv_heads" not in given:
            given["kv_heads"] = given["heads"]
        if "width" in given and "feedforward" not in given:
            given["feedforward"] = -(-8 * given["width"] // 3 // 64) * 64
        return dataclasses.replace(config, **given)


@dataclass(frozen=True, kw_only=True)
class Pretrain(Training):
    """Train a language model from scratch on token shards."""

    data: Path = field(metadata=UNCHANGING)
    """Token shards: what `danlu tokenize` or, of several sources, `danlu mix` wrote."""
    out: Path = field(default=Path("runs/pretrain"), metadata=UNCHANGING)
    """The directory to write."""
    size: str = "10M"
    """About how many parameters; depth, width and the rest follow."""
    shape: Shape = Shape()
    """Overrides of the derived shape."""
    length: int = 512
    """Tokens of a training sequence, and the longest the model will take."""
    tokens: str = "0"
    """Tokens to train on, such as 20M; 0 is one epoch, or what a mixture was planned for."""
    batch_tokens: int = 8_192
    """Tokens of a step."""
    optimizer: OptimizerSettings = OptimizerSettings(lr=8e-3, embedding_scale=8.0)
    """How gradients become updates."""
    evaluation_bytes: int = 60_000
    """Held-out text read for each source and measurement on the way; the end reads all of it."""
    prompts: tuple[str, ...] = ("The function returns", "却说")
    """Continued at every measurement, to see how it learns to write."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 2 or self.batch_tokens < self.length:
            raise UserError(f"batch_tokens {self.batch_tokens} must hold at least one sequence of {self.length}")
        if self.tokens != "0":
            parse_count(self.tokens, "tokens")
        parse_count(self.size)

    @property
    def rows(self) -> int:
        """Sequences of a step."""
        return self.batch_tokens // self.length

    def steps(self, epoch_tokens: int) -> int:
        """Of the run, once the size of an epoch is known."""
        wanted = epoch_tokens if self.tokens == "0" else parse_count(self.tokens, "tokens")
        return max(wanted // (self.rows * self.length), 1)


def sources(recipe: Pretrain) -> dict[str, Path]:
    """What the stage reads."""
    return {"data": recipe.data}


def run(recipe: Pretrain, *, fresh: bool = False) -> Artifact:
    """Train, and leave a Hugging Face directory with ``metrics.jsonl`` and ``samples.jsonl``."""
    from danlu.evaluate.perplexity import Fit, by_source, total
    from danlu.model.transformer import Transformer
    from danlu.objectives.next_token import NextToken
    from danlu.recipes.mix import open_training
    from danlu.recipes.training import check_vocabulary, prepare, train
    from danlu.tokens.tokenizer import Tokenizer

    data = open_training(recipe.data)
    tokenizer = Tokenizer.load(recipe.data / "tokenizer")
    config = recipe.shape.apply(sized(recipe.size, tokenizer.vocab_size, recipe.length))
    settings = recipe.settings(recipe.steps(data.tokens))
    data.check(settings.steps * recipe.rows * recipe.length)
    batches = data.batches(batch_size=recipe.rows, length=recipe.length, pad_id=tokenizer.pad_id, seed=recipe.seed)
    draft = artifact.begin(recipe.out, STAGE, recipe, sources(recipe), fresh=fresh)
    machine = prepare(draft, recipe.device, recipe.precision, recipe.seed)
    model = Transformer(config, recipe.seed).to(machine.device)
    check_vocabulary(model, tokenizer, recipe.data)
    say(f"  {describe(config)}; {count(settings.steps * recipe.rows * recipe.length)} tokens in {settings.steps} steps")

    def measure(model: Transformer) -> list[dict[str, object]]:
        fits: dict[str, Fit] = {}
        for shards in data.held_out:  # several, where the data is a mixture
            found = by_source(model, shards, pad_id=tokenizer.pad_id, most_bytes=recipe.evaluation_bytes)
            fits |= {source: fits.get(source, Fit(0.0, 0, 0)) + fit for source, fit in found.items()}
        overall = total(fits)
        draft.metrics["bits_per_byte"] = overall.bits_per_byte
        each = {f"bits_per_byte/{source}": fit.bits_per_byte for source, fit in fits.items()}
        return [{"bits_per_byte": overall.bits_per_byte, "loss": overall.loss, **each}]

    prompts = [[tokenizer.bos_id, *tokenizer.encode(prompt)] for prompt in recipe.prompts]
    return train(draft, model, tokenizer, NextToken(), batches, settings, machine, measure=measure, prompts=prompts)


def describe(config: ModelConfig) -> str:
    """One line on a shape."""
    grouped = "" if config.kv_heads == config.heads else f" ({config.kv_heads} for keys and values)"
    return (
        f"{count(config.parameters())} parameters: {config.layers} layers, width {config.width}, "
        f"{config.heads} heads{grouped}, {config.activation} {config.feedforward}, {config.positions}, {config.norm}, "
        f"vocabulary {config.vocab_size}, length {config.max_length}"
    )
