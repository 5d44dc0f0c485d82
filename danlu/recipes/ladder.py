"""A row of small models → the loss of the next one, with an interval.

    danlu ladder --data runs/tokens --sizes 1M 2M 4M 8M --predict 16M --out runs/ladder
    danlu ladder --data runs/tokens --sizes 1M 2M 4M 8M --predict 16M --out runs/ladder --check

Each model is a run of `danlu pretrain` in a directory of its own, with tokens, batch and learning rate by the laws of
`danlu.plan.scaling`, and is left alone where it is up to date. ``law/`` holds what they say together: ``ladder.json``
and ``ladder.html``. The second command trains the size that the first only predicted, and says how far off it was.
"""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.device_names import DeviceName, Precision
from danlu.base.errors import UserError, require
from danlu.base.files import write_text
from danlu.base.progress import count, duration, say
from danlu.base.recipe import UNCHANGING, from_dict, to_dict
from danlu.model.config import ModelConfig
from danlu.plan.scaling import MOST_EPOCHS, TOKENS_PER_PARAMETER, Derived, describe, tokens
from danlu.recipes import pretrain
from danlu.recipes.deriving import settle
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.shape import Shape
from danlu.recipes.sizes import explain, parse_count, shape, sized

if TYPE_CHECKING:  # it needs torch, and --help does not wait for that
    from danlu.plan.ladder import Run
    from danlu.tokens.mixture import Mixture, Tokens

STAGE, LAW, NUMBERS = "ladder", "law", "ladder.json"
FEWEST = 3  # as many as the law has parameters
OWN = (
    "data",
    "out",
    "size",
    "preset",
    "tokens",
    "length",
    "seed",
    "device",
    "precision",
    "evaluation_bytes",
    "from_model",
)


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Train a row of small models, fit the law of their losses, and predict the next size's."""

    data: Path = field(metadata=UNCHANGING)
    """Token shards: what `danlu tokenize` or, of several sources, `danlu mix` wrote."""
    sizes: tuple[str, ...]
    """The models to train, smallest first, such as 1M 2M 4M 8M."""
    predict: str
    """The size to predict, larger than all of them."""
    out: Path = field(default=Path("runs/ladder"), metadata=UNCHANGING)
    """The directory that holds a directory for each model, and law/."""
    check: bool = False
    """Train the predicted size as well, and say how far off the prediction was."""
    tokens_per_parameter: tuple[float, ...] = (TOKENS_PER_PARAMETER,)
    """Tokens for each weight that multiplies; with several, each size is trained with each, and the first predicts."""
    seeds: int = 1
    """Runs of each size, with seeds from --seed on: what they differ by narrows or widens the interval."""
    max_epochs: float = field(default=MOST_EPOCHS, metadata=UNCHANGING)
    """Refuse to read the data more often: a law of repeated text says little of new text."""
    length: int = 512
    """Tokens of a training sequence."""
    evaluation_bytes: int = 1_000_000
    """Held-out text read for each source and model; 0 is all."""
    set: tuple[str, ...] = ()
    """Changes to every model's recipe, such as optimizer.name=adamw, shape.positions=alibi or batch_tokens=4096."""
    seed: int = 0
    """Of everything."""
    device: DeviceName = "auto"
    """auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """auto, fp32, bf16 or fp16."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        counts = [parse_count(size, "sizes") for size in self.sizes]
        ratios = self.tokens_per_parameter
        require(
            self,
            ("sizes", len(counts) >= FEWEST, f"a law needs at least {FEWEST} sizes"),
            ("sizes", all(a < b for a, b in pairwise(counts)), "each must be larger than the one before"),
            ("predict", parse_count(self.predict, "predict") > counts[-1], "must be larger than the sizes to train"),
            ("tokens_per_parameter", len(ratios) > 0 and min(ratios) > 0, "needs numbers above 0"),
            ("tokens_per_parameter", len(frozenset(ratios)) == len(ratios), "must differ from one another"),
            ("seeds", self.seeds >= 1, "must be at least 1"),
            ("max_epochs", self.max_epochs > 0, "must be above 0"),
            ("evaluation_bytes", self.evaluation_bytes >= 0, "must not be negative"),
        )
        changes(self.set)


def changes(given: tuple[str, ...]) -> dict[str, Any]:
    """'optimizer.lr=0.002' → {"optimizer": {"lr": 0.002}}."""
    import yaml

    found: dict[str, Any] = {}
    for text in given:
        path, separator, value = text.partition("=")
        *above, last = path.strip().split(".")
        if not separator or not last:
            raise UserError(
                f"'{text}' is not a change", where="set", remedy="Write key=value, such as optimizer.lr=0.002"
            )
        if [*above, last][0] in OWN:
            raise UserError(f"'{path}' is the ladder's to set, not a model's", where="set")
        place = found
        for key in above:
            place = place.setdefault(key, {})
        place[last] = yaml.safe_load(value)
    return found


@dataclass(frozen=True)
class Rung:
    """One model: what it is called, what it is told, and what that comes to."""

    name: str
    ratio: float
    recipe: Pretrain
    config: ModelConfig
    derived: dict[str, Derived]

    def planned(self) -> "Run":
        """Without a loss."""
        from danlu.plan.ladder import Run

        recipe = self.recipe
        tokens = recipe.steps_of(int(self.derived["tokens"].value)) * recipe.rows * recipe.length
        numbers = (self.config.parameters(), self.config.matrix_parameters())
        flops = self.config.flops_per_token(recipe.length) * tokens
        return Run(self.name, recipe.about, self.ratio, recipe.seed, *numbers, tokens, flops)

    def trained(self) -> "Run":
        """With the loss of the last measurement on held-out documents."""
        rows = (self.recipe.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        last = [row for row in map(json.loads, rows) if row["kind"] == "eval"][-1]
        return dataclasses.replace(self.planned(), loss=last["loss"], bits_per_byte=last["bits_per_byte"])


def rung(recipe: Ladder, vocab_size: int, size: str, ratio: float, number: int = 0) -> Rung:
    """The model of ``size``, with ``ratio`` tokens a weight and the seed of that ``number``."""
    many = f"-x{ratio:g}" * (len(recipe.tokens_per_parameter) > 1) + f"-seed{number}" * (recipe.seeds > 1)
    changed = changes(recipe.set)
    own = {"data": recipe.data, "size": size, "length": recipe.length, "seed": recipe.seed + number}
    machine = {"device": recipe.device, "precision": recipe.precision, "evaluations": 1, "prompts": ()}
    out = {"out": recipe.out / f"{size}{many}", "evaluation_bytes": recipe.evaluation_bytes}
    first = Pretrain(**own, **machine, **out)  # type: ignore[arg-type]
    plain = from_dict(Pretrain, _merged(to_dict(first), changed), "ladder: set")
    config = plain.shape.apply(sized(size, vocab_size, recipe.length, plain.shape.apply))
    told, found = settle(plain, config, tokens(config.matrix_parameters(), per_parameter=ratio))
    return Rung(f"{size}{many}", ratio, dataclasses.replace(told, shape=_settled(plain.shape, config)), config, found)


def _settled(given: Shape, config: ModelConfig) -> Shape:
    """Where a part of the shape is given, the rest of it, too: the size then means what all of it comes to."""
    names = [item.name for item in dataclasses.fields(given)]
    return Shape(**{name: getattr(config, name) for name in names}) if given != Shape() else given


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    nested = {
        k: _merged(base[k], v) for k, v in change.items() if isinstance(v, dict) and isinstance(base.get(k), dict)
    }
    return {**base, **change, **nested}


def plan(recipe: Ladder, vocab_size: int, data: "Tokens | Mixture") -> tuple[list[Rung], Rung]:
    """The models to train and the one to predict; what cannot be done is refused before anything is trained."""
    ratios = recipe.tokens_per_parameter
    ladder = [
        rung(recipe, vocab_size, size, ratio, number)
        for size in recipe.sizes
        for ratio in ratios
        for number in range(recipe.seeds)
    ]
    ahead = dataclasses.replace(rung(recipe, vocab_size, recipe.predict, ratios[0]), name=recipe.predict)
    ahead = dataclasses.replace(ahead, recipe=dataclasses.replace(ahead.recipe, out=recipe.out / recipe.predict))
    parameters = {item.recipe.size: item.config.parameters() for item in (*ladder, ahead)}
    for one, other in pairwise(parameters):
        if parameters[other] <= parameters[one]:
            what = f"{one} and {other} come to the same shape with {vocab_size} ids"
            raise UserError(what, where="recipe: sizes", remedy="Choose sizes further apart")
    for item in (*ladder, ahead) if recipe.check else ladder:
        tokens = item.planned().tokens
        data.check(tokens)
        if tokens > recipe.max_epochs * data.tokens:
            what = f"{item.name} would read {count(tokens)} tokens and the data hold {count(data.tokens)}"
            remedy = "Give more data, fewer --tokens-per-parameter, smaller sizes, or raise --max-epochs"
            raise UserError(what, where=recipe.data, remedy=remedy)
    return ladder, ahead


def run(recipe: Ladder, *, fresh: bool = False) -> Artifact:
    """Train what is not up to date, fit, predict, and leave ``law/``."""
    from danlu.recipes.mix import open_training
    from danlu.tokens.tokenizer import Tokenizer

    data = open_training(recipe.data)
    ladder, ahead = plan(recipe, Tokenizer.load(recipe.data / "tokenizer").vocab_size, data)
    trained = [*ladder, ahead] if recipe.check else ladder
    for line in told(trained, ahead):
        say(line)
    for item in trained:
        _climb(item, fresh)
    inputs = {"data": recipe.data, **{item.name: item.recipe.out for item in trained}}
    return _conclude(recipe, ladder, ahead, inputs, fresh)


def _climb(item: Rung, fresh: bool) -> None:
    """Train one model, as a stage of a chain is run."""
    from danlu.base.device import give_back_memory

    out, told = item.recipe.out, item.recipe
    reason = "--fresh" if fresh else artifact.changes(out, pretrain.STAGE, told, pretrain.sources(told))
    if reason is None:
        say(f"{item.name}: up to date")
        return
    say(f"{item.name}: {'taken up again' if reason == artifact.UNFINISHED else reason}")
    pretrain.run(told, fresh=reason != artifact.UNFINISHED)
    give_back_memory()


def _conclude(recipe: Ladder, ladder: list[Rung], ahead: Rung, inputs: dict[str, Path], fresh: bool) -> Artifact:
    from danlu.plan.ladder import conclude, lines
    from danlu.plan.page import write

    out = recipe.out / LAW
    reason = "--fresh" if fresh else artifact.changes(out, STAGE, recipe, inputs)
    if reason is None:
        found, made = json.loads((out / NUMBERS).read_text(encoding="utf-8")), artifact.load(out)
    else:
        reached = ahead.trained() if recipe.check else None
        found = conclude([item.trained() for item in ladder], ahead.planned(), reached, seed=recipe.seed)
        draft = artifact.begin(out, STAGE, recipe, inputs, fresh=reason != artifact.UNFINISHED)
        draft.seeds = {"run": recipe.seed}
        write_text(out / NUMBERS, json.dumps(found, ensure_ascii=False, indent=2) + "\n")
        write(out, found)
        draft.metrics = {key: found[key] for key in ("law", "joint", "prediction", "check")}
        made = draft.finish()
    for line in lines(found):
        print(line)
    say(f"  {out / 'ladder.html'}")
    return made


def told(trained: list[Rung], ahead: Rung) -> Iterator[str]:
    """What is going to happen, and where the numbers come from."""
    from danlu.base.device import matmul_flops, pick_device, pick_precision, torch_dtype
    from danlu.recipes.estimate import SHARE

    yield f"{'model':<14} {'parameters':>10} {'layers':>6} {'tokens':>8} {'batch':>8} {'lr':>8} {'FLOPs':>9}"
    for item in trained:
        planned, recipe = item.planned(), item.recipe
        yield (
            f"{item.name:<14} {count(planned.parameters):>10} {item.config.layers:>6} {count(planned.tokens):>8} "
            f"{recipe.batch_tokens:>8,} {recipe.optimizer.value('lr'):>8.2g} {planned.flops:>9.2e}"
        )
    place = pick_device(ahead.recipe.device)
    rate = SHARE * matmul_flops(torch_dtype(pick_precision(ahead.recipe.precision, place)), kind=place.type)
    total = sum(item.planned().flops for item in trained)
    yield f"in all about {duration(max(total / rate, 1))} of training on this machine, if everything runs"
    wanted = shape(ahead.config.layers, ahead.config.vocab_size, ahead.config.max_length)
    yield f"where the numbers come from, for {ahead.name}:"
    yield from (f"  {line}" for line in describe({**explain(ahead.config, wanted), **ahead.derived}))
