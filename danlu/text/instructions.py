"""Instructions with their inputs and outputs: seed tasks out of files, and what a generated one must not be.

The checks are those of Self-Instruct (Wang et al. 2022, appendix A.3 and its released filter) and of the elimination of
Evol-Instruct (Xu et al. 2023, section 3.2), put in our own words for English and Chinese. Each has a reason: a short
fixed word that becomes a counter of the funnel. What needs the other records (likeness, other outputs of the same
input) or a model stands with the methods, in ``recipes/instructing/``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from danlu.base.errors import UserError
from danlu.text.conversations import ALPACA, conversation
from danlu.text.prose import HAN
from danlu.text.records import RECORD_SUFFIXES, records
from danlu.text.report import Funnel
from danlu.text.units import units

Language = Literal["en", "zh"]

# The paper keeps 4 to 150 words. A Chinese character says less than a word, about two thirds.
SHORTEST, LONGEST = {"en": 4, "zh": 5}, {"en": 150, "zh": 240}
MOST_OUTPUT = 4000  # units; a text model that goes on for longer has lost its thread
LOOP = 0.5  # the share of a text's runs of `GRAM` units that stood in it before
GRAM, LOOPS_FROM = 4, 24  # shorter texts repeat themselves by chance
APOLOGY = 80  # units: the paper takes an answer that apologises in fewer words for a refusal

CHINESE = re.compile(f"[{HAN}]")
LATIN = re.compile(r"[A-Za-z]")
# What a model of text can neither see nor make. Chinese words are found inside others: 图 alone would forbid 地图集.
UNFIT = re.compile(
    r"(?i)\b(?:images?|pictures?|photos?|graphs?|charts?|diagrams?|flowcharts?|videos?|audio|files?|maps?|"
    r"draw|plot|screenshots?|go to|attached|https?)\b|图片|图像|照片|相片|视频|音频|录音|附件|图表|流程图|"
    r"示意图|画出|绘制|画一|截图|链接|上述|如下图"
)
PROGRAM = re.compile(r"(?i)write a program\b|(?:请)?(?:编写|写)一个程序")  # the paper: models say it of anything
BEGINS = re.compile(r"""["'“‘「『《(（\[]?[^\W_]""")  # a letter, a digit or a Chinese character, quoted or not
# The paper takes any short answer with the word; a letter that says sorry to somebody is no refusal.
SORRY = re.compile(
    r"(?i)\A\W*(?:(?:I'm|I am|we're|we are) )?(?:very |so |really )?(?:sorry|afraid)\b|"
    r"\A\W*I (?:cannot|can't|am unable to)\b|"
    r"\A\W*(?:unfortunately|I apologi[sz]e),? (?:but )?I\b|\bas an? (?:AI|artificial|language model)|"
    r"\A\W*(?:很|非常|十分)?(?:抱歉|对不起|遗憾)|我无法(?:完成|提供|回答|满足)|作为一个?(?:AI|人工智能|语言模型)"
)
UNFILLED = re.compile(
    r"(?i)\[(?:insert|your|name|input|output)\b[^\]]*\]|<(?:input|output|insert[^>]*)>|（(?:此处|这里)[^）]*）"
)
EMPTY = re.compile(r"(?i)\W*(?:n/?a|none|no input|no output|null|empty|无|没有|无输入|不需要|无需输入)?\W*")
STOPS = (
    "a about an and are as at be been but by can could did do does for from had has have he her his how i if in into "
    "is it its me my no not of on or our she so that the their them then there these they this to us was we were what "
    "when where which who why will with would yes you your ok okay sure here "
    "的 了 是 在 和 与 也 都 就 不 我 你 他 她 它 们 这 那 有 吗 呢 吧 啊 好 请 对 而 及 或 一 个"
)
STOP_WORDS = frozenset(STOPS.split())


@dataclass(frozen=True)
class Task:
    """An instruction with one input, which may be empty, and the output; ``classification`` is None if nobody said."""

    id: str
    instruction: str
    input: str
    output: str
    language: Language
    classification: bool | None = None

    @property
    def prompt(self) -> str:
        """What a person would send: the instruction, and the input under it."""
        return f"{self.instruction}\n\n{self.input}" if self.input else self.instruction


def language_of(text: str) -> Language:
    """'zh' where Chinese characters are more than a fifth of all letters, else 'en'."""
    han, latin = len(CHINESE.findall(text)), len(LATIN.findall(text))
    return "zh" if han > 0.2 * (han + latin) else "en"


def read_tasks(path: Path, bad_share: float = 0.01) -> list[Task]:
    """The seed tasks of a JSONL, JSON, Parquet or CSV file, each instruction once.

    Known shapes: Self-Instruct's own ``{"instruction", "instances": [{"input", "output"}], "is_classification"}``, of
    which the first instance counts, and every shape of conversation that `danlu.text.conversations` knows, of which the
    first question and its answer count. A `UserError` names the record that has no instruction or no output.
    """
    if path.is_dir() or not path.name.endswith(RECORD_SUFFIXES):
        remedy = f"Supported: {', '.join(RECORD_SUFFIXES)}"
        raise UserError("is not a file of seed tasks", where=path, remedy=remedy)
    tasks: dict[str, Task] = {}
    for number, (where, record) in enumerate(records(path, Funnel(), bad_share), 1):
        task = _task(record, where, str(record.get("id") or f"{path.stem}:{number}"))
        tasks.setdefault(task.prompt.casefold(), task)
    if not tasks:
        raise UserError(
            "holds no seed task", where=path, remedy="Give at least two records with instruction and output"
        )
    return list(tasks.values())


def _task(record: dict[str, Any], where: str, name: str) -> Task:
    kind = record.get("is_classification")
    if "instances" not in record:
        found = conversation(record, where)
        turns = [str(turn["content"]).strip() for turn in found.turns if turn["role"] != "system"]
        if found.text:
            raise UserError("is a plain text, and a seed task is needed", where=where, remedy="Give it an instruction")
        instruction, given, output = turns[0], "", turns[1]
        if isinstance(record.get("instruction"), str) and not record.get("history"):
            instruction = record["instruction"].strip()
            given = next((str(record[key]).strip() for key in ALPACA if record.get(key)), "")
    else:
        instances = record["instances"]
        if not isinstance(instances, list) or not instances or not isinstance(instances[0], dict):
            raise UserError("instances is not a list of objects", where=where, remedy='Use [{"input", "output"}]')
        instruction = str(record.get("instruction") or "").strip()
        given, output = (str(instances[0].get(key) or "").strip() for key in ("input", "output"))
    if not instruction or not output:
        missing = "instruction" if not instruction else "output"
        raise UserError(f"the seed task has no {missing}", where=where, remedy="Write it, or delete the record")
    said = kind if isinstance(kind, bool) else None
    return Task(name, instruction, given, output, language_of(instruction), said)


def instruction_fault(text: str, language: Language, *, times: int = 1) -> str:
    """The reason why ``text`` is no instruction for a model of text in this language, or ''.

    It may be ``times`` as long as the longest of Self-Instruct: tasks that bring their data with them are.
    """
    length = len(units(text).hashes)
    rules = (
        ("empty", not length),
        ("starts_with_punctuation", not BEGINS.match(text)),
        ("too_short", length < SHORTEST[language]),
        ("too_long", length > times * LONGEST[language]),
        ("wrong_language", language_of(text) != language),
        ("unfit_for_text", bool(UNFIT.search(text))),
        ("write_a_program", bool(PROGRAM.match(text))),
        ("not_ended", text.rstrip().endswith((":", "：", ",", "，", "、"))),
        ("repeats", repetition(text) > LOOP),
    )
    return next((reason for reason, holds in rules if holds), "")


def output_fault(instruction: str, given: str, output: str, *, stopped: bool = True) -> str:
    """The reason why ``output`` is no answer to the instruction with the input ``given``, or ''.

    ``stopped`` says whether the model ended it by itself.
    """
    said = units(output)
    flat = _flat(output)
    rules = (
        ("empty", EMPTY.fullmatch(output) is not None),
        ("not_ended", not stopped or output.rstrip().endswith((":", "：", ",", "，"))),
        ("output_is_input", bool(given) and flat == _flat(given)),
        ("output_is_instruction", flat == _flat(instruction)),
        ("apology", len(said.hashes) < APOLOGY and bool(SORRY.search(output))),
        ("placeholder", bool(UNFILLED.search(output) or UNFILLED.search(given))),
        ("too_long", len(said.hashes) > MOST_OUTPUT),
        ("repeats", repetition(output) > LOOP),
    )
    return next((reason for reason, holds in rules if holds), "")


def only_stop_words(text: str) -> bool:
    """Nothing but punctuation and words that say nothing by themselves: an answer to no question."""
    words = re.findall(f"[{HAN}]|[A-Za-z]+|\\d+|[^\\W_]", text.casefold())
    return all(word in STOP_WORDS for word in words)


def is_empty(text: str) -> bool:
    """Is it nothing, or one of the words for it ('None', 'N/A', '无')?"""
    return EMPTY.fullmatch(text) is not None


def repetition(text: str) -> float:
    """The share of a text's runs of four words or Chinese characters that stood in it before; 0 for short texts."""
    found = units(text)
    if len(found.hashes) < LOOPS_FROM:
        return 0.0
    whole: list[int] = found.hashes.tolist()
    runs = [tuple(whole[place : place + GRAM]) for place in range(len(whole) - GRAM + 1)]
    return 1 - len(set(runs)) / len(runs)


def _flat(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .。!！")
