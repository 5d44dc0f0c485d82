"""Records out of JSONL, JSON and Parquet, and the two kinds that carry meaning: chats and preference pairs.

A record that cannot be parsed is counted, named in the report and skipped, up to a stated share of its file
(`BadRecords`). A record that parses but means nothing (a chat without an answer, a pair with equal answers) is an
error at once: it shows that the file is not what its owner thinks it is.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from danlu.base.errors import UserError
from danlu.base.files import existing
from danlu.text import packages
from danlu.text.document import Chat, Preference
from danlu.text.report import Funnel

RECORD_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
JUDGED_FROM = 1000  # records; before that, the share is judged only at the end of the file
BATCH = 256  # Parquet rows in memory at a time

SHAREGPT = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
ROUND = ("user", "assistant")
PAIRS = (("instruction", "output"), ("prompt", "completion"), ("prompt", "response"), ("question", "answer"))
SHAPES = 'Use {"messages": [...]}, {"conversations": [...]}, or ' + ", ".join(f'{{"{a}", "{b}"}}' for a, b in PAIRS)


class BadRecords:
    """Counts a file's unreadable records and decides when they are too many.

    One is always forgiven, so that a slip in a file of three does not stop the run; beyond it, no more than
    ``share`` of the file, and never all of it. With a share of 0 the first one is an error.
    """

    def __init__(self, path: Path, share: float, tally: Funnel) -> None:
        self.path, self.share, self.tally = path, share, tally
        self.seen = self.count = 0
        self._first = ("", "")

    def good(self) -> None:
        """One more record that could be read."""
        self.seen += 1

    def bad(self, where: str, problem: str) -> None:
        """One more that could not; raises a `UserError` if that settles the file."""
        self.seen, self.count = self.seen + 1, self.count + 1
        if self.count == 1:
            self._first = (where, problem)
        self.tally.problem(f"{where}: {problem}; skipped")
        if self.share == 0 or self.seen >= JUDGED_FROM:
            self._judge()

    def close(self) -> None:
        """The file has ended."""
        if self.seen == 0:
            self.tally.problem(f"{self.path}: no records; skipped")
        if self.count and self.count == self.seen:
            raise self._error("not one record can be read")
        self._judge()

    def _judge(self) -> None:
        if self.count > max(1 if self.share else 0, self.share * self.seen):
            raise self._error(f"{self.count} of {self.seen} records are bad, more than bad_share={self.share} allows")

    def _error(self, verdict: str) -> UserError:
        where, problem = self._first
        return UserError(f"{problem}; {verdict}", where=where, remedy="Mend or delete the record, or raise bad_share")


def records(path: Path, tally: Funnel, bad_share: float = 0.01) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record of a file with the words that name it in an error ("chats.jsonl, line 3")."""
    counter = BadRecords(path, bad_share, tally)
    for where, record in unjudged(path, counter):
        counter.good()
        yield where, record
    counter.close()


def unjudged(path: Path, counter: BadRecords) -> Iterator[tuple[str, dict[str, Any]]]:
    """As `records`, but the caller counts the good ones: it may know more reasons why a record is bad."""
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".json":
        yield from _array(path, counter)
    else:
        yield from _lines(path, counter)


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", row
    except (pa.ArrowException, EOFError) as error:
        raise UserError(f"not a Parquet file ({_line(error)})", where=path, remedy="Write or fetch it again") from None


def _array(path: Path, counter: BadRecords) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        values = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"malformed JSON ({_json(error)})", where=f"{path}{line}", remedy="Mend the file") from None
    if not isinstance(values, list):
        raise UserError("is not a JSON list of records", where=path, remedy="Use a list, or JSONL")
    for number, value in enumerate(values, 1):
        where = f"{path}, record {number}"
        if isinstance(value, dict):
            yield where, _encodable(value)
        else:
            counter.bad(where, "not a JSON object")


def _lines(path: Path, counter: BadRecords) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as handle:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
                except UnicodeDecodeError as error:
                    counter.bad(where, f"invalid UTF-8 at byte {error.start} of the line")
                    continue
                except (ValueError, RecursionError) as error:
                    counter.bad(where, f"malformed JSON ({_json(error)})")
                    continue
                if not isinstance(value, dict):
                    counter.bad(where, "not a JSON object")
                    continue
                yield where, _encodable(value) if b"\\u" in line else value
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"damaged gzip ({_line(error)})", where=path, remedy="Write or fetch it again") from None


def _encodable(value: dict[str, Any]) -> dict[str, Any]:
    """JSON can spell half a surrogate pair, which no UTF-8 file can hold; it becomes a question mark."""
    mended: dict[str, Any] = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return mended


def _json(error: Exception) -> str:
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else _line(error)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _files(source: str | Path) -> list[Path]:
    """The record files that ``source`` (a file or a folder) stands for."""
    path = existing(Path(source))
    found = sorted(p for p in path.rglob("*") if p.name.endswith(RECORD_SUFFIXES)) if path.is_dir() else [path]
    if not found or not found[0].name.endswith(RECORD_SUFFIXES):
        what = "holds no file of records" if path.is_dir() else "is not a file of records"
        raise UserError(what, where=path, remedy=f"Supported: {', '.join(RECORD_SUFFIXES)}")
    if all(p.stat().st_size == 0 for p in found):
        raise UserError("is empty", where=path, remedy="Give a file with records in it")
    return found


def read_chats(source: str | Path, tally: Funnel | None = None, *, bad_share: float = 0.01) -> Iterator[Chat]:
    """Validated conversations from a file, a folder or ``package:NAME``.

    Known shapes: ``{"messages": [{"role", "content"}]}``, ShareGPT's ``{"conversations": [{"from", "value"}]}``,
    Alpaca's ``{"instruction", "input", "output", "history"}`` and other question-answer pairs (`PAIRS`), as text or as
    messages, with an optional ``system``. A `UserError` names the record that holds no answer, an empty answer or an
    unknown role.
    """
    if packages.is_package(source):
        yield from packages.chats(packages.name_of(str(source)))
        return
    tally = tally if tally is not None else Funnel()
    for path in _files(source):
        for where, record in records(path, tally, bad_share):
            yield chat(record, where)


def chat(record: dict[str, Any], where: str) -> Chat:
    """One record as a conversation, or a `UserError` that names it."""
    if "messages" in record:
        turns = messages(record["messages"], where)
    elif "conversations" in record:
        turns = messages(record["conversations"], where, "from", "value", SHAREGPT)
    else:
        turns = _pair(record, where)
    if isinstance(record.get("system"), str) and record["system"].strip() and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": record["system"]})
    if not any(turn["role"] == "assistant" for turn in turns):
        raise UserError("no assistant turn", where=where, remedy="Add the answer to learn, or delete the record")
    return turns


def _pair(record: dict[str, Any], where: str) -> Chat:
    for ask, reply in PAIRS:
        question, answer = record.get(ask), record.get(reply)
        if isinstance(question, str) and isinstance(answer, str):
            extra = record.get("input") if ask == "instruction" else None
            if isinstance(extra, str) and extra.strip():
                question = f"{question}\n\n{extra}"
            pair = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            return messages(_history(record.get("history"), where) + pair, where)
        if isinstance(question, list) and isinstance(answer, list):
            return messages(question + answer, where)
    found = ", ".join(map(str, record)) or "none"
    raise UserError(f"no known chat shape (keys: {found})", where=where, remedy=SHAPES)


def _history(given: Any, where: str) -> Chat:
    """Alpaca's earlier rounds, [[question, answer], ...], as turns."""
    if not given:
        return []
    if not isinstance(given, list) or not all(
        isinstance(pair, list) and len(pair) == len(ROUND) and all(isinstance(text, str) for text in pair)
        for pair in given
    ):
        raise UserError("history is not a list of rounds", where=where, remedy='Use [["question", "answer"], ...]')
    return [{"role": role, "content": text} for pair in given for role, text in zip(ROUND, pair, strict=True)]


def messages(
    values: Any, where: str, role_key: str = "role", text_key: str = "content", roles: dict[str, str] | None = None
) -> Chat:
    """A list of turns, checked: known roles, text in each, the system turn first, no empty answer."""
    names = roles or {"system": "system", "user": "user", "assistant": "assistant"}
    if not isinstance(values, list) or not values:
        raise UserError("no turns", where=where, remedy="Give a non-empty list of messages")
    turns: Chat = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict) or not isinstance(value.get(text_key), str):
            remedy = f'Each turn is {{"{role_key}": ..., "{text_key}": "..."}}'
            raise UserError(f"turn {number} has no text under '{text_key}'", where=where, remedy=remedy)
        role = value.get(role_key)
        if not isinstance(role, str) or role not in names:
            raise UserError(f"turn {number}: unknown role {role!r}", where=where, remedy=f"Known: {', '.join(names)}")
        if names[role] == "assistant" and not value[text_key].strip():
            remedy = "Write the answer, or delete the record"
            raise UserError(f"turn {number}: empty assistant answer", where=where, remedy=remedy)
        if names[role] == "system" and number > 1:
            raise UserError(f"turn {number}: a system turn that is not the first", where=where, remedy="Move it up")
        turns.append({"role": names[role], "content": value[text_key]})
    return turns


def read_preferences(
    source: str | Path, tally: Funnel | None = None, *, bad_share: float = 0.01
) -> Iterator[Preference]:
    """Validated preference pairs from a file or a folder: the prompt's turns and two different answers.

    Known shapes: ``{"prompt", "chosen", "rejected"}``, each a string or a list of messages, and conversations
    ``chosen`` and ``rejected`` without a prompt, which then is what they have in common before the last turn.
    """
    tally = tally if tally is not None else Funnel()
    for path in _files(source):
        for where, record in records(path, tally, bad_share):
            yield preference(record, where)


def preference(record: dict[str, Any], where: str) -> Preference:
    """One record as a preference pair, or a `UserError` that names it."""
    for key in ("chosen", "rejected"):
        if key not in record:
            raise UserError(f"no key '{key}'", where=where, remedy='Use {"prompt", "chosen", "rejected"}')
    prompt = record.get("prompt")
    given = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    asked = messages(given, where) if given else []
    before_chosen, chosen = _answer(record["chosen"], where, "chosen")
    before_rejected, rejected = _answer(record["rejected"], where, "rejected")
    asked = asked or before_chosen or before_rejected
    if any(before and before != asked for before in (before_chosen, before_rejected)):
        remedy = "The two may differ in the last turn only"
        raise UserError("chosen and rejected answer different prompts", where=where, remedy=remedy)
    if not asked or asked[-1]["role"] != "user":
        raise UserError("the prompt does not end with a user turn", where=where, remedy="Add 'prompt'")
    if chosen.strip() == rejected.strip():
        remedy = "Delete the pair, or make the answers differ"
        raise UserError("chosen and rejected are equal", where=where, remedy=remedy)
    return {"prompt": asked, "chosen": chosen, "rejected": rejected}


def _answer(value: Any, where: str, key: str) -> tuple[Chat, str]:
    """What comes before the answer, if the record repeats it, and the answer."""
    turns = messages([{"role": "assistant", "content": value}] if isinstance(value, str) else value, where)
    if turns[-1]["role"] != "assistant":
        raise UserError(f"'{key}' does not end with an assistant turn", where=where, remedy="Add the answer")
    return turns[:-1], turns[-1]["content"]
