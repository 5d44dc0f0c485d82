"""A base model and conversations → a chat model. The objective is next_token; the mask is the renderer's.

    danlu sft --model runs/smollm2 --chats chats.jsonl --method lora

trains low-rank changes beside the frozen model, and leaves an adapter: a PEFT directory of a few megabytes. The other
methods that leave one are adapter, prefix, prompt, ptuning and ia3. ``--auto`` derives what is not given from the data,
the model and the method, and ``--find-lr`` measures a learning rate.
"""

import dataclasses
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
from danlu.plan.scaling import describe
from danlu.recipes import auto, finding, regular
from danlu.recipes.common import share
from danlu.recipes.methods import LEAVES_A_MODEL, RATES, Method, check_keys, method_settings, rounding, with_room, words
from danlu.recipes.regular import Regular
from danlu.tokens.templates import Learn, TemplateName
from danlu.train.settings import OptimizerSettings, ScheduleSettings, TrainSettings

STAGE = "sft"


@dataclass(frozen=True, kw_only=True)
class Sft(Regular):
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
    auto: bool = False
    """Derive epochs, length, batch_tokens and the warm-up, where they are not given, from data, model and method."""
    find_lr: bool = False
    """Instead of training, raise the learning rate for a hundred steps and suggest one; written beside, in OUT-lr."""
    most_per_source: int = 0
    """At most so many conversations of each file, folder or package, taken evenly; 0 takes all."""
    epochs: float = 0.0
    """Passes over the conversations; 0 is 3, or what --auto derives."""
    length: int = 0
    """Tokens of a packed row; longer conversations are cut at whole turns. 0 is 512, or what --auto derives."""
    batch_tokens: int = 0
    """Tokens of a step; 0 is 4,096, or what --auto derives."""
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
    """How gradients become updates; unset, lr follows from the method and the model's size, and weight_decay is 0."""
    schedule: ScheduleSettings = ScheduleSettings(decay=0.95)
    """The learning rate over the run."""
    evaluations: int = 3
    """How often to measure and sample on the way."""
    prompts: tuple[str, ...] = ("Hello", "What does os.path.join do?", "你好", "你是谁？")
    """Answered at every measurement."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.chats:
            raise UserError("needs at least one file or package:NAME", where="recipe: chats")
        if self.epochs < 0 or self.most_per_source < 0:
            raise UserError("epochs and most_per_source must not be negative")
        check_keys(self)
        for key in ("held_out_share", "test_share"):
            share(getattr(self, key), key)
        if self.held_out_share + self.test_share >= 1:
            raise UserError("held_out_share and test_share leave nothing to train on", where="recipe: test_share")
        if self.test and self.test_share:
            raise UserError("test and test_share are two ways to the same test", where="recipe", remedy="Give one")
        if self.length < 0 or self.length == 1 or 0 < self.batch_tokens < self.length or self.batch_tokens < 0:
            raise UserError(f"batch_tokens {self.batch_tokens} must hold at least one row of {self.length}")

    @property
    def rows(self) -> int:
        """Packed rows of a step, once its numbers are settled (`danlu.recipes.auto`)."""
        return self.batch_tokens // self.length

    @property
    def place(self) -> Path:
        """Where this run writes: a range test beside the run that it prepares."""
        return self.out.with_name(f"{self.out.name}-{finding.STAGE}") if self.find_lr else self.out

    @property
    def stage(self) -> str:
        """What it is: a range test leaves no model."""
        return finding.STAGE if self.find_lr else STAGE

    def settings(self, steps: int) -> TrainSettings:
        """With the method's learning rate and no decay, where none is given."""
        optimizer = self.optimizer.filled(lr=RATES[self.method], weight_decay=0.0)
        told = dataclasses.replace(super().settings(steps), optimizer=optimizer)
        return finding.settings(told, self.optimizer.lr) if self.find_lr else told


def sources(recipe: Sft) -> dict[str, Path]:
    """What the stage reads from disk."""
    from danlu.recipes.chats import paths_of

    return {"model": recipe.model, **paths_of(recipe.chats), **paths_of(recipe.test), **regular.sources(recipe)}


def run(recipe: Sft, *, fresh: bool = False) -> Artifact:
    """Train, and leave a Hugging Face directory, or an adapter's, and the held-out conversations."""
    from danlu.model.adapters.files import attach
    from danlu.model.adapters.partial import freeze
    from danlu.model.hub import load_model, read_config
    from danlu.recipes.dialogues import dialogues, measured_once
    from danlu.recipes.general import tell
    from danlu.recipes.training import check_length, check_vocabulary, held_out_loss, prepare, tokenizer_home, train
    from danlu.tokens.chat import check_template, render
    from danlu.tokens.fitting import fitted
    from danlu.tokens.pack import ListItems
    from danlu.tokens.tokenizer import Tokenizer

    config, own = read_config(recipe.model), Tokenizer.load(tokenizer_home(recipe.model))
    tokenizer = fitted(own, recipe.template, config.vocab_size, learned=recipe.method == "full")
    check_template(tokenizer)
    given = recipe
    recipe, derived = auto.settled(given, tokenizer, with_room(given, config))
    check_length(recipe.length, with_room(recipe, config))
    data = dialogues(recipe, tokenizer)
    settings = recipe.settings(auto.steps(recipe, data.tokens))
    shape = {"length": recipe.length, "rows": recipe.rows}
    batches = regular.batches(recipe, ListItems(data.training.items), tokenizer, **shape)
    model = load_model(recipe.model)
    check_vocabulary(model, tokenizer, recipe.model)
    adapter = None
    if recipe.method not in LEAVES_A_MODEL:
        how = (words(recipe, tokenizer), rounding(recipe))
        adapter = attach(model, method_settings(recipe), recipe.model, recipe.seed, *how)
    learning = freeze(model, recipe.freeze) if recipe.method == "freeze" else []
    objective = regular.objective(recipe, model)
    draft = artifact.begin(recipe.place, recipe.stage, given, sources(given), fresh=fresh)
    machine = prepare(draft, recipe.device, recipe.precision, recipe.seed)
    say(f"  {data.training.kept} conversations, {data.held_out.kept} held out; {settings.length}")
    for line in describe(derived):
        say(f"  {line}")
    if learning:
        numbers = [sum(p.numel() for p in model.parameters() if p.requires_grad is on) for on in (True, False)]
        say(f"  {len(learning)} tensors of {count(numbers[0])} numbers learn, {count(numbers[1])} are frozen")
    draft.metrics |= {"learning_rate": settings.optimizer.value("lr")}
    draft.metrics |= {"derived": {name: item.value for name, item in derived.items()}}
    draft.metrics |= data.metrics
    moved = model.to(machine.device)
    if recipe.find_lr:
        return finding.sweep(draft, moved, objective, batches, settings, machine)
    data.write(draft)
    prompts = [
        render(tokenizer, [{"role": "user", "content": prompt}], add_generation_prompt=True).ids
        for prompt in recipe.prompts
    ]
    measure = held_out_loss(draft, data.held_out.items, tokenizer, recipe.length)
    measure = regular.measured(recipe, draft, measure, tokenizer, recipe.length)
    at_end = measured_once(draft, data, tokenizer, recipe.length)
    rest = (objective, batches, settings, machine)
    made = train(draft, moved, tokenizer, *rest, measure=measure, prompts=prompts, adapter=adapter, at_end=at_end)
    tell(made.metrics)
    return made
