"""Records with labels: JSONL, JSON, Parquet, CSV, TSV and CoNLL files → samples, each checked.

Known shapes: {"text", "label"}, with "text_pair" for two texts and a list of labels for several at once;
{"tokens", "tags"} and CoNLL's lines of a word and its tag; {"question", "context", "answers": {"text",
"answer_start"}} and the nested file of SQuAD; {"text", "score"}; {"query", "positive"} with "negative" or "score".
As with conversations (`danlu.text.records`), a line that cannot be parsed is counted and forgiven up to a share, and
a record that parses but means nothing is an error at once, which names it.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.base.errors import UserError
from danlu.base.files import existing
from danlu.base.progress import say
from danlu.text.records import RECORD_SUFFIXES, records
from danlu.text.report import Funnel
from danlu.text.sample import Kind, Sample

COLUMNS, LINES = (".conll", ".bio", ".iob", ".tsv", ".txt"), (".txt",)
CHINESE = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
TIGHT = re.compile(f"[\u2e80-\u33ff\uff00-\uffef{CHINESE}]")  # with kana and wide marks: written without spaces
WORDS = re.compile(f"[{CHINESE}]|\\w+?(?=[{CHINESE}])|\\w+|[^\\w\\s]")
SHAPES: dict[Kind, str] = {
    "classify": '{"text", "label"}, and "text_pair" for two texts',
    "tag": '{"tokens": [...], "tags": [...]}, or a CoNLL file',
    "qa": '{"question", "context", "answers": {"text": [...], "answer_start": [...]}}',
    "regress": '{"text", "score"}, and "text_pair" for two texts',
    "embed": '{"query", "positive"}, with "negative" or "score"',
}


def words_of(text: str) -> tuple[str, ...]:
    """A raw text in words, to be tagged: runs of letters and digits, Chinese characters and marks one by one."""
    return tuple(WORDS.findall(text))


def joined(words: tuple[str, ...]) -> str:
    """Words as a text: a space between two, but none beside a Chinese character, which is written without."""
    return "".join(("" if not i or tight(words[i - 1], word) else " ") + word for i, word in enumerate(words))


def tight(before: str, word: str) -> bool:
    """Do two words stand without a space between them?"""
    return bool(TIGHT.match(before[-1:]) or TIGHT.match(word))


def read_samples(source: str | Path, kind: Kind, *, bad_share: float = 0.01, need: bool = True) -> list[Sample]:
    """The samples of a file, or of the files in a folder; without ``need`` labels may be missing, to be predicted.

    A `UserError` names the record that has no text, no label, or a label that makes no sense.
    """
    tally = Funnel()
    found = [sample for path in _files(source, kind, need) for sample in _samples(path, kind, tally, bad_share, need)]
    if tally.problems:
        say(f"  {tally.problem_count} records of {source} skipped; the first: {tally.problems[0]}")
    if not found:
        raise UserError("holds no record", where=source, remedy=f"Use {SHAPES[kind]}")
    return found


def _files(source: str | Path, kind: Kind, need: bool) -> list[Path]:
    path = existing(Path(source))
    lists = COLUMNS if kind == "tag" else () if need else LINES
    known = tuple(dict.fromkeys((*RECORD_SUFFIXES, *lists)))
    found = sorted(p for p in path.rglob("*") if p.name.endswith(known)) if path.is_dir() else [path]
    if not found or not found[0].name.endswith(known):
        what = "holds no file of records" if path.is_dir() else "is not a file of records"
        raise UserError(what, where=path, remedy=f"Supported: {', '.join(known)}")
    return found


def _samples(path: Path, kind: Kind, tally: Funnel, bad_share: float, need: bool) -> Iterator[Sample]:
    if kind == "tag" and path.suffix in COLUMNS and (need or path.suffix != ".txt"):
        yield from _conll(path, need)
    elif path.suffix in LINES:
        texts = enumerate(_text(path).split("\n"), 1)
        yield from (sample({"text": t.strip()}, kind, f"{path}, line {n}", need) for n, t in texts if t.strip())
    elif kind == "qa" and path.suffix == ".json" and (nested := _squad(path)) is not None:
        yield from (sample(r, kind, where, need) for where, r in nested)
    else:
        yield from (sample(r, kind, where, need) for where, r in records(path, tally, bad_share))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"invalid UTF-8 at byte {error.start}", where=path, remedy="Write it as UTF-8") from None


def _squad(path: Path) -> list[tuple[str, dict[str, Any]]] | None:
    """The questions of SQuAD's own file, or None for a plain list of records."""
    try:
        whole = json.loads(_text(path))
        if not isinstance(whole, dict):
            return None
        found = []
        for article in whole["data"]:
            for paragraph in article["paragraphs"]:
                for number, asked in enumerate(paragraph["qas"], 1):
                    where = f"{path}, question {asked.get('id', number)}"
                    found.append((where, {"context": paragraph["context"], **asked}))
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"not a file of questions ({error!r})", where=path, remedy=f"Use {SHAPES['qa']}") from None


def _conll(path: Path, need: bool) -> Iterator[Sample]:
    """Sentences apart by blank lines, a line a word: the word first, its tag last."""
    words: list[str] = []
    tags: list[str] = []
    start = 1
    lines = _text(path).replace("\r\n", "\n").split("\n")
    for number, line in enumerate([*lines, ""], 1):
        columns = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or columns[0] == "-DOCSTART-":
            if words:
                known = tuple(tags) if len(tags) == len(words) else None
                yield Sample(f"{path}, line {start}", joined(tuple(words)), words=tuple(words), tags=known)
            words, tags = [], []
            continue
        if not words and line.startswith("# "):  # CoNLL-U's comments
            continue
        start = start if words else number
        if need and len(columns) < 2:
            raise UserError("a word without a tag", where=f"{path}, line {number}", remedy=f"Use {SHAPES['tag']}")
        if not columns[0].strip():
            raise UserError("a tag without a word", where=f"{path}, line {number}", remedy=f"Use {SHAPES['tag']}")
        words.append(columns[0].strip())
        tags += [columns[-1].strip()] if len(columns) > 1 else []


def sample(record: dict[str, Any], kind: Kind, where: str, need: bool = True) -> Sample:
    """One record as a sample, or a `UserError` that names it."""
    name = str(record.get("id") or "")
    if kind == "tag":
        return _tagged(record, where, need, name)
    if kind == "qa":
        return _asked(record, where, need, name)
    keys = ("query", "positive") if kind == "embed" and "query" in record else ("text", "text_pair")
    text, pair = _string(record, keys[0], where, kind), _optional(record, keys[1], where)
    given: dict[str, Any] = {"where": where, "text": text, "pair": pair, "name": name}
    if kind == "classify":
        labels, multi = _labels(record, where, need)
        return Sample(**given, labels=labels, multi=multi)
    score = _score(record, where, need=need and kind == "regress")
    if kind == "embed":
        given["negative"] = _optional(record, "negative", where)
        if need and pair is None:
            raise UserError(f"no text under '{keys[1]}'", where=where, remedy=f"Use {SHAPES[kind]}")
    return Sample(**given, score=score)


def _string(record: dict[str, Any], key: str, where: str, kind: Kind) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        found = f"keys: {', '.join(map(str, record)) or 'none'}"
        raise UserError(f"no text under '{key}' ({found})", where=where, remedy=f"Use {SHAPES[kind]}")
    return value


def _optional(record: dict[str, Any], key: str, where: str) -> str | None:
    value = record.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"'{key}' is no text", where=where)
    return value


def _labels(record: dict[str, Any], where: str, need: bool) -> tuple[tuple[str, ...] | None, bool]:
    """The label, or the labels, as strings; 3.0 is the label 3."""
    value = record.get("label", record.get("labels"))
    if value is None or value == "":
        if need:
            raise UserError("no label", where=where, remedy=f"Use {SHAPES['classify']}")
        return None, False
    values = value if isinstance(value, list) else [value]
    for one in values:
        if not isinstance(one, str | int | float) or one == "":
            raise UserError(f"label {one!r} is neither a name nor a number", where=where)
    whole = [int(v) if isinstance(v, float) and v == int(v) else v for v in values]
    return tuple(sorted({str(v).strip() for v in whole})), isinstance(value, list)


def _score(record: dict[str, Any], where: str, need: bool) -> float | None:
    value = record.get("score")
    if value is None or value == "":
        if need:
            raise UserError("no score", where=where, remedy=f"Use {SHAPES['regress']}")
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if isinstance(value, bool) or not abs(found) < float("inf"):
        raise UserError(f"score {value!r} is no number", where=where)
    return found


def _tagged(record: dict[str, Any], where: str, need: bool, name: str) -> Sample:
    words, tags = record.get("tokens"), record.get("tags", record.get("ner_tags"))
    if words is None and not need and isinstance(record.get("text"), str):
        words = list(words_of(record["text"]))
    if not isinstance(words, list) or not words or not all(isinstance(w, str) and w.strip() for w in words):
        raise UserError("no list of words under 'tokens'", where=where, remedy=f"Use {SHAPES['tag']}")
    if tags is None and not need:
        return Sample(where, joined(tuple(words)), words=tuple(words), name=name)
    if not isinstance(tags, list) or len(tags) != len(words):
        found = f"{len(tags)} tags" if isinstance(tags, list) else "no list of tags"
        raise UserError(f"{found} for {len(words)} words", where=where, remedy=f"Use {SHAPES['tag']}")
    if not all(isinstance(tag, str | int) and str(tag).strip() for tag in tags):
        raise UserError("a tag is neither a name nor a number", where=where)
    return Sample(where, joined(tuple(words)), words=tuple(words), tags=tuple(str(tag) for tag in tags), name=name)


def _asked(record: dict[str, Any], where: str, need: bool, name: str) -> Sample:
    question, context = (_string(record, key, where, "qa") for key in ("question", "context"))
    given = record.get("answers")
    if given is None and not need:
        return Sample(where, question, context, name=name)
    if isinstance(given, dict):
        texts, starts = given.get("text"), given.get("answer_start")
        texts, starts = ([v] if isinstance(v, str | int) else v for v in (texts, starts))
        if isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts):
            given = [{"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True)]
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise UserError("no answers", where=where, remedy=f"Use {SHAPES['qa']}")
    found = []
    for one in given:
        text, start = one.get("text"), one.get("answer_start")
        if not isinstance(text, str) or not text or not isinstance(start, int) or start < 0:
            raise UserError("an answer needs a text and where it begins", where=where, remedy=f"Use {SHAPES['qa']}")
        if context[start : start + len(text)] != text:
            seen = context[start : start + len(text)]
            what = f"answer '{text[:40]}' is not what stands at character {start} of the context ('{seen[:40]}')"
            raise UserError(what, where=where, remedy="Correct answer_start")
        found.append((text, start))
    return Sample(where, question, context, answers=tuple(found), name=name)
