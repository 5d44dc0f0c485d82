"""Token shards → a language model, new or trained on.

    danlu pretrain --data runs/tokens --size 30M
    danlu pretrain --from runs/smollm2-zh --data runs/tokens-zh --replay runs/tokens-en --tokens 20M

The second trains a model on (`danlu.recipes.continuing`): after an extension of its vocabulary the
new rows learn first, then the embeddings, then everything.
"""

from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.progress import count, say
from danlu.base.recipe import UNCHANGING
from danlu.model.config import ModelConfig
from danlu.model.kinds import Experts, StateSpace
from danlu.objectives.settings import Masking, ObjectiveName, PredictAhead, check_z_loss
from danlu.recipes.common import Training
from danlu.recipes.shape import Shape
from danlu.recipes.shapes import preset
from danlu.recipes.sizes import parse_count
from danlu.tokens.curriculum import Curriculum, Packing
from danlu.train.settings import OptimizerSettings, TrainSettings

STAGE = "pretrain"
SIZE, REWARM, REPLAY_SHARE = "10M", 0.1, 0.25
PIECE = 16_384  # tokens whose activations are in memory together
SAID = {
    *("vocab_size", "layers", "width", "heads", "kv_heads", "head_width", "feedforward", "max_length"),
    *("activation", "norm", "positions", "tied"),
}  # what `describe` says of any shape


@dataclass(frozen=True)
class Stages:
    """Shares of the steps in which only a part of a model that is trained on learns; in what they leave, all does."""

    new_rows: float | None = None
    """Only the rows of new tokens; unset is 0.1, or 0 where there are none."""
    embeddings: float | None = None
    """Only the input and output embedding; unset is 0.1, or 0 where no row is new."""

    def __post_init__(self) -> None:
        shares = [value for value in (self.new_rows, self.embeddings) if value is not None]
        if any(not 0 <= value <= 1 for value in shares) or sum(shares) > 1:
            raise UserError("new_rows and embeddings are shares: between 0 and 1, together at most 1")


@dataclass(frozen=True, kw_only=True)
class Pretrain(Training):
    """Train a language model on token shards: a new one, or with --from one that there is."""

    data: Path = field(metadata=UNCHANGING)
    """Token shards: what `danlu tokenize` or, of several sources, `danlu mix` wrote."""
    out: Path = field(default=Path("runs/pretrain"), metadata=UNCHANGING)
    """The directory to write."""
    from_model: Annotated[Path | None, tyro.conf.arg(name="from")] = field(default=None, metadata=UNCHANGING)
    """A model directory to train on, with its tokenizer; its shape is its own."""
    size: str | None = None
    """About how many parameters, 10M if unset; depth, width and the rest follow."""
    preset: str | None = None
    """In place of size a shape that people know by name, such as gpt2-124m; those of `danlu.recipes.shapes`."""
    shape: Shape = Shape()
    """Overrides of the shape."""
    new_rows_from: int | None = None
    """With --from: the first id that is new; unset is what 'danlu tokenizer extend' noted."""
    stages: Stages = Stages()
    """With --from: what learns first."""
    rewarm: float = REWARM
    """With --from: the learning rate rises, at the start of each stage, to this share of optimizer.lr."""
    replay: Path | None = field(default=None, metadata=UNCHANGING)
    """With --from: token shards or a mixture of the old language, made with the same tokenizer, to be read again."""
    replay_share: float = REPLAY_SHARE
    """The share of the tokens that replay makes up."""
    length: int = 512
    """Tokens of a training sequence, and the longest the model will take."""
    tokens: str | None = None
    """Tokens to train on, such as 20M; 0 is an epoch. Unset: 20 a weight, at most 4 epochs, or what a mixture plans."""
    batch_tokens: int | None = None
    """Tokens of a step; unset follows from the size and the tokens."""
    micro_batches: int = 0
    """Cut each batch to save memory; the update is the same. 0 is pieces of at most 16,384 tokens."""
    objective: ObjectiveName = "causal"
    """causal: the next token; masked: hidden tokens, from both sides, which makes an encoder."""
    masking: Masking = Masking()
    """Which tokens are hidden, with --objective masked."""
    predict_ahead: PredictAhead = PredictAhead()
    """Tokens after the next one to predict too, in training only."""
    z_loss: float = 0.0
    """Coefficient of the square of the softmax's normaliser; PaLM used 1e-4."""
    packing: Packing = "concat"
    """concat cuts documents where a row ends; best_fit puts together what fits, and pads the rest."""
    curriculum: Curriculum = Curriculum()
    """Which documents come first."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How gradients become updates; unset, lr, weight_decay and beta2 follow from size, tokens and batch."""
    evaluation_bytes: int = 60_000
    """Held-out text read for each source and measurement on the way; the end reads all of it."""
    prompts: tuple[str, ...] = ("The function returns", "却说")
    """Continued at every measurement, to see how it learns to write."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 2 or (self.batch_tokens is not None and self.batch_tokens < self.length):
            raise UserError(f"batch_tokens {self.batch_tokens} must hold at least one sequence of {self.length}")
        if self.tokens not in (None, "0"):
            parse_count(str(self.tokens), "tokens")
        parse_count(self.about)
        if self.preset is not None:
            preset(self.preset)
            if self.size is not None:
                raise UserError("size and preset both say what to train", where="recipe", remedy="Give one of them")
        self._check_continuing()
        self._check_objective()

    def _check_objective(self) -> None:
        """What one objective has no use for is refused."""
        check_z_loss(self.z_loss)
        if self.objective == "causal" and self.masking != Masking():
            raise UserError("nothing is masked", where="recipe: masking", remedy="Use --objective masked")
        if self.objective == "masked":
            for key, value in (("predict_ahead", PredictAhead()), ("prompts", type(self).prompts)):
                if getattr(self, key) != value:
                    raise UserError("an encoder does not write", where=f"recipe: {key}", remedy="Leave it out")
        if self.curriculum.by != "none" and self.replay is not None:
            what = "what is replayed is mixed in from the start"
            raise UserError(what, where="recipe: curriculum", remedy="Leave out one of curriculum and replay")

    def _check_continuing(self) -> None:
        """Keys that say nothing together are refused, never ignored."""
        if self.from_model is None:
            unset: dict[str, Any] = {"new_rows_from": None, "stages": Stages(), "rewarm": REWARM, "replay": None}
            what, remedy = "only a model that there is can be trained on", "Give --from"
        else:
            unset = {"size": None, "preset": None, "shape": Shape()}
            what, remedy = f"the model at {self.from_model} has its own", "Leave it out, or --from"
        if self.from_model is not None and self.seconds:
            what, remedy = "what learns first does so for a share of the steps", "Give --steps or --tokens"
            raise UserError(what, where="recipe: seconds", remedy=remedy)
        for key, value in unset.items():
            if getattr(self, key) != value:
                more = "; to read several sources, run 'danlu mix'" if key == "replay" else ""
                raise UserError(what, where=f"recipe: {key}", remedy=f"{remedy}{more}")
        for path in (self.from_model, self.replay):
            if path is not None and path.resolve() == self.out.resolve():
                raise UserError("is also read from", where=f"recipe: out {self.out}", remedy="Choose another --out")
        if self.rewarm <= 0:
            raise UserError(f"must be above 0, found {self.rewarm}", where="recipe: rewarm")
        if not 0 < self.replay_share < 1:
            raise UserError(f"must be above 0 and below 1, found {self.replay_share}", where="recipe: replay_share")
        if self.replay is None and self.replay_share != REPLAY_SHARE:
            raise UserError("there is nothing to replay", where="recipe: replay_share", remedy="Give --replay")

    @property
    def about(self) -> str:
        """The size of a new model."""
        return SIZE if self.size is None else self.size

    @property
    def rows(self) -> int:
        """Sequences of a step, once its tokens are settled (`danlu.recipes.deriving`)."""
        assert self.batch_tokens is not None
        return self.batch_tokens // self.length

    def steps_of(self, tokens: int) -> int:
        """Of a run over so many tokens; 0 where the clock ends it."""
        if self.steps or self.seconds:
            return self.steps
        return max(tokens // (self.rows * self.length), 1)

    def settings(self, steps: int) -> TrainSettings:
        """With as many pieces of a batch as its tokens ask for, where their number is not given."""
        tokens = 0 if self.batch_tokens is None or self.update_in_backward else self.batch_tokens
        pieces = self.micro_batches or max(-(-tokens // PIECE), 1)
        return replace(super().settings(steps), micro_batches=pieces)


def sources(recipe: Pretrain) -> dict[str, Path]:
    """What the stage reads."""
    found = {"data": recipe.data, "from": recipe.from_model, "replay": recipe.replay}
    return {name: path for name, path in found.items() if path is not None}


def run(recipe: Pretrain, *, fresh: bool = False) -> Artifact:
    """Train, and leave a Hugging Face directory with ``metrics.jsonl`` and ``samples.jsonl``."""
    from danlu.model.hub import load_model, read_config
    from danlu.model.transformer import Transformer
    from danlu.plan.scaling import describe as sourced
    from danlu.recipes import continuing, deriving, learning
    from danlu.recipes.mix import open_training
    from danlu.recipes.training import check_vocabulary, prepare, train
    from danlu.tokens.mixture import Mixture
    from danlu.tokens.tokenizer import Tokenizer

    data = open_training(recipe.data)
    replay = None if recipe.replay is None else open_training(recipe.replay)
    tokenizer = Tokenizer.load(recipe.from_model or recipe.data / "tokenizer")
    if recipe.from_model is None:
        tokenizer = learning.prepared(recipe, tokenizer)
        config, shape = deriving.shaped(recipe, tokenizer.vocab_size)
    else:
        for path in (recipe.data, *([recipe.replay] if recipe.replay else [])):
            continuing.same_tokenizer(tokenizer, recipe.from_model, path, partial(learning.prepared, recipe))
        tokenizer = learning.prepared(recipe, tokenizer)
        config, shape = read_config(recipe.from_model), {}
    given = recipe
    recipe, derived = deriving.settle(
        given, config, deriving.run_tokens(given, config, data.tokens, mixed=isinstance(data, Mixture))
    )
    steps = recipe.steps_of(int(derived["tokens"].value))
    if recipe.from_model is None:
        settings = learning.fast_embedding(recipe.settings(steps))
    else:
        settings = continuing.settings(recipe, config, steps)
    learning.check_sight(recipe, config)
    tokens = steps * recipe.rows * recipe.length
    continuing.check_budget(data, replay, recipe.replay_share, tokens)
    draft = artifact.begin(recipe.out, STAGE, given, sources(recipe), fresh=fresh)
    for line in sourced({**shape, **derived}):
        say(f"  {line}")
    draft.metrics["derived"] = {name: item.value for name, item in derived.items()}
    machine = prepare(draft, recipe.device, recipe.precision, recipe.seed)
    model = load_model(recipe.from_model) if recipe.from_model else Transformer(config, recipe.seed)
    check_vocabulary(model, tokenizer, recipe.from_model or recipe.data)
    read = continuing.describe_read(tokens, steps, replay, recipe.replay_share)
    say(f"  {describe(config)}; {read if steps else settings.length}")
    model = model.to(machine.device)
    batches = learning.batches(recipe, data, replay, tokenizer, tokens)
    objective = learning.objective(recipe, model)
    prompts = [[tokenizer.bos_id, *tokenizer.encode(prompt)] for prompt in recipe.prompts if config.causal]
    measure = learning.measure(draft, recipe, data, replay, tokenizer)
    made = train(draft, model, tokenizer, objective, batches, settings, machine, measure=measure, prompts=prompts)
    continuing.tell(made.metrics.get("change", {}))
    return made


def describe(config: ModelConfig) -> str:
    """One line on a shape, with every switch that is not as it is without being set."""
    grouped = "" if config.kv_heads == config.heads else f" ({config.kv_heads} for keys and values)"
    others = (f.name for f in fields(config) if f.name not in SAID and getattr(config, f.name) != f.default)
    return ", ".join(
        [
            f"{count(config.parameters())} parameters: {config.layers} layers",
            f"width {config.width}, {config.heads} heads{grouped}",
            f"{config.activation} {config.feedforward}, {config.positions}, {config.norm}",
            f"vocabulary {config.vocab_size}, length {config.max_length}",
            *(_switch(name, getattr(config, name)) for name in others),
        ]
    )


def _switch(name: str, value: Any) -> str:
    """A switch and what it is set to, in words."""
    if isinstance(value, Experts):
        return f"{value.per_token} of {value.count} experts a token"
    if isinstance(value, StateSpace):
        return f"Mamba-2 of state {value.state}"
    words = name.replace("_", " ")
    return f"{'' if value else 'not '}{words}" if isinstance(value, bool) else f"{words} {value}"
