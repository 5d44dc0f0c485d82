"""The learning rate as a share of its peak, over a run of known length."""

import math

from danlu.train.settings import ScheduleSettings


def share(settings: ScheduleSettings, step: int, steps: int) -> float:
    """Of step ``step`` (from 0) of ``steps``.

    cosine: Loshchilov and Hutter 2017. stable (warm-up-stable-decay): Hu et al. 2024, MiniCPM, with the
    linear decay to zero of Defazio et al. 2023.
    """
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.name == "cosine":
        done = (step - warmup) / max(steps - warmup, 1)
        fall = 0.5 * (1 + math.cos(math.pi * done))
    else:
        decay = round(settings.decay * steps)
        fall = min((steps - step) / (decay + 1), 1.0) if decay else 1.0
    return settings.floor + (1 - settings.floor) * fall
