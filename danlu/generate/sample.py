"""From logits to the next token: greedy, temperature, top-k (Fan et al. 2018), top-p (Holtzman et al. 2020), and the
penalty of CTRL (Keskar et al. 2019, arXiv:1909.05858, section 4.1) on tokens that have been seen.

Every request draws from a generator of its own seed, so what it gets does not depend on its neighbours in
the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from danlu.base.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How one request is answered."""

    max_new_tokens: int = 128
    """Stop after this many tokens."""
    temperature: float = 0.7
    """Divides the logits; 0 takes the likeliest token."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the likeliest tokens until their probabilities add up to this."""
    seed: int = 0
    """Of this request's own generator."""
    min_new_tokens: int = 0
    """No stop token before this many others."""
    repetition_penalty: float = 1.0
    """Tokens of the prompt and the answer are less likely by it: their logits are divided by it above 0, multiplied
    below; 1 changes nothing."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens must be at least 1, is {self.max_new_tokens}")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise UserError(f"min_new_tokens {self.min_new_tokens} is not between 0 and {self.max_new_tokens}")
        if not 0 < self.repetition_penalty < float("inf"):
            raise UserError(f"repetition_penalty must be above 0, is {self.repetition_penalty}", remedy="1 is none")
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise UserError(
                f"temperature {self.temperature}, top_k {self.top_k} or top_p {self.top_p} is out of range",
                remedy="temperature ≥ 0, top_k ≥ 0, 0 < top_p ≤ 1",
            )


def choose(
    logits: Tensor, sampling: Sampling, generator: torch.Generator, seen: Sequence[int] = ()
) -> tuple[int, float]:
    """logits: [V] -> the token, and its log-probability under the model itself (temperature 1, nothing cut).

    ``seen`` are the tokens that the penalty is for.
    """
    logits = logits.float()
    logp = torch.log_softmax(logits, dim=-1)
    if sampling.repetition_penalty != 1:
        logits = penalised(logits, seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        token = int(logits.argmax())
    else:
        kept = restrict(logits / sampling.temperature, sampling.top_k, sampling.top_p)
        token = int(torch.multinomial(torch.softmax(kept, dim=-1), 1, generator=generator))
    return token, float(logp[token])


def penalised(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """logits: [V] -> the same with those of the ``seen`` tokens divided by the penalty above 0, multiplied below."""
    index = torch.tensor(sorted(set(seen)), dtype=torch.long, device=logits.device)
    found = logits[index]
    return logits.index_copy(0, index, torch.where(found > 0, found / penalty, found * penalty))


def restrict(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """logits: [V] -> the same with what top-k and top-p leave out at -inf."""
    if 0 < top_k < logits.shape[-1]:
        threshold = logits.topk(top_k).values[-1]
        logits = logits.masked_fill(logits < threshold, float("-inf"))
    if top_p < 1:
        ordered, index = logits.sort(descending=True)
        probability = torch.softmax(ordered, dim=-1)
        beyond = probability.cumsum(-1) - probability >= top_p  # the token that crosses the line is kept
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(0, index, beyond), float("-inf"))
    return logits
