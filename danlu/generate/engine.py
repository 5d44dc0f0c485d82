"""Batched generation with a key-value cache: token ids in, token ids and log-probabilities out.

Requests are answered in groups of similar prompt length; a group's finished rows leave the batch, so the
last slow answer does not pay for the rest. Text appears only outside.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from danlu.base.errors import UserError
from danlu.generate.sample import Sampling, choose
from danlu.model.cache import Cache
from danlu.model.transformer import Transformer


@dataclass
class Completion:
    """One answer. ``stopped`` is True if a stop token ended it, which is then its last id."""

    ids: list[int]
    logprobs: list[float]
    stopped: bool


class Engine:
    """Answers prompts with a `Transformer`. ``stop_ids`` end an answer."""

    def __init__(
        self, model: Transformer, stop_ids: Sequence[int], *, rows: int = 32, dtype: torch.dtype = torch.float32
    ) -> None:
        self.model = model if model.embed.weight.dtype == dtype else copy.deepcopy(model).to(dtype)
        self.stop_ids, self.rows, self.dtype = frozenset(stop_ids), rows, dtype

    @torch.no_grad()
    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling | Sequence[Sampling]) -> list[Completion]:
        """Answer every prompt, in the order given; ``sampling`` is one for all or one each."""
        each = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
        if len(each) != len(prompts):
            raise UserError(f"{len(prompts)} prompts, but {len(each)} sampling settings")
        for index, (prompt, how) in enumerate(zip(prompts, each, strict=True)):
            self._check(index, prompt, how)
        order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
        done: dict[int, Completion] = {}
        was = self.model.training, self.model.compute_dtype
        self.model.eval()
        self.model.compute_dtype = self.dtype
        try:
            for start in range(0, len(order), self.rows):
                group = order[start : start + self.rows]
                answers = self._answer([prompts[i] for i in group], [each[i] for i in group])
                done.update(zip(group, answers, strict=True))
        finally:
            self.model.train(was[0])
            self.model.compute_dtype = was[1]
        return [done[i] for i in range(len(prompts))]

    def _check(self, index: int, prompt: Sequence[int], how: Sampling) -> None:
        limit = self.model.config.max_length
        if not prompt:
            raise UserError("the prompt is empty", where=f"prompt {index}", remedy="Give at least one token")
        outside = [token for token in prompt if not 0 <= token < self.model.config.vocab_size]
        if outside:
            raise UserError(
                f"token {outside[0]} is outside the model's vocabulary of {self.model.config.vocab_size}",
                where=f"prompt {index}",
                remedy="Use the tokenizer that belongs to the model",
            )
        if len(prompt) >= limit:
            raise UserError(f"{len(prompt)} tokens leave no room in the model's {limit}", where=f"prompt {index}")

    def _answer(self, prompts: list[Sequence[int]], each: list[Sampling]) -> list[Completion]:
        """One group: prefill, then a token a step until every row has stopped."""
        longest, limit = max(map(len, prompts)), self.model.config.max_length
        # A row's own length decides how much it may say: a long neighbour costs columns, not words.
        room = [min(how.max_new_tokens, limit - len(prompt)) for prompt, how in zip(prompts, each, strict=True)]
        cache = Cache(self.model.config, len(prompts), longest + max(room), self.dtype)
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)  # [B, T]
        segments = torch.full_like(ids, -1)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            segments[row, longest - len(prompt) :] = 0
        answers = [Completion([], [], False) for _ in prompts]
        draws = [torch.Generator().manual_seed(how.seed) for how in each]
        active = list(range(len(prompts)))
        logits = self._last(ids, segments, cache)
        while True:
            newest = []
            for row, index in enumerate(active):
                how = each[index]
                allowed = (
                    self._without_stops(logits[row]) if len(answers[index].ids) < how.min_new_tokens else logits[row]
                )
                token, logp = choose(allowed, how, draws[index], self._seen(prompts[index], answers[index], how))
                answers[index].ids.append(token)
                answers[index].logprobs.append(logp)
                answers[index].stopped = token in self.stop_ids
                newest.append(token)
            alive = [
                row
                for row, index in enumerate(active)
                if not answers[index].stopped and len(answers[index].ids) < room[index]
            ]
            if not alive:
                return answers
            if len(alive) < len(active):
                cache.keep(torch.tensor(alive))
            active = [active[row] for row in alive]
            logits = self._last(torch.tensor([[newest[row]] for row in alive]), None, cache)

    def _seen(self, prompt: Sequence[int], answer: Completion, how: Sampling) -> list[int]:
        """The tokens that a penalty on repetition is for.

        Not those that end an answer: a chat template writes one after each turn, and its penalty would be that answers
        do not end.
        """
        if how.repetition_penalty == 1:
            return []
        return [token for token in (*prompt, *answer.ids) if token not in self.stop_ids]

    def _without_stops(self, logits: torch.Tensor) -> torch.Tensor:
        """logits: [V] -> the same with no way to stop."""
        return logits.index_fill(0, torch.tensor(sorted(self.stop_ids), device=logits.device), float("-inf"))

    def _last(self, ids: torch.Tensor, segments: torch.Tensor | None, cache: Cache) -> torch.Tensor:
        """Logits of the newest token of each row: [B, V]."""
        return self.model.logits(self.model.hidden(ids, segments, cache)[:, -1])
