"""A base model and conversations → a chat model. The objective is next_token; the mask is the renderer's.

    danlu sft --model runs/smollm2 --chats chats.jsonl --method lora

trains low-rank changes beside the frozen model, and leaves an adapter: a PEFT directory of a few megabytes. The other
methods that leave one are adapter, prefix, prompt, ptuning and ia3.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.base.progress import count, say
from danlu.base.recipe import UNCHANGING
from danlu.model.adapters.method_settings import Bottleneck, Ia3, Prefix, Prompt, Ptuning
from danlu.model.adapters.quantization import Quantization
from danlu.model.adapters.settings import Freeze, Lora
from danlu.recipes.common import Training, share
from danlu.recipes.methods import LEAVES_A_MODEL, RATES, Method, check_keys, method_settings, rounding, with_room, words
from danlu.tokens.templates import Learn, TemplateName
from danlu.train.settings import OptimizerSettings, ScheduleSettings, TrainSettings

STAGE = "sft"


@dataclass(frozen=True, kw_only=True)
class Sft(Training):
    """Fine-tune a model on conversations; all answers of a conversation are learned in one pass."""

    model: Path = field(metadata=UNCHANGING)
    """A model directory; an adapter's is merged into its base, to be trained on."""
    chats: tuple[str, ...]
    """JSON, JSONL, Parquet, CSV or TSV files of conversations or texts, folders of them, what datasets saved,
    datasets:NAME[:SPLIT], or package:NAME."""
    out: Path = field(default=Path("runs/sft"), metadata=UNCHANGING)
    """The directory to write."""
    method: Method = "full"
    """full trains every weight and freeze some of them, and leave a model; the others leave an adapter: lora (low-rank
    changes), qlora (the same, beside a model in four bits), adapter (bottlenecks), prefix (keys and values before a
    document), prompt and ptuning (embeddings before it), ia3 (scales)."""
    freeze: Freeze = Freeze()
    """With --method freeze: what learns."""
    lora: Lora = Lora()
    """With --method lora or qlora: what it trains."""
    quantization: Quantization = Quantization()
    """With --method qlora: how the model is kept."""
    adapter: Bottleneck = Bottleneck()
    """With --method adapter: where the bottlenecks stand, and how wide they are."""
    prefix: Prefix = Prefix()
    """With --method prefix: how long it is, and what it begins as."""
    prompt: Prompt = Prompt()
    """With --method prompt: how many virtual tokens, and what they begin as."""
    ptuning: Ptuning = Ptuning()
    """With --method ptuning: how many virtual tokens, and what makes them."""
    ia3: Ia3 = Ia3()
    """With --method ia3: the layers that are scaled."""
    most_per_source: int = 0
    """At most so many conversations of each file, folder or package, taken evenly; 0 takes all."""
    epochs: float = 3.0
    """Passes over the conversations."""
    length: int = 512
    """Tokens of a packed row; longer conversations are cut at whole turns."""
    batch_tokens: int = 4_096
    """Tokens of a step."""
    template: TemplateName = "own"
    """The chat template: the model's own, or one by name, which the result then has."""
    learn: Learn = "all"
    """Of several turns: all answers in one pass, each in an item of its own (slower, the same gradient), or the
    last."""
    held_out_share: float = 0.05
    """The share of conversations held out, at least one; near-duplicate first questions stay on one side."""
    test_share: float = 0.0
    """The share of conversations kept for one measurement at the end, written as test.jsonl."""
    test: tuple[str, ...] = ()
    """Files of conversations for that measurement instead; refused where they ask what the training data ask."""
    bad_share: float = 0.01
    """The share of a file's records that may be unreadable; beyond it the run stops."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How gradients become updates; unset, lr is the method's, and weight_decay 0."""
    schedule: ScheduleSettings = ScheduleSettings(warmup=0.05, decay=0.95)
    """The learning rate over the run."""
    evaluations: int = 3
    """How often to measure and sample on the way."""
    prompts: tuple[str, ...] = ("Hello", "What does os.path.join do?", "你好", "你是谁？")
    """Answered at every measurement."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.chats:
            raise UserError("needs at least one file or package:NAME", where="recipe: chats")
        if self.epochs <= 0 or self.most_per_source < 0:
            raise UserError("needs epochs above 0, and most_per_source not negative")
        check_keys(self)
        for key in ("held_out_share", "test_share"):
            share(getattr(self, key), key)
        if self.held_out_share + self.test_share >= 1:
            raise UserError("held_out_share and test_share leave nothing to train on", where="recipe: test_share")
        if self.test and self.test_share:
            raise UserError("test and test_share are two ways to the same test", where="recipe", remedy="Give one")
        if self.length < 2 or self.batch_tokens < self.length:
            raise UserError(f"batch_tokens {self.batch_tokens} must hold at least one row of {self.length}")

    @property
    def rows(self) -> int:
        """Packed rows of a step."""
        return self.batch_tokens // self.length

    def settings(self, steps: int) -> TrainSettings:
        """With the method's learning rate and no decay, where none is given."""
        optimizer = self.optimizer.filled(lr=RATES[self.method], weight_decay=0.0)
        return dataclasses.replace(super().settings(steps), optimizer=optimizer)


def sources(recipe: Sft) -> dict[str, Path]:
    """What the stage reads from disk."""
    from danlu.recipes.chats import paths_of

    return {"model": recipe.model, **paths_of(recipe.chats), **paths_of(recipe.test)}


def run(recipe: Sft, *, fresh: bool = False) -> Artifact:
    """Train, and leave a Hugging Face directory, or an adapter's, and the held-out conversations."""
    from danlu.model.adapters.files import attach
    from danlu.model.adapters.partial import freeze
    from danlu.model.hub import load_model, read_config
    from danlu.objectives.next_token import NextToken
    from danlu.recipes.dialogues import dialogues, measured_once
    from danlu.recipes.training import check_length, check_vocabulary, held_out_loss, prepare, tokenizer_home, train
    from danlu.tokens.batches import PackedBatches
    from danlu.tokens.chat import check_template, render
    from danlu.tokens.fitting import fitted
    from danlu.tokens.pack import ListItems
    from danlu.tokens.tokenizer import Tokenizer

    config = read_config(recipe.model)
    check_length(recipe.length, with_room(recipe, config))
    own = Tokenizer.load(tokenizer_home(recipe.model))
    tokenizer = fitted(own, recipe.template, config.vocab_size, learned=recipe.method == "full")
    check_template(tokenizer)
    data = dialogues(recipe, tokenizer)
    steps = max(math.ceil(recipe.epochs * data.tokens / (recipe.rows * recipe.length)), 1)
    settings = recipe.settings(steps)
    batches = PackedBatches(
        ListItems(data.training.items),
        batch_size=recipe.rows,
        length=recipe.length,
        pad_id=tokenizer.pad_id,
        seed=recipe.seed,
        split=False,
    )
    model = load_model(recipe.model)
    check_vocabulary(model, tokenizer, recipe.model)
    adapter = None
    if recipe.method not in LEAVES_A_MODEL:
        how = (words(recipe, tokenizer), rounding(recipe))
        adapter = attach(model, method_settings(recipe), recipe.model, recipe.seed, *how)
    learning = freeze(model, recipe.freeze) if recipe.method == "freeze" else []
    draft = artifact.begin(recipe.out, STAGE, recipe, sources(recipe), fresh=fresh)
    machine = prepare(draft, recipe.device, recipe.precision, recipe.seed)
    data.write(draft)
    rate = settings.optimizer.value("lr")
    source = f", that of --method {recipe.method}" if recipe.optimizer.lr is None else ""
    say(f"  {data.training.kept} conversations, {data.held_out.kept} held out; {settings.length}")
    say(f"  learning rate {rate:g}{source}")
    if learning:
        numbers = [sum(p.numel() for p in model.parameters() if p.requires_grad is on) for on in (True, False)]
        say(f"  {len(learning)} tensors of {count(numbers[0])} numbers learn, {count(numbers[1])} are frozen")
    prompts = [
        render(tokenizer, [{"role": "user", "content": prompt}], add_generation_prompt=True).ids
        for prompt in recipe.prompts
    ]
    draft.metrics |= {"learning_rate": rate, **data.metrics}
    measure = held_out_loss(draft, data.held_out.items, tokenizer, recipe.length)
    at_end = measured_once(draft, data, tokenizer, recipe.length)
    moved = model.to(machine.device)
    rest = (NextToken(), batches, settings, machine)
    return train(draft, moved, tokenizer, *rest, measure=measure, prompts=prompts, adapter=adapter, at_end=at_end)
