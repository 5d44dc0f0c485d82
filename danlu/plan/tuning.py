"""What a fine-tuning run should be told, by the size of the model, of the data, and the method; each number with its
source.

- The learning rate falls by the power 0.4 of the size, from what Muon takes at SmolLM2-135M (LOG.md; `RATES` of
  `danlu.recipes.methods`) to what AdamW, with a third of Muon's rate, takes at 7B: 2e-5 in full (Alpaca), 2e-4 with
  LoRA (QLoRA, Dettmers et al. 2023), of which the rule makes 2e-5 and 1.4e-4. Below a million it grows no more.
- Tokens of a step: Alpaca's (Taori et al. 2023, 128 examples of some 150 tokens, 52,000 examples), times the tokens of
  an epoch over Alpaca's to the power 0.383 with which the best batch of pretraining grows (Bergsma et al. 2025). So a
  small set still has some seventy steps an epoch.
- Epochs: Alpaca's three; from 200,000 examples on two (Tulu 2, Ivison et al. 2023); and of a set so small that three
  are fewer than sixty steps, as many as make sixty, at most ten. LIMA's fifteen (Zhou et al. 2023) are chosen by how
  people judge answers, while the loss of what is held out has long been rising; who holds with it says ``--epochs``.
- The warm-up: three percent (Alpaca, Vicuna, Tulu 2), and at least five steps.
- The length: what 99 of 100 conversations fit in.

N is `ModelConfig.matrix_parameters`.
"""

import math
from collections.abc import Sequence

from danlu.plan.scaling import BATCH_BY_TOKENS, LION, SMALLEST, Derived, Name

SIZE = 135e6  # N where each method's rate was tuned: SmolLM2-135M
POWER = 0.4  # through 3e-4 at 135M, a third of it for AdamW, and Alpaca's 2e-5 at 7B
ADAM = 3  # times lower than Muon's (LOG.md)
BELOW: dict[Name, int] = {"adamw": ADAM, "adamw8bit": ADAM, "adafactor": ADAM, "lion": ADAM * LION}
ALPACA_BATCH, ALPACA_TOKENS = 128 * 150, 52_000 * 150
EPOCHS, FEWER_EPOCHS, MANY, MOST_EPOCHS = 3.0, 2.0, 200_000, 10.0
FEWEST_STEPS = 60
WARMUP, WARMUP_STEPS, LONGEST_WARMUP = 0.03, 5, 0.2
FITTING, MULTIPLE = 0.99, 64


def learning_rate(rate: float, parameters: int, method: str, optimizer: Name = "muon") -> Derived:
    """Its peak, to two digits: ``rate``, which the method takes at `SIZE` with Muon, for so many parameters."""
    larger, below = max(parameters, SMALLEST), BELOW.get(optimizer, 1)
    value = rate / below * (SIZE / larger) ** POWER
    source = f"--method {method}: {rate:g} tuned at {SIZE / 1e6:g}M, by N^(-0.4)"
    return Derived(float(f"{value:.2g}"), source + (f"; over {below} for {optimizer}" if below > 1 else ""))


def length(lengths: Sequence[int], most: int) -> Derived:
    """Tokens of a row, for conversations of those lengths and a model that takes ``most``."""
    ordered = sorted(lengths)
    wanted = ordered[min(math.ceil(FITTING * len(ordered)), len(ordered)) - 1]
    rounded = -(-wanted // MULTIPLE) * MULTIPLE
    if rounded >= most:
        return Derived(most, "the most that the model takes")
    return Derived(
        rounded, f"{FITTING:.0%} of the conversations have at most {wanted} tokens; to a multiple of {MULTIPLE}"
    )


def batch_tokens(tokens: int, length: int) -> Derived:
    """Tokens of a step, for an epoch of ``tokens``: a power of two, and at least a row."""
    exact = ALPACA_BATCH * (tokens / ALPACA_TOKENS) ** BATCH_BY_TOKENS
    value = 2 ** round(math.log2(max(exact, 1)))
    if value < length:
        return Derived(length, f"one row; {value:,} would do for {tokens:,} tokens")
    return Derived(value, f"Alpaca's for {tokens:,} tokens, by D^0.383, Bergsma et al. 2025")


def epochs(conversations: int, steps: float) -> Derived:
    """Passes over so many conversations, of which one takes so many steps."""
    if conversations >= MANY:
        return Derived(FEWER_EPOCHS, f"from {MANY:,} conversations on, as Tulu 2, Ivison et al. 2023")
    if EPOCHS * steps < FEWEST_STEPS:
        value = min(math.ceil(FEWEST_STEPS / steps), MOST_EPOCHS)
        return Derived(float(value), f"an epoch is {steps:.3g} steps, and a run should have {FEWEST_STEPS}; at most 10")
    return Derived(EPOCHS, "as Alpaca, Taori et al. 2023")


def warmup(steps: int) -> Derived:
    """The share of a run of so many steps."""
    if WARMUP * steps >= WARMUP_STEPS:
        return Derived(WARMUP, "as Alpaca, Vicuna and Tulu 2")
    return Derived(float(f"{min(WARMUP_STEPS / steps, LONGEST_WARMUP):.2g}"), f"{WARMUP_STEPS} of {steps} steps")
