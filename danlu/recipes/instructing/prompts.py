"""What the model is asked, in English and Chinese, in our own words, and what is read out of its replies.

Each prompt ends with a cue ("Task 9:"), so that the same text serves a chat model, which answers it, and a base model,
which goes on with it (Self-Instruct was made with one). Replies come in many dresses: with the cue or without, numbered
anew from 1, in bold type, after a sentence of politeness, after a reasoning model's thoughts.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from danlu.text.instructions import Language

TEXTS: dict[Language, dict[str, str]] = {
    "en": {
        "ask": "Here is a list of tasks that people give to an assistant which reads and writes text. Go on with "
        "{more} new tasks. They should differ from these and from each other in subject, form, length and difficulty; "
        "each should be clear, possible with text alone, and one or two sentences long. Write only the list.\n\n"
        "{list}\nTask {next}:",
        "item": "Task {number}: {text}\n",
        "classify": "Does the task ask to choose from a few fixed labels? Answer Yes or No.\n\n{examples}"
        "Task: {instruction}\nAnswer:",
        "classify_example": "Task: {0}\nAnswer: {1}\n\n",
        "input_first": "Give {number} for the last task, as was done for the others: the input, and the output that a "
        "careful expert would give. A task that is complete without an input has the input 'none'.\n\n{examples}"
        "Task: {instruction}\nInput:",
        "input_first_example": "Task: {0}\nInput: {1}\nOutput: {2}\n\n",
        "output_first": "The last task chooses between a few labels. As was done for the others, write each label and "
        "after it an input that it is right for.\n\n{examples}Task: {instruction}\nLabel:",
        "output_first_example": "Task: {0}\nLabel: {1}\nInput: {2}\nLabel: {3}\nInput: {4}\n\n",
        "one": "an example",
        "several": "{0} different examples",
        "answer": "Task: {instruction}\nAnswer:",
        "evolve": "Rewrite the task below for a strong assistant. {how} The new task must make sense, be understood "
        "without the old one, and be possible with text alone. It may be at most {words} words longer. Write only the "
        "new task.\n\nTask: {instruction}\n\nNew task:",
        "equal": "Here are two tasks. Do they ask for the same, with the same conditions and in the same depth and "
        "breadth? Answer Equal or Different.\n\nFirst: {first}\n\nSecond: {second}\n\nAnswer:",
    },
    "zh": {
        "ask": "下面是人们交给一位文字助手的任务清单。请接着写{more}个新任务。新任务在主题、形式、长短和难度上"
        "要与已有的任务不同，彼此之间也要不同；每个任务都要清楚，只靠文字就能完成，用一两句话说完。只写清单。\n\n{list}\n任务{next}：",
        "item": "任务{number}：{text}\n",
        "classify": "这个任务是不是要从少数几个固定的标签中选一个？回答“是”或“否”。\n\n{examples}"
        "任务：{instruction}\n回答：",
        "classify_example": "任务：{0}\n回答：{1}\n\n",
        "input_first": "请仿照前面的任务，为最后一个任务写{number}：先写输入，再写一位细心的专家会给出的输出。"
        "不需要输入的任务，输入写“无”。\n\n{examples}任务：{instruction}\n输入：",
        "input_first_example": "任务：{0}\n输入：{1}\n输出：{2}\n\n",
        "output_first": "最后一个任务要在几个标签中选择。请仿照前面的任务，写出每个标签，并在它后面写一段"
        "适合这个标签的输入。\n\n{examples}任务：{instruction}\n标签：",
        "output_first_example": "任务：{0}\n标签：{1}\n输入：{2}\n标签：{3}\n输入：{4}\n\n",
        "one": "一个例子",
        "several": "{0}个不同的例子",
        "answer": "任务：{instruction}\n回答：",
        "evolve": "请为一位能力很强的助手改写下面的任务。{how}新任务要合理，不看原任务也能明白，只靠文字就能完成，"
        "最多比原任务长{words}个字。只写新任务。\n\n任务：{instruction}\n\n新任务：",
        "equal": "下面有两个任务。它们的要求、条件、深度和广度是否都相同？回答“相同”或“不同”。\n\n"
        "第一个：{first}\n\n第二个：{second}\n\n回答：",
    },
}
CLASSIFY: dict[Language, tuple[tuple[str, str], ...]] = {
    "en": (
        ("Say whether the comment is friendly or hostile.", "Yes"),
        ("Explain to a child why the sky is blue.", "No"),
        ("Which of the four seasons does the poem describe?", "Yes"),
        ("Translate the sentence into French.", "No"),
        ("Is the second sentence a consequence of the first?", "Yes"),
        ("Write a short letter of thanks to a neighbour.", "No"),
    ),
    "zh": (
        ("判断这条评论是友好的还是带有敌意的。", "是"),
        ("给孩子解释天空为什么是蓝色的。", "否"),
        ("这首诗写的是四季中的哪一季？", "是"),
        ("把这句话翻译成英文。", "否"),
        ("第二句话能不能由第一句话推出？", "是"),
        ("给邻居写一封简短的感谢信。", "否"),
    ),
}
INPUT_FIRST: dict[Language, tuple[tuple[str, str, str], ...]] = {
    "en": (
        ("Put the words in alphabetical order.", "pear, fig, apple, plum", "apple, fig, pear, plum"),
        ("Name three rivers of Europe.", "none", "The Danube, the Rhine and the Loire."),
        (
            "Shorten the sentence without losing its meaning.",
            "Due to the fact that it was raining, we made the decision to remain at home.",
            "As it was raining, we stayed at home.",
        ),
    ),
    "zh": (
        ("把下面的数从小到大排列。", "17、4、29、8", "4、8、17、29"),
        ("说出三条中国的河流。", "无", "长江、黄河和珠江。"),
        (
            "缩短这句话，不改变意思。",
            "由于当时正在下雨的缘故，所以我们做出了留在家里的决定。",
            "因为下雨，我们留在了家里。",
        ),
    ),
}
OUTPUT_FIRST: dict[Language, tuple[tuple[str, str, str, str, str], ...]] = {
    "en": (
        (
            "Is the review positive or negative?",
            *("positive", "The room was quiet and the breakfast better than at home."),
            *("negative", "We waited an hour, and the soup was cold."),
        ),
        (
            "Say which kind of word is given: noun, verb or adjective.",
            *("verb", "to wander"),
            *("adjective", "generous"),
        ),
    ),
    "zh": (
        (
            "判断这条评价是正面的还是负面的。",
            *("正面", "房间很安静，早餐比家里的还好吃。"),
            *("负面", "等了一个小时，端上来的汤还是凉的。"),
        ),
        ("指出给出的词是名词、动词还是形容词。", *("动词", "奔跑"), *("形容词", "慷慨")),
    ),
}
IN_DEPTH = ("constraints", "deepen", "concretise", "reasoning", "complicate_input")
OPERATIONS = (*IN_DEPTH, "breadth")
HOW: dict[Language, dict[str, str]] = {
    "en": {
        "constraints": "Add one more condition that the answer has to meet.",
        "deepen": "If it asks about something, make it ask about the same more deeply and from more sides.",
        "concretise": "Put something more specific in place of what it says in general.",
        "reasoning": "If it can be solved by a few simple thoughts, make it need several steps of reasoning in plain "
        "view.",
        "complicate_input": "Give it data to work on, written out in full: a table, JSON, code, a formula or a record.",
        "breadth": "Take it only as a hint, and make a wholly new task of the same field: one that is asked more "
        "rarely, and as long and as hard.",
    },
    "zh": {
        "constraints": "给回答再加上一个必须满足的条件。",
        "deepen": "如果它在询问某件事，就让它对同一件事问得更深入、更全面。",
        "concretise": "把笼统的说法换成更具体的内容。",
        "reasoning": "如果它只需简单想一想就能解决，就让它需要明确写出的多步推理。",
        "complicate_input": "给它加上要处理的、完整写出的数据：表格、JSON、代码、公式或一条记录。",
        "breadth": "只把它当作提示，写一个同一领域的全新任务：更少有人问，长短和难度相当。",
    },
}
LONGER = {"en": 30, "zh": 50}  # words and characters that an evolution may add
# Words of our own prompts: a model that repeats them has not written a task. Not counted where the old task has them.
PROMPT_WORDS = re.compile(
    r"(?i)\b(?:new|old|given|rewritten|original) (?:task|prompt|instruction)\b|#\s?(?:task|prompt)|"
    r"(?:新|原|给定的|改写后的|原来的)(?:任务|提示|指令)"
)

THOUGHT = re.compile(r"(?s)\A\s*<think>.*?(?:</think>\s*|\Z)")
NUMBERED = re.compile(r"(?m)^[ \t*#>-]*(?:(?:Task|任务)\s*(\d{1,3})[ \t*]*[:：.、]|(\d{1,3})[.)、:：])[ \t*]*")
LABELS = re.compile(
    r"(?mi)^[ \t*#]*(?:example \d+[^\n]{0,3}\s*)?(input|output|label|class label|输入|输出|标签)[ \t*]*[:：][ \t*]*"
)
NAMES = {"输入": "input", "输出": "output", "标签": "label", "class label": "label"}
NEXT_TASK = re.compile(r"(?mi)^[ \t*#]*(?:Task|New task|任务|新任务)[ \t]*\d*[ \t*]*[:：][ \t*]*")
# A line of a list in which the model goes on to do the task that it has just written.
SOLVED = re.compile(
    r"(?i)\n[ \t*#>-]*(?:the answer|answer|solution|example|input|output|this task|答案|回答|解答|输入|输出|示例)"
)
ECHO = re.compile(r"\A[ \t*#]*(?:Task|任务)[ \t*]*[:：][^\n]*\n+")
QUOTES = {'"': '"', "“": "”", "「": "」", "'": "'"}


def said(text: str) -> str:
    """A reply without a reasoning model's thoughts."""
    return THOUGHT.sub("", text).strip()


def ask(language: Language, shown: Sequence[str], more: int) -> str:
    """Go on with a list of tasks."""
    texts = TEXTS[language]
    items = [texts["item"].format(number=n, text=" ".join(text.split())) for n, text in enumerate(shown, 1)]
    return texts["ask"].format(more=more, list="".join(items).rstrip("\n"), next=len(shown) + 1)


def classify(language: Language, instruction: str) -> str:
    """Does the task choose from a few labels?"""
    example = TEXTS[language]["classify_example"]
    examples = "".join(example.format(*row) for row in CLASSIFY[language])
    return TEXTS[language]["classify"].format(examples=examples, instruction=instruction)


def instance(language: Language, instruction: str, classification: bool, number: int) -> str:
    """Examples of a task: the input first, or the label where there are only a few of them."""
    texts, rows = TEXTS[language], (OUTPUT_FIRST if classification else INPUT_FIRST)[language]
    kind = "output_first" if classification else "input_first"
    examples = "".join(texts[f"{kind}_example"].format(*row) for row in rows)
    wanted = texts["one"] if number == 1 else texts["several"].format(number)
    return texts[kind].format(examples=examples, instruction=instruction, number=wanted)


def evolve(language: Language, instruction: str, operation: str) -> str:
    """Rewrite a task by one of `OPERATIONS`."""
    how, longer = HOW[language][operation], LONGER[language]
    return TEXTS[language]["evolve"].format(how=how, words=longer, instruction=instruction)


def equal(language: Language, first: str, second: str) -> str:
    """Do two tasks ask for the same?"""
    return TEXTS[language]["equal"].format(first=first, second=second)


def answer(language: Language, instruction: str, complete: bool) -> str:
    """The task itself; for a model that goes on with a text, with the cue of an answer."""
    return TEXTS[language]["answer"].format(instruction=instruction) if complete else instruction


def tasks_in(text: str, first: int, *, cut: bool) -> tuple[list[str], int]:
    """The tasks of a reply whose list begins with number ``first``, and how many there are unfinished.

    ``cut`` says that the reply was cut off: then its last task is not whole.
    """
    text = said(text)
    marks = list(NUMBERED.finditer(text))
    if not marks:
        found = [text.split("\n\n")[0]]
    else:
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        found = [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
        if (marks[0][1] or marks[0][2]) == str(first + 1):  # it went on behind the cue without repeating it
            found.insert(0, text[: marks[0].start()])
    unfinished = int(cut and bool(found))
    whole = found[: len(found) - unfinished]
    if whole and not unfinished:
        whole[-1] = whole[-1].split("\n\n")[0]  # what follows the list is talk
    alone = [SOLVED.split(piece)[0] for piece in whole]
    return [task for piece in alone if (task := _unquoted(" ".join(piece.split())))], unfinished


def yes(text: str) -> bool:
    """'Yes', '是', in any dress; anything else is no."""
    return bool(re.match(r"(?i)\W*(?:answer|回答)?\W*(?:yes\b|是(?!否))", said(text)))


def different(text: str) -> bool:
    """Whether two tasks were called different; only a clear 'Equal' or '相同' says that they are not."""
    begin = re.match(r"(?i)\W*(?:answer|回答)?\W*(equal|yes|same|相同|是)", said(text))
    return begin is None


def examples_in(text: str, classification: bool) -> list[tuple[str, str]]:
    """(input, output) of each example in a reply to `instance`; an empty input where there is none."""
    text = _without_echo(said(text))
    further = NEXT_TASK.search(text)
    text = text[: further.start()] if further else text
    parts = LABELS.split(text)
    first = "label" if classification else "input"
    listed = [(first, parts[0])] if parts[0].strip() else []
    for name, value in zip(parts[1::2], parts[2::2], strict=True):
        listed.append((NAMES.get(name.lower(), name.lower()), value))
    if classification:
        listed = [("label" if name == "output" else name, value) for name, value in listed]
    second = "input" if classification else "output"
    pairs = [(a.strip(), b.strip()) for (name, a), (other, b) in pairwise(listed) if (name, other) == (first, second)]
    return [(b, a) if classification else (a, b) for a, b in pairs]


def ended(text: str) -> bool:
    """Did a text that was cut go on with another task? Then what stands before it is whole."""
    return NEXT_TASK.search(_without_echo(said(text))) is not None


def task_in(text: str, complete: bool) -> str:
    """The one task of a reply to `evolve`: a chat model may say something before it, a base model goes on behind it."""
    text = said(text)
    marks = list(NEXT_TASK.finditer(text))
    if marks and (not complete or not text[: marks[0].start()].strip()):
        text = text[marks[0].end() : marks[1].start() if len(marks) > 1 else len(text)]
    elif marks:
        text = text[: marks[0].start()]
    return _unquoted(text)


def answer_in(text: str, complete: bool) -> str:
    """The answer of a reply to `answer`."""
    text = said(text)
    further = NEXT_TASK.search(text) if complete else None
    return (text[: further.start()] if further else text).strip()


def _without_echo(text: str) -> str:
    """A reply without the task itself, which some models repeat before they answer."""
    return ECHO.sub("", text)


def _unquoted(text: str) -> str:
    text = text.strip(" \t\n*")
    inner = text[1:-1]
    if len(text) > 1 and QUOTES.get(text[0]) == text[-1] and text[0] not in inner and text[-1] not in inner:
        return inner.strip()
    return text
