"""A model → numbers: how well it predicts, whether its answers stop, in which language, and what it prefers."""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.device_names import DeviceName, Precision
from danlu.base.errors import UserError
from danlu.base.files import write_text
from danlu.base.progress import say
from danlu.base.recipe import UNCHANGING
from danlu.model.adapters.quantization import Quantize

if TYPE_CHECKING:
    from danlu.model.transformer import Transformer
    from danlu.recipes.training import Machine
    from danlu.tokens.tokenizer import Tokenizer

STAGE = "evaluation"
SMALL_TALK = ("Hello", "How are you?", "Who are you?", "Tell me a joke", "你好", "你是谁？", "你好吗？", "你喜欢什么？")
RATES = ("stop_rate", "same_language_rate", "small_talk_language")


@dataclass(frozen=True)
class Evaluate:
    """Measure a model on held-out data."""

    model: Annotated[Path, tyro.conf.Positional] = field(metadata=UNCHANGING)
    """A model directory; an adapter's is merged into its base."""
    text: Path | None = field(default=None, metadata=UNCHANGING)
    """What `danlu clean` wrote: its validation documents are scored, and compressed by xz for comparison."""
    base: Path | None = field(default=None, metadata=UNCHANGING)
    """The pretrained model, if `model` was tuned: it is what is compared with xz on plain text."""
    chats: Path | None = field(default=None, metadata=UNCHANGING)
    """A file of held-out conversations, or what `danlu sft` wrote."""
    preferences: Path | None = field(default=None, metadata=UNCHANGING)
    """What `danlu dpo` wrote: its held-out pairs."""
    reference: Path | None = field(default=None, metadata=UNCHANGING)
    """The model before `danlu dpo`."""
    out: Path = field(default=Path("runs/evaluation"), metadata=UNCHANGING)
    """The directory to write."""
    beta: float = 0.1
    """DPO's beta, for the margin."""
    xz: bool = True
    """Compress the held-out text with xz -9e, given the training text, for comparison."""
    answers: int = 200
    """Held-out questions to answer, taken evenly."""
    temperature: float = 0.7
    """Of those answers."""
    repetition_penalty: float = 1.0
    """Makes tokens of the prompt and the answer less likely; 1 changes nothing, and 1.1 ends many a small model's
    loops."""
    max_new_tokens: int = 128
    """An answer that has not stopped by then counts as one that does not stop."""
    small_talk: tuple[str, ...] = SMALL_TALK
    """Questions whose answers are shown, and must be in their own language."""
    quantize: Quantize = "none"
    """nf4 measures it with its linear layers in four bits; an adapter beside such a base, as QLoRA trained it."""
    device: DeviceName = "auto"
    """auto, cpu, cuda or mps."""
    precision: Precision = "auto"
    """auto, fp32, bf16 or fp16."""
    seed: int = 0
    """Of sampling."""

    def __post_init__(self) -> None:
        if self.answers < 1 or self.max_new_tokens < 1:
            raise UserError("answers and max_new_tokens must be at least 1")
        if (self.preferences is None) != (self.reference is None):
            raise UserError("preferences and reference are needed together", where="recipe")


def sources(recipe: Evaluate) -> dict[str, Path]:
    """What the stage reads from disk."""
    names = ("model", "text", "base", "chats", "preferences", "reference")
    return {name: path for name in names if (path := getattr(recipe, name)) is not None}


def run(recipe: Evaluate, *, fresh: bool = False) -> Artifact:
    """Write ``evaluation.json``."""
    from danlu.recipes.training import open_model, prepare

    draft = artifact.begin(recipe.out, STAGE, recipe, sources(recipe), fresh=fresh)
    machine = prepare(draft, recipe.device, recipe.precision, recipe.seed)
    model, tokenizer = open_model(recipe.model, machine, recipe.quantize)
    results: dict[str, Any] = {}
    squeeze = Squeeze(recipe.text) if recipe.text is not None and recipe.xz else None
    if recipe.chats is not None:
        results |= _answers(recipe, model, tokenizer, machine)
    if recipe.preferences is not None and recipe.reference is not None:
        results["preference"] = _preference(recipe, model, tokenizer, machine)
    if recipe.text is not None:
        scored = model if recipe.base is None else open_model(recipe.base, machine)[0]
        results["text"] = _text(recipe.text, scored, tokenizer, machine)
        if squeeze is not None:
            results["text"]["xz_bits_per_byte"] = squeeze.result()
    if not results:
        raise UserError("nothing to measure", remedy="Give --text, --chats, or --preferences with --reference")
    write_text(recipe.out / "evaluation.json", json.dumps(results, ensure_ascii=False, indent=2) + "\n")
    draft.metrics = headline(results)
    for name, value in draft.metrics.items():
        say(f"  {name.replace('_', ' ')}: {value:.4g}")
    return draft.finish()


def headline(results: dict[str, Any]) -> dict[str, float]:
    """The few numbers that gates and people look at."""
    found: dict[str, float] = {}
    if "text" in results:
        found |= {k: results["text"][k] for k in ("bits_per_byte", "xz_bits_per_byte") if k in results["text"]}
    found |= {name: results[name] for name in RATES if name in results}
    if "preference" in results:
        found["preference_accuracy"] = results["preference"]["accuracy"]
        found["preference_low"] = results["preference"]["low"]
    return found


class Squeeze:
    """xz in a thread of its own: it takes a while, holds no lock, and needs no result of ours."""

    def __init__(self, data: Path) -> None:
        self._data, self._bits = data, 0.0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="xz", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        from danlu.evaluate.compression import xz_bits_per_byte

        try:
            self._bits = xz_bits_per_byte(_texts(self._data / "train"), _texts(self._data / "validation"))
        except Exception as error:
            self._error = error

    def result(self) -> float:
        """Bits a byte."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._bits


def _texts(folder: Path) -> Iterator[str]:
    from danlu.text.write import read_documents

    return (document.text for document in read_documents(folder))


def _text(data: Path, model: "Transformer", tokenizer: "Tokenizer", machine: "Machine") -> dict[str, Any]:
    """Bits per byte and per character, perplexity, and bits per byte of each source."""
    import numpy as np

    from danlu.base.device import torch_dtype
    from danlu.evaluate.perplexity import fit, total
    from danlu.text.write import read_documents
    from danlu.tokens.shards import encode_documents

    documents = list(read_documents(data / "validation"))
    if not documents:
        raise UserError("there are no validation documents", where=data, remedy="Clean with --validation-share above 0")
    groups: dict[str, list[Any]] = {}
    for document, encoded in zip(documents, encode_documents(tokenizer, (d.text for d in documents)), strict=True):
        groups.setdefault(document.source, []).append((np.asarray(encoded.ids), encoded.bytes))
    model.compute_dtype = torch_dtype(machine.precision)
    fits = {source: fit(model, group, pad_id=tokenizer.pad_id) for source, group in sorted(groups.items())}
    overall = total(fits)
    return {
        "bits_per_byte": overall.bits_per_byte,
        "bits_per_character": overall.bits_per_character(sum(len(document.text) for document in documents)),
        "perplexity": overall.perplexity,
        "documents": len(documents),
        "bytes": overall.bytes,
        "sources": {source: fit.bits_per_byte for source, fit in fits.items()},
    }


def _answers(recipe: Evaluate, model: "Transformer", tokenizer: "Tokenizer", machine: "Machine") -> dict[str, Any]:
    """Stop rate and language on held-out questions; small talk."""
    from danlu.evaluate.answers import same_language_rate, stop_rate
    from danlu.evaluate.stats import wilson
    from danlu.recipes.chats import HELD_OUT, chats_from, first_question

    assert recipe.chats is not None
    file = recipe.chats / HELD_OUT if recipe.chats.is_dir() else recipe.chats
    chats = {first_question(chat): chat for chat in chats_from([str(file)], 0.0)}
    questions = [next(turn["content"] for turn in chat if turn["role"] == "user") for chat in chats.values()]
    step = max(len(questions) / recipe.answers, 1.0)
    taken = [questions[int(i * step)] for i in range(min(recipe.answers, len(questions)))]
    answers = ask(recipe, model, tokenizer, machine, taken)
    talk = ask(recipe, model, tokenizer, machine, list(recipe.small_talk))
    stopped = stop_rate(answers)
    return {
        "stop_rate": stopped,
        "stop_rate_interval": wilson(stopped * len(answers), len(answers)),
        "same_language_rate": same_language_rate(answers),
        "small_talk_language": same_language_rate(talk),
        "questions": len(answers),
        "answers": [{"prompt": a.prompt, "answer": a.text, "stopped": a.stopped} for a in [*talk, *answers[:12]]],
    }


def ask(
    recipe: Evaluate, model: "Transformer", tokenizer: "Tokenizer", machine: "Machine", questions: list[str]
) -> list[Any]:
    """Answer single questions with the chat template."""
    from danlu.base.device import torch_dtype
    from danlu.base.seed import derive
    from danlu.evaluate.answers import Answer
    from danlu.generate.engine import Engine
    from danlu.generate.sample import Sampling
    from danlu.tokens.chat import render

    turns = [[{"role": "user", "content": question}] for question in questions]
    prompts = [render(tokenizer, turn, add_generation_prompt=True).ids for turn in turns]
    # A question that leaves no room for an answer is left out, not allowed to end the evaluation of all others.
    fits = [index for index, prompt in enumerate(prompts) if len(prompt) < model.config.max_length]
    questions, prompts = [questions[i] for i in fits], [prompts[i] for i in fits]
    how = Sampling(recipe.max_new_tokens, recipe.temperature, top_p=0.95, min_new_tokens=1,
                   repetition_penalty=recipe.repetition_penalty)  # fmt: skip
    each = [replace(how, seed=derive(recipe.seed, question)) for question in questions]
    engine = Engine(model, tokenizer.stop_ids, rows=128, dtype=torch_dtype(machine.precision))
    done = engine.generate(prompts, each)
    return [Answer(q, tokenizer.decode(c.ids).strip(), c.stopped) for q, c in zip(questions, done, strict=True)]


def _preference(recipe: Evaluate, model: "Transformer", tokenizer: "Tokenizer", machine: "Machine") -> dict[str, Any]:
    """Accuracy on held-out pairs with its interval."""
    from danlu.base.device import torch_dtype
    from danlu.evaluate.preference import preference
    from danlu.recipes.chats import HELD_OUT, preferences_from, render_pairs
    from danlu.recipes.training import open_model

    assert recipe.preferences is not None
    assert recipe.reference is not None
    reference, _ = open_model(recipe.reference, machine)
    model.compute_dtype = reference.compute_dtype = torch_dtype(machine.precision)
    file = recipe.preferences / HELD_OUT if recipe.preferences.is_dir() else recipe.preferences
    pairs = render_pairs(preferences_from([str(file)], 0.0), tokenizer, model.config.max_length)
    if not pairs:
        raise UserError("there are no held-out pairs", where=file, remedy="Raise --held-out-share of danlu dpo")
    return asdict(preference(model, reference, pairs, beta=recipe.beta, pad_id=tokenizer.pad_id))
