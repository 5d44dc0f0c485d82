"""What the size of a model decides about its training, by published laws: tokens, batch, learning rate and the rest.

N is `ModelConfig.matrix_parameters`, the weights that multiply every token (blocks and output layer; the input table is
only looked up), which nanochat found to give the cleanest laws. D is the tokens of the run, B the tokens of a step.

How the laws are anchored. Danlu's defaults were tuned on two cores: 8,192 tokens a step and a learning rate of 8e-3 for
Muon at ``--size 10M`` (N = 9.0M) and some 2M tokens, 4,096 tokens a step at ``--size 4.5M`` and 0.7M.

- B: OLMo's ladder, 327,680 (N/108M)^(2/3) at 20 tokens a parameter, times (D/20N)^0.383 for a run of another length
  (Bergsma et al. 2025; nanochat uses the same power), to a power of two. No constant of ours is in it, and it gives
  8,192 and 4,096 at the two points above.
- The learning rate of Muon: 8e-3 (N/9M)^(-1/3), OLMo's power through our point. It gives 3.5e-3 at nanochat's d12
  (N = 110M), where 3.6e-3 was tuned (0.02 over the factor 0.2 sqrt(width) by which our Muon's updates are larger).
  AdamW's is OLMo's own, 0.00235 (N/108M)^(-1/3). Either goes with the batch of the law; another batch changes it by
  the square root of their ratio.

Left out: nanochat's factor D_ref/D in the weight decay. From OLMo's 0.1 at 20 tokens a parameter it would make 3.3 of
it at the tuned point, and 0.003 of ours where OLMo takes 0.1. Below N = 1M nothing was tuned by anybody named here, so
the learning rate stays what it is there.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from danlu.base.errors import UserError, nearest

TOKENS_PER_PARAMETER = 20.0  # Hoffmann et al. 2022, table 3: 20.2 at 400M
MOST_EPOCHS = 4.0  # Muennighoff et al. 2023: up to four passes are almost as good as new text
OLMO_SIZE, OLMO_BATCH, OLMO_LR, OLMO_DECAY = 108e6, 160 * 2048, 0.0047 / 2, 0.1
OLMO_LARGE_BATCH = 524_288  # from here on beta2 is 0.95 there, and 0.99 below
BATCH_BY_TOKENS = 0.383
MUON_SIZE, MUON_LR = 9e6, 8e-3  # Danlu's tuned point
LONGEST_WARMUP = 0.05  # N tokens of 20 N; Danlu's tuned share as well
SMALLEST = 1_000_000  # N below which the learning rate grows no more
SLOW_STEPS = 2000  # twenty times the 100 steps that beta2 = 0.99 remembers
OLMO = "OLMo-core's model ladder"
LION = 5  # Chen et al. 2023, section 5: a third to a tenth of AdamW's rate, and as many times its decay
Name = Literal["adamw", "muon", "lion", "adafactor", "adamw8bit"]


@dataclass(frozen=True)
class Derived:
    """A number and where it comes from."""

    value: int | float
    source: str

    def __str__(self) -> str:
        return f"{self.value:,}" if isinstance(self.value, int) else f"{self.value:g}"


def tokens(parameters: int, epoch: int | None = None, per_parameter: float = TOKENS_PER_PARAMETER) -> Derived:
    """How many to train on; ``epoch`` is what there is to read, which bounds it."""
    wanted, most = round(per_parameter * parameters), None if epoch is None else round(MOST_EPOCHS * epoch)
    if most is not None and most < wanted:
        return Derived(most, f"{MOST_EPOCHS:g} epochs of the data, Muennighoff et al. 2023; {wanted:,} would be best")
    by = "Hoffmann et al. 2022" if per_parameter == TOKENS_PER_PARAMETER else "given"
    return Derived(wanted, f"{per_parameter:g} for each weight that multiplies, {by}")


def batch_tokens(parameters: int, tokens: int, length: int = 1) -> Derived:
    """Tokens of a step: a power of two, and at least one sequence of ``length``."""
    usual = OLMO_BATCH * (parameters / OLMO_SIZE) ** (2 / 3)
    exact = usual * (tokens / (TOKENS_PER_PARAMETER * parameters)) ** BATCH_BY_TOKENS
    value = max(2 ** round(math.log2(exact)), length)
    return Derived(value, f"{OLMO}, N^(2/3); for other tokens than 20 N, D^0.383, Bergsma et al. 2025")


def learning_rate(parameters: int, batch: int, usual: int, optimizer: Name = "muon") -> Derived:
    """Its peak, to two digits. ``usual`` is the batch that the law goes with; laws are of AdamW, Lion and Muon."""
    larger = max(parameters, SMALLEST)
    if optimizer == "muon":
        value = MUON_LR * (larger / MUON_SIZE) ** (-1 / 3)
        source = "Danlu's 8e-3 at 9M, by N^(-1/3) as in OLMo-core's model ladder"
    else:
        value, source = OLMO_LR * (larger / OLMO_SIZE) ** (-1 / 3), f"{OLMO}, N^(-1/3)"
    if optimizer == "lion":
        value, source = value / LION, f"{source}; over {LION} for Lion, Chen et al. 2023"
    if batch != usual:
        source += f"; by the square root of the batch over {usual:,}, as nanochat"
    return Derived(float(f"{value * math.sqrt(batch / usual):.2g}"), source)


def weight_decay(batch: int, usual: int, optimizer: Name = "muon") -> Derived:
    """Grows with the root of the batch, as the learning rate does, so that weights remember the same share of the run.

    Wang and Aitchison 2024: B / (learning rate x decay x D) stays the same.
    """
    more = "" if batch == usual else f"; by the square root of the batch over {usual:,}, as nanochat"
    times = LION if optimizer == "lion" else 1
    more += f"; times {LION} for Lion, Chen et al. 2023" if times > 1 else ""
    return Derived(
        float(f"{times * OLMO_DECAY * math.sqrt(batch / usual):.2g}"), f"{OLMO}, the same at every size{more}"
    )


def beta2(batch: int, tokens: int, optimizer: Name = "muon") -> Derived:
    """Small batches want a longer memory, in a run that is long enough for it."""
    if optimizer == "lion":
        return Derived(0.99, "Lion's, Chen et al. 2023")
    if batch >= OLMO_LARGE_BATCH:
        return Derived(0.95, f"{OLMO}, batches of {OLMO_LARGE_BATCH:,} tokens and more")
    if tokens < SLOW_STEPS * batch:
        return Derived(0.95, f"as tuned in Danlu: fewer than {SLOW_STEPS:,} steps")
    return Derived(0.99, f"{OLMO}, batches below {OLMO_LARGE_BATCH:,} tokens")


def warmup(parameters: int, tokens: int) -> Derived:
    """The share of the run."""
    if parameters <= LONGEST_WARMUP * tokens:
        return Derived(float(f"{parameters / tokens:.2g}"), f"{OLMO}, N tokens")
    return Derived(LONGEST_WARMUP, f"as tuned in Danlu; N of 20 N tokens is as much, {OLMO}")


NAMES = ("tokens", "batch_tokens", "lr", "weight_decay", "beta2", "warmup")


def derive(
    parameters: int,
    *,
    length: int,
    epoch: int | None = None,
    per_parameter: float = TOKENS_PER_PARAMETER,
    optimizer: Name = "muon",
    given: Mapping[str, int | float] | None = None,
) -> dict[str, Derived]:
    """All of them, under the names in `NAMES`; what is ``given`` stands, and what depends on it follows."""
    known = dict(given or {})
    for name in known:
        if name not in NAMES:
            raise UserError(f"'{name}' is not derived", remedy=nearest(name, NAMES))
    found: dict[str, Derived] = {}

    def put(name: str, derived: Derived) -> int | float:
        found[name] = Derived(known[name], "given") if name in known else derived
        return found[name].value

    run = int(put("tokens", tokens(parameters, epoch, per_parameter)))
    law = batch_tokens(parameters, run, length)
    usual, batch = int(law.value), int(put("batch_tokens", law))
    put("lr", learning_rate(parameters, batch, usual, optimizer))
    put("weight_decay", weight_decay(batch, usual, optimizer))
    put("beta2", beta2(batch, run, optimizer))
    put("warmup", warmup(parameters, run))
    return found


def describe(derived: Mapping[str, Derived]) -> Iterator[str]:
    """A line for each: ``name value (source)``, in columns."""
    names, values = [name.replace("_", " ") for name in derived], [str(item) for item in derived.values()]
    for name, value, item in zip(names, values, derived.values(), strict=True):
        yield f"{name:<{max(map(len, names))}}  {value:>{max(map(len, values))}}  ({item.source})"
