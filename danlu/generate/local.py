"""A model of one's own as a `danlu.generate.asking.Model`: prompts rendered, answered as one batch, decoded.

Each request draws from a seed made of the run's seed and the request's key, so a reply depends neither on when it was
asked nor on what was asked before; groups are always the same, so that not even the rounding of a batch differs.
"""

from collections.abc import Iterator
from functools import lru_cache

from danlu.base.seed import derive
from danlu.generate.asking import Reply, Request
from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from danlu.tokens.chat import render
from danlu.tokens.tokenizer import Tokenizer


class LocalModel:
    """Answers with an `Engine`; ``group`` requests are a batch."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, group: int, seed: int) -> None:
        self.engine, self.tokenizer, self.group, self.seed = engine, tokenizer, group, seed
        self.length = engine.model.config.max_length
        self._ids = lru_cache(maxsize=4 * group)(self._encode)

    def _encode(self, prompt: str, complete: bool) -> list[int]:
        if complete:
            return [self.tokenizer.bos_id, *self.tokenizer.encode(prompt)]
        turns = [{"role": "user", "content": prompt}]
        return render(self.tokenizer, turns, add_generation_prompt=True).ids

    def tokens(self, request: Request) -> int:
        """Tokens of the rendered prompt."""
        return len(self._ids(request.prompt, request.complete))

    def answers(self, groups: Iterator[list[Request]]) -> Iterator[tuple[Request, Reply]]:
        """Every group as a batch; a prompt that leaves no room for its answer is refused, and the rest answered."""
        for group in groups:
            fits = [self.tokens(request) + request.max_new_tokens <= self.length for request in group]
            asked = [request for request, fit in zip(group, fits, strict=True) if fit]
            done = dict(zip((request.key for request in asked), self._batch(asked), strict=True))
            for request in group:
                yield request, done.get(request.key) or self._refused(request)

    def _batch(self, asked: list[Request]) -> list[Reply]:
        prompts = [self._ids(request.prompt, request.complete) for request in asked]
        how = [
            Sampling(
                request.max_new_tokens,
                request.temperature,
                top_p=request.top_p,
                seed=derive(self.seed, request.key),
            )
            for request in asked
        ]
        replies = []
        for prompt, done in zip(prompts, self.engine.generate(prompts, how), strict=True):
            text = self.tokenizer.decode(done.ids).strip()
            replies.append(Reply(text, "stop" if done.stopped else "length", len(prompt), len(done.ids)))
        return replies

    def _refused(self, request: Request) -> Reply:
        length = self.tokens(request)
        note = f"a prompt of {length} tokens and {request.max_new_tokens} new ones exceed the model's {self.length}"
        return Reply("", "refused", 0, 0, note)
