"""A chat model's own answers → preference pairs, ordered by rules that anyone can check.

Every prompt is answered several times; the best answer by `evaluate.answers.quality` is chosen, the worst
rejected, and prompts whose answers hardly differ give no pair. Prompts that fine-tuning held out give the
held-out pairs. A stand-in for human labels where there are none; `danlu dpo` takes a file of those as well.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.device_names import DeviceName, Precision
from danlu.base.errors import UserError
from danlu.base.files import write_text
from danlu.base.progress import bar, say
from danlu.base.recipe import UNCHANGING

STAGE = "preferences"
GROUP = 64  # prompts answered and written at a time: what a kill can cost


@dataclass(frozen=True)
class SamplePreferences:
    """Sample answers from a chat model and pair the best with the worst."""

    model: Path = field(metadata=UNCHANGING)
    """What `danlu sft` wrote: the model and the conversations it held out."""
    chats: tuple[str, ...]
    """The conversations it was trained on; the first question of each is a prompt, its answer the reference."""
    out: Path = field(default=Path("runs/preferences"), metadata=UNCHANGING)
    """The directory to write."""
    prompts: int = 400
    """Prompts to answer, spread evenly over the conversations."""
    answers: int = 4
    """Answers to each prompt."""
    temperature: float = 1.0
    """Of sampling."""
    max_new_tokens: int = 48
    """An answer that has not stopped by then counts as one that does not stop."""
    least_difference: float = 0.1
    """Pairs closer in quality than this are left out."""
    bad_share: float = 0.01
    """The share of a file's records that may be unreadable; beyond it the run stops."""
    device: DeviceName = "auto"
    """auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """auto, fp32, bf16 or fp16."""
    seed: int = 0
    """Of sampling."""

    def __post_init__(self) -> None:
        if self.prompts < 1 or self.answers < 2:
            raise UserError("needs at least 1 prompt and 2 answers")


def sources(recipe: SamplePreferences) -> dict[str, Path]:
    """What the stage reads from disk."""
    from danlu.recipes.chats import paths_of

    return {"model": recipe.model, **paths_of(recipe.chats)}


def run(recipe: SamplePreferences, *, fresh: bool = False) -> Artifact:
    """Write ``train.jsonl`` and ``heldout.jsonl``."""
    from danlu.base.device import torch_dtype
    from danlu.generate.engine import Engine
    from danlu.recipes.chats import HELD_OUT, TEST, chats_from, first_question, write_records
    from danlu.recipes.training import open_model, prepare

    chats = chats_from(recipe.chats, recipe.bad_share)
    held_out = chats_from([str(recipe.model / HELD_OUT)], 0.0)
    kept = recipe.model / TEST  # what fine-tuning kept for its test is no prompt of either side
    tested = chats_from([str(kept)], 0.0) if kept.is_file() else []
    hidden = {first_question(chat) for chat in [*held_out, *tested]}
    training = [chat for chat in chats if first_question(chat) not in hidden]
    draft = artifact.begin(recipe.out, STAGE, recipe, sources(recipe), fresh=fresh)
    machine = prepare(draft, recipe.device, recipe.precision, recipe.seed)
    model, tokenizer = open_model(recipe.model, machine)
    engine = Engine(model, tokenizer.stop_ids, rows=128, dtype=torch_dtype(machine.precision))
    for side, conversations in (("train", training), ("heldout", held_out)):
        asked = _exchanges(conversations, recipe.prompts)
        asked = [pair for pair in asked if _fits(pair[0], tokenizer, model.config.max_length)]
        pairs = _pairs(recipe, engine, tokenizer, asked, side)
        write_records(recipe.out / f"{side}.jsonl", pairs)
        draft.metrics |= {f"{side}_prompts": len(asked), f"{side}_pairs": len(pairs)}
        say(f"  {side}: {len(pairs)} pairs from {len(asked)} prompts")
    if not draft.metrics["train_pairs"]:
        raise UserError("no two answers differ enough", remedy="Raise --temperature or lower --least-difference")
    return draft.finish()


def _exchanges(chats: list[Any], most: int) -> list[tuple[str, str]]:
    """(question, reference answer) of at most ``most`` conversations, taken evenly, one of each question."""
    found: dict[str, str] = {}
    for chat in chats:
        turns = [turn for turn in chat if turn["role"] != "system"]
        if len(turns) >= 2 and turns[0]["role"] == "user" and turns[1]["role"] == "assistant":
            found.setdefault(turns[0]["content"], turns[1]["content"])
    listed = list(found.items())
    step = max(len(listed) / most, 1.0)
    return [listed[int(i * step)] for i in range(min(most, len(listed)))]


def _fits(question: str, tokenizer: Any, length: int) -> bool:
    """Does the question leave room for an answer?"""
    from danlu.tokens.chat import render

    return len(render(tokenizer, [{"role": "user", "content": question}], add_generation_prompt=True)) < length


def _pairs(
    recipe: SamplePreferences, engine: Any, tokenizer: Any, asked: list[tuple[str, str]], side: str
) -> list[dict[str, Any]]:
    """Answer group by group; each finished group is kept on disk, so a killed run repeats one group at most."""
    pairs: list[dict[str, Any]] = []
    with bar(f"sampling {side}", len(asked), "prompts") as drawn:
        for start in range(0, len(asked), GROUP):
            group = asked[start : start + GROUP]
            file = recipe.out / ".groups" / f"{side}-{start:06d}.json"
            if file.exists():
                made = json.loads(file.read_text(encoding="utf-8"))
            else:
                made = _group(recipe, engine, tokenizer, group, start)
                write_text(file, json.dumps(made, ensure_ascii=False))
            pairs += made
            drawn.advance(len(group))
    return pairs


def _group(
    recipe: SamplePreferences, engine: Any, tokenizer: Any, group: list[tuple[str, str]], start: int
) -> list[dict[str, Any]]:
    from danlu.base.seed import derive
    from danlu.evaluate.answers import Answer, quality
    from danlu.generate.sample import Sampling
    from danlu.tokens.chat import render

    prompts, settings = [], []
    for number, (question, _) in enumerate(group, start):
        turns = [{"role": "user", "content": question}]
        ids = render(tokenizer, turns, add_generation_prompt=True).ids
        for answer in range(recipe.answers):
            prompts.append(ids)
            seed = derive(recipe.seed, question, number, answer)
            settings.append(Sampling(recipe.max_new_tokens, recipe.temperature, seed=seed))
    done = engine.generate(prompts, settings)
    pairs = []
    for number, (question, reference) in enumerate(group):
        mine = done[number * recipe.answers : (number + 1) * recipe.answers]
        texts = [Answer(question, tokenizer.decode(c.ids).strip(), c.stopped) for c in mine]
        ranked = sorted(((quality(a, reference), a.text) for a in texts if a.text), key=lambda pair: pair[0])
        if len(ranked) < 2 or ranked[0][1] == ranked[-1][1]:
            continue
        (low, worst), (high, best) = ranked[0], ranked[-1]
        if high - low >= recipe.least_difference:
            quality_pair = {"chosen_quality": round(high, 4), "rejected_quality": round(low, 4)}
            pairs.append({"prompt": question, "chosen": best, "rejected": worst, **quality_pair})
    return pairs
