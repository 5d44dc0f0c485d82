"""A chat model and preference pairs → a chat model that prefers what people prefer."""

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.progress import say
from danlu.base.recipe import UNCHANGING
from danlu.recipes.common import Training, share
from danlu.train.settings import OptimizerSettings, ScheduleSettings, TrainSettings

STAGE = "dpo"


@dataclass(frozen=True, kw_only=True)
class Dpo(Training):
    """Direct preference optimisation; the model itself, as it was, is the reference."""

    model: Path = field(metadata=UNCHANGING)
    """A chat model's directory."""
    preferences: tuple[str, ...] = field(metadata=UNCHANGING)
    """Files of pairs (prompt, chosen, rejected), folders of them, or what the preferences stage wrote."""
    out: Path = field(default=Path("runs/dpo"), metadata=UNCHANGING)
    """The directory to write."""
    beta: float = 0.1
    """How strongly the model is held to the reference: larger is closer."""
    smoothing: float = 0.0
    """The share of pairs believed to be labelled the wrong way round."""
    anchor: float = 0.0
    """Weight of a next-token term on the chosen answers, which keeps their probability from falling."""
    epochs: float = 1.0
    """Passes over the pairs."""
    batch_pairs: int = 16
    """Pairs of a step."""
    length: int = 512
    """Longest conversation, in tokens; longer pairs are left out."""
    held_out_share: float = 0.1
    """The share of prompts held out, where the data do not come with a held-out file."""
    bad_share: float = 0.01
    """The share of a file's records that may be unreadable; beyond it the run stops."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How gradients become updates; unset, lr is 1e-4 and weight_decay 0."""
    schedule: ScheduleSettings = ScheduleSettings(warmup=0.1, decay=0.9)
    """The learning rate over the run."""
    checkpoint_every: int = 20
    """Steps between checkpoints."""
    evaluations: int = 3
    """How often to measure and sample on the way."""
    prompts: tuple[str, ...] = ("Hello", "What does os.path.join do?", "你好", "你是谁？")
    """Answered at every measurement."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.preferences:
            raise UserError("needs at least one file of pairs", where="recipe: preferences")
        if self.beta <= 0 or not 0 <= self.smoothing < 0.5 or self.anchor < 0:
            raise UserError("needs beta above 0, smoothing between 0 and 0.5, anchor not negative")
        if self.epochs <= 0 or self.batch_pairs < 1:
            raise UserError("needs epochs above 0, and batch_pairs of at least 1")
        share(self.held_out_share, "held_out_share")

    def settings(self, steps: int) -> TrainSettings:
        """With a small learning rate and no decay, where none is given."""
        return replace(super().settings(steps), optimizer=self.optimizer.filled(lr=1e-4, weight_decay=0.0))


def sources(recipe: Dpo) -> dict[str, Path]:
    """What the stage reads from disk."""
    from danlu.recipes.chats import paths_of

    return {"model": recipe.model, **paths_of(recipe.preferences)}


def run(recipe: Dpo, *, fresh: bool = False) -> Artifact:
    """Train, and leave a Hugging Face directory and the held-out pairs."""
    from danlu.evaluate.preference import preference
    from danlu.model.hub import load_model, read_config
    from danlu.model.transformer import Transformer
    from danlu.objectives.dpo import DPO
    from danlu.recipes.chats import HELD_OUT, preference_sides, render_pairs, write_records
    from danlu.recipes.training import check_length, check_vocabulary, prepare, train
    from danlu.tokens.batches import PairBatches
    from danlu.tokens.chat import render
    from danlu.tokens.tokenizer import Tokenizer

    check_length(recipe.length, read_config(recipe.model))
    tokenizer = Tokenizer.load(recipe.model)
    kept, out = preference_sides(recipe.preferences, recipe.bad_share, recipe.held_out_share, recipe.seed)
    pairs, held_out = (render_pairs(side, tokenizer, recipe.length) for side in (kept, out))
    settings = recipe.settings(max(math.ceil(recipe.epochs * len(pairs) / recipe.batch_pairs), 1))
    batches = PairBatches(
        pairs, batch_size=recipe.batch_pairs, length=recipe.length, pad_id=tokenizer.pad_id, seed=recipe.seed
    )
    model = load_model(recipe.model)
    check_vocabulary(model, tokenizer, recipe.model)
    draft = artifact.begin(recipe.out, STAGE, recipe, sources(recipe), fresh=fresh)
    machine = prepare(draft, recipe.device, recipe.precision, recipe.seed)
    write_records(recipe.out / HELD_OUT, out)
    say(f"  {len(pairs)} pairs, {len(held_out)} held out; {settings.length}")
    moved = model.to(machine.device)
    objective = DPO(moved, beta=recipe.beta, smoothing=recipe.smoothing, anchor=recipe.anchor)

    def measure(model: Transformer) -> list[dict[str, object]]:
        if not held_out:
            return []
        found = preference(model, objective.reference, held_out, beta=recipe.beta, pad_id=tokenizer.pad_id)
        draft.metrics["preference"] = asdict(found)
        return [{"loss" if key == "loss" else f"held_out_{key}": value for key, value in asdict(found).items()}]

    asked = [[{"role": "user", "content": prompt}] for prompt in recipe.prompts]
    prompts = [render(tokenizer, turns, add_generation_prompt=True).ids for turns in asked]
    return train(draft, moved, tokenizer, objective, batches, settings, machine, measure=measure, prompts=prompts)
