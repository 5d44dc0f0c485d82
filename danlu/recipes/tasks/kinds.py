"""What each kind of task makes of its samples: rows to learn, a loss, guesses, and how good these are.

One dictionary literal a step, a function a kind.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from danlu.evaluate.entities import entity_measures
from danlu.evaluate.labels import label_measures, number_measures, retrieval_measures
from danlu.evaluate.spans import answer_measures
from danlu.model.config import ModelConfig
from danlu.model.task_files import TaskInfo
from danlu.model.task_heads import head_of, of_types, pooled
from danlu.model.transformer import Transformer
from danlu.objectives.classify import LABEL, TARGET, Classify, Regress
from danlu.objectives.contrast import DEGREE, vectors
from danlu.objectives.labelled import TYPES, RowLoss
from danlu.objectives.span import SPAN, Found, Span, best_span, span_of
from danlu.objectives.tag import TAGS, Tag, best_tags, entities, marked
from danlu.recipes.tasks.data import Prepared
from danlu.text.sample import Sample
from danlu.tokens.batches import Batch
from danlu.tokens.examples import Example, Value, collate
from danlu.tokens.labelled import Encoder
from danlu.tokens.tokenizer import Tokenizer

FEW = 256  # texts whose mean vector is taken
DIGITS = 6  # of a written probability
Guess = dict[str, Any]


def encoder_of(tokenizer: Tokenizer, config: ModelConfig, info: TaskInfo) -> Encoder:
    """How the task's samples become rows."""
    shape: dict[str, Any] = {"causal": config.causal, "length": info.length, "stride": info.stride}
    return Encoder(tokenizer, **shape, types=config.token_types)


def rows_of(info: TaskInfo, encoder: Encoder, samples: Sequence[Sample]) -> list[Example]:
    """The rows of the samples, without what is to be learned of them."""
    makers = {"tag": encoder.words, "qa": encoder.questions, "embed": encoder.sides}
    return makers.get(info.kind, encoder.texts)(samples)


def lessons(prepared: Prepared, encoder: Encoder, **same: Value) -> list[Example]:
    """Rows to learn from; ``same`` are values that all of them have. A row that has nothing to say is left out."""
    info, samples = prepared.info, prepared.training
    numbers = {label: number for number, label in enumerate(info.labels)}
    found = []
    for row in rows_of(info, encoder, samples):
        values = _values(prepared, numbers, row, samples[row.owner])
        if values is not None:
            found.append(replace(row, values={**row.values, **values, **same}))
    return found


def _values(prepared: Prepared, numbers: dict[str, int], row: Example, sample: Sample) -> dict[str, Value] | None:
    info = prepared.info
    if info.kind == "classify":
        assert sample.labels is not None
        if info.multi_label:
            return {TARGET: [float(label in sample.labels) for label in info.labels]}
        return {LABEL: numbers[sample.labels[0]]}
    if info.kind == "regress":
        assert sample.score is not None
        return {TARGET: (sample.score - prepared.shift) / prepared.scale}
    if info.kind == "tag":
        assert sample.tags is not None
        tags = [-1 if place < 0 else numbers[sample.tags[place]] for place in row.places]
        return {TAGS: tags} if max(tags) >= 0 else None
    if info.kind == "qa":
        text, begin = sample.answers[0] if sample.answers else ("", 0)
        return {SPAN: span_of(row.places, begin, begin + len(text)) if text else [0, 0]}
    return {} if sample.score is None else {DEGREE: sample.score}


def loss_of(prepared: Prepared, smoothing: float) -> RowLoss:
    """The loss of the task's rows; vectors have one of their own (`danlu.objectives.contrast`)."""
    name, info = prepared.name, prepared.info
    losses: dict[str, Callable[[], RowLoss]] = {
        "classify": lambda: Classify(name, info.pooling, smoothing=smoothing, multi=info.multi_label),
        "regress": lambda: Regress(name, info.pooling),
        "tag": lambda: Tag(name, smoothing=smoothing),
        "qa": lambda: Span(name),
    }
    return losses[info.kind]()


@torch.no_grad()
def guess(
    model: Transformer, name: str, info: TaskInfo, encoder: Encoder, samples: Sequence[Sample], batch: int = 32
) -> list[Guess]:
    """What the model says of each sample, which needs no label. The head called ``name`` is asked."""
    rows = rows_of(info, encoder, samples)
    ask: dict[str, Callable[..., list[Guess]]] = {
        "classify": _classes, "regress": _scores, "tag": _tags, "qa": _answers, "embed": _vectors,
    }  # fmt: skip
    deal = partial(_dealt, model, encoder.tokenizer.pad_id, batch)
    return ask[info.kind](model, name, info, samples, rows, deal)


@torch.no_grad()
def start_at(model: Transformer, prepared: Prepared, encoder: Encoder) -> None:
    """Let a head without a bias begin near the mean of the scores: along the mean vector of some texts.

    Scores around 500 that vary by 100 were not found in 60 steps otherwise (error 270 for a decoder, 26 then).
    """
    if not prepared.start:
        return
    rows = rows_of(prepared.info, encoder, prepared.training[:FEW])
    total = torch.zeros(model.config.width)
    model.eval()
    for _, batch in _dealt(model, encoder.tokenizer.pad_id, 32, rows):
        total += pooled(_hidden(model, batch), batch.segments, prepared.info.pooling).float().cpu().sum(0)
    mean = total / len(rows)
    weight = head_of(model, prepared.name).out.weight
    weight.add_((prepared.start * mean / mean.dot(mean)).to(weight.device))


Deal = Callable[[Sequence[Example]], Iterator[tuple[list[int], Batch]]]


def _dealt(model: Transformer, pad_id: int, size: int, rows: Sequence[Example]) -> Iterator[tuple[list[int], Batch]]:
    """Batches of rows of similar length, with the rows' numbers."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    for begin in range(0, len(order), size):
        numbers = order[begin : begin + size]
        yield numbers, collate([rows[i] for i in numbers], pad_id=pad_id).to(model.embed.weight.device)


def _hidden(model: Transformer, batch: Batch) -> Tensor:
    with of_types(model, batch.extra.get(TYPES)):
        return model.features(batch.ids, batch.segments)


def _pooled_outputs(model: Transformer, name: str, info: TaskInfo, rows: Sequence[Example], deal: Deal) -> Tensor:
    """[N, L], in the order of the rows."""
    found = torch.zeros(len(rows), info.outputs)
    for numbers, batch in deal(rows):
        made = head_of(model, name)(pooled(_hidden(model, batch), batch.segments, info.pooling))
        found[numbers] = made.float().cpu()
    return found


def _classes(
    model: Transformer, name: str, info: TaskInfo, samples: Sequence[Sample], rows: Sequence[Example], deal: Deal
) -> list[Guess]:
    logits = _pooled_outputs(model, name, info, rows, deal)
    chances = torch.sigmoid(logits) if info.multi_label else torch.softmax(logits, -1)
    found = []
    for row in chances.tolist():
        named: Guess = {label: round(p, DIGITS) for label, p in zip(info.labels, row, strict=True)}
        if info.multi_label:
            found.append({"labels": [label for label, p in named.items() if p > 0.5], "probabilities": named})
        else:
            best = info.labels[int(np.argmax(row))]
            found.append({"label": best, "probability": named[best], "probabilities": named})
    return found


def _scores(
    model: Transformer, name: str, info: TaskInfo, samples: Sequence[Sample], rows: Sequence[Example], deal: Deal
) -> list[Guess]:
    return [{"score": value} for value in _pooled_outputs(model, name, info, rows, deal)[:, 0].tolist()]


def _tags(
    model: Transformer, name: str, info: TaskInfo, samples: Sequence[Sample], rows: Sequence[Example], deal: Deal
) -> list[Guess]:
    scores = [torch.zeros(len(sample.words), info.outputs) for sample in samples]
    for numbers, batch in deal(rows):
        made = torch.log_softmax(head_of(model, name)(_hidden(model, batch)), -1).float().cpu()
        for number, row in zip(numbers, made, strict=True):
            places = torch.tensor(rows[number].places)
            scores[rows[number].owner][places[places >= 0]] = row[: len(places)][places >= 0]
    found = []
    for sample, each in zip(samples, scores, strict=True):
        best = best_tags(each, info.labels)
        tags = [info.labels[i] for i in best]
        chances = [round(p, DIGITS) for p in each[torch.arange(len(best)), best].exp().tolist()]
        guessed: Guess = {"tokens": list(sample.words), "tags": tags, "probabilities": chances}
        if marked(info.labels):
            guessed["entities"] = [{"type": t, "tokens": list(sample.words[a : b + 1])} for t, a, b in entities(tags)]
        found.append(guessed)
    return found


def _answers(
    model: Transformer, name: str, info: TaskInfo, samples: Sequence[Sample], rows: Sequence[Example], deal: Deal
) -> list[Guess]:
    best: dict[int, tuple[Found, float]] = {}
    none = dict[int, float]()  # of all windows the one that is least sure that there is no answer
    for numbers, batch in deal(rows):
        logits = Span(name).logits(model, _hidden(model, batch), batch).float().cpu()
        for number, row in zip(numbers, logits, strict=True):
            owner, found = rows[number].owner, best_span(row, rows[number].places, info.longest_answer)
            chance = found.score - float(torch.logsumexp(row, 0).sum())
            none[owner] = min(none.get(owner, found.none), found.none)
            if owner not in best or found.score > best[owner][0].score:
                best[owner] = found, chance
    guesses = []
    for number, sample in enumerate(samples):
        found, chance = best[number]
        silent = info.unanswerable and none[number] > found.score
        text = "" if silent else (sample.pair or "")[found.begin : found.end].strip()
        begin = -1 if silent else (sample.pair or "").find(text, found.begin)
        guesses.append({"answer": text, "answer_start": begin, "probability": round(float(np.exp(chance)), DIGITS)})
    return guesses


def _vectors(
    model: Transformer, name: str, info: TaskInfo, samples: Sequence[Sample], rows: Sequence[Example], deal: Deal
) -> list[Guess]:
    def made(texts: Sequence[Example]) -> Tensor:
        found = torch.zeros(len(texts), model.config.width)
        for numbers, batch in deal(texts):
            found[numbers] = vectors(model, batch.ids, batch.segments, info.pooling).cpu()
        return found

    first = made(rows)
    guesses: list[Guess] = [{"vector": vector.tolist()} for vector in first]
    paired = [i for i, row in enumerate(rows) if row.sides]
    if paired:
        second = made([Example(rows[i].sides[0]) for i in paired])
        for i, vector in zip(paired, second, strict=True):
            guesses[i] |= {"pair_vector": vector.tolist(), "cosine": round(float(first[i] @ vector), DIGITS)}
    return guesses


def measure(info: TaskInfo, samples: Sequence[Sample], guesses: Sequence[Guess]) -> dict[str, Any]:
    """How good the guesses are, for samples that all have labels."""
    if info.kind == "classify":
        wanted = _marks(info, [sample.labels or () for sample in samples])
        named = [g["labels"] if info.multi_label else [g["label"]] for g in guesses]
        return label_measures(wanted, _marks(info, named), info.labels)
    if info.kind == "regress":
        return number_measures(_numbers(samples), np.asarray([guessed["score"] for guessed in guesses]))
    if info.kind == "tag":
        tags, guessed = [s.tags or () for s in samples], [g["tags"] for g in guesses]
        pairs = [(a, b) for row in zip(tags, guessed, strict=True) for a, b in zip(*row, strict=True)]
        right = sum(a == b for a, b in pairs) / max(len(pairs), 1)
        found = entity_measures(tags, guessed) if marked(info.labels) else {}
        return {"records": len(samples), "words": len(pairs), "accuracy": right, **found}
    if info.kind == "qa":
        return answer_measures([g["answer"] for g in guesses], [[a for a, _ in s.answers or ()] for s in samples])
    if samples[0].score is not None:
        return number_measures(_numbers(samples), np.asarray([guessed["cosine"] for guessed in guesses]))
    texts = {sample.pair: guessed["pair_vector"] for sample, guessed in zip(samples, guesses, strict=True)}
    places = {text: number for number, text in enumerate(texts)}
    queries = np.asarray([guessed["vector"] for guessed in guesses])
    return retrieval_measures(queries, np.asarray(list(texts.values())), np.asarray([places[s.pair] for s in samples]))


def _numbers(samples: Sequence[Sample]) -> Any:
    """The known scores, [N]."""
    return np.asarray([sample.score for sample in samples], np.float64)


def _marks(info: TaskInfo, named: Sequence[Sequence[str]]) -> Any:
    """[N, L] of 0 and 1."""
    numbers = {label: number for number, label in enumerate(info.labels)}
    found = np.zeros((len(named), len(info.labels)), np.int64)
    for row, labels in zip(found, named, strict=True):
        row[[numbers[label] for label in labels]] = 1
    return found


def is_known(info: TaskInfo, sample: Sample) -> bool:
    """Has the sample what a guess can be measured by?"""
    there = {
        "classify": sample.labels is not None, "tag": sample.tags is not None, "qa": sample.answers is not None,
        "regress": sample.score is not None, "embed": sample.pair is not None,
    }  # fmt: skip
    return there[info.kind]
