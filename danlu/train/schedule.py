"""The learning rate as a share of its peak, over a run of known length.

The length is a number of steps, or seconds on the clock. On the clock a step is a millionth of the run, so that the
same curves serve.
"""

import math

from danlu.train.settings import ScheduleSettings

MOMENTS = 1_000_000


def share(settings: ScheduleSettings, step: int, steps: int) -> float:
    """Of step ``step`` (from 0) of ``steps``.

    cosine: Loshchilov and Hutter 2017. stable (warm-up-stable-decay): Hu et al. 2024, MiniCPM, with the linear decay
    to zero of Defazio et al. 2023. linear: the same from the warm-up on, as Devlin et al. 2019 (BERT). inverse_sqrt:
    Vaswani et al. 2017, section 5.3. rising: the range test of Smith 2017, arXiv:1506.01186, exponentially as usual
    since.
    """
    warmup = round(settings.rise * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.name == "constant":
        return 1.0
    if settings.name == "rising":
        return float(settings.floor ** (1 - min(step / max(steps - 1, 1), 1.0)))
    if settings.name == "inverse_sqrt":
        return max((max(warmup, 1) / max(step, 1)) ** 0.5, settings.floor)
    if settings.name == "cosine":
        done = (step - warmup) / max(steps - warmup, 1)
        fall = 0.5 * (1 + math.cos(math.pi * done))
    elif settings.name == "linear":
        fall = (steps - step) / max(steps - warmup, 1)
    else:
        decay = round(settings.decay * steps)
        fall = min((steps - step) / (decay + 1), 1.0) if decay else 1.0
    return settings.floor + (1 - settings.floor) * fall


def share_by_clock(settings: ScheduleSettings, seconds: float, of: float) -> float:
    """After ``seconds`` of a run of ``of``; at its end it is the floor."""
    return share(settings, min(int(MOMENTS * seconds / of), MOMENTS), MOMENTS)
