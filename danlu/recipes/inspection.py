"""What `danlu data inspect` finds and how it shows it. Nothing here raises for what a record holds."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from danlu.base.errors import MissingExtra, UserError
from danlu.base.progress import count
from danlu.recipes.data import Inspect
from danlu.text import packages, saved
from danlu.text.conversations import conversation, read_conversations, shape_of
from danlu.text.document import Conversation, Document
from danlu.text.filters.language import Language
from danlu.text.pairs import preference
from danlu.text.records import BadRecords, files, unjudged
from danlu.text.report import Funnel
from danlu.text.sketch import Lengths
from danlu.tokens.chat import Rendered, check_template, render
from danlu.tokens.fitting import fitted
from danlu.tokens.samples import build
from danlu.tokens.templates import Learn, TemplateName
from danlu.tokens.tokenizer import Tokenizer

NAMED, PLACES = 10, 3  # reasons of refusal that are shown, and records of each
LANGUAGE_SAMPLE, LANGUAGE_CHARACTERS = 200, 600  # conversations whose language is looked at, and how much of each
BAR = 30  # characters of the longest bar
OPEN, CLOSE = "⟦", "⟧"  # around what is learned, where there is no colour
SHOWN = 1000  # characters of a turn, where there is no tokenizer
LEARNED, CONTEXT = "green", "dim"


@dataclass
class Findings:
    """One file: how many records of which shape, what they hold, which were refused, and what they cost in tokens."""

    source: str
    records: int = 0  # those that were refused included
    shapes: Counter[str] = field(default_factory=Counter)
    refused: dict[str, list[str]] = field(default_factory=dict)  # why → where
    found: list[tuple[Conversation, Learn | None]] = field(default_factory=list)  # None: as the recipe says
    roles: Counter[str] = field(default_factory=Counter)
    with_tools: int = 0
    turns: list[int] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    tokens: list[int] = field(default_factory=list)  # of whole conversations, before anything is left out
    items: list[Rendered] = field(default_factory=list)
    places: list[str] = field(default_factory=list)  # where each item comes from
    dropped: int = 0
    cut: int = 0
    answers: int = 0
    lost: int = 0

    @property
    def learned_share(self) -> float:
        """Learned tokens of all tokens that training would see."""
        total = sum(map(len, self.items))
        return sum(sum(item.mask[1:]) for item in self.items) / total if total else 0.0

    def refuse(self, where: str, why: str) -> None:
        """One more record that training would stop at or skip."""
        self.refused.setdefault(why, []).append(where.removeprefix(f"{self.source}, "))


class _Noting(BadRecords):
    """Notes unreadable records and lets all of them pass."""

    def __init__(self, path: Path, findings: Findings) -> None:
        super().__init__(path, 1.0, Funnel())
        self.findings = findings

    def bad(self, where: str, problem: str) -> None:
        self.findings.records += 1
        self.findings.refuse(where, problem)


def examined(recipe: Inspect, tokenizer: Tokenizer | None) -> list[Findings]:
    """What is found in each file; a `UserError` for a source that is not there."""
    done = []
    for source in recipe.files:
        for findings in _read(source):
            _describe(findings)
            if tokenizer is not None:
                _measure(findings, tokenizer, recipe)
            done.append(findings)
    return done


def opened(model: Path, template: TemplateName) -> Tokenizer:
    """The tokenizer as fine-tuning would use it; a `UserError` where its chat template is of no use."""
    from danlu.model.hub import read_config
    from danlu.recipes.training import tokenizer_home

    home = tokenizer_home(model)
    own = Tokenizer.load(home)
    whole = (model / "config.json").is_file() or home != model
    rows = read_config(model).vocab_size if whole else own.vocab_size
    tokenizer = fitted(own, template, rows, learned=True)
    check_template(tokenizer)
    return tokenizer


def _read(source: str) -> Iterator[Findings]:
    """The files that a source stands for, each read to its end."""
    if packages.is_package(source):
        chats = [(chat, None) for chat in read_conversations(source)]
        yield Findings(source, len(chats), Counter({"package": len(chats)}), found=list(chats))
        return
    places: list[str | Path] = [source] if saved.is_named(source) else list(files(source))
    for place in places:
        findings = Findings(str(place))
        rows = unjudged(place, _Noting(place, findings)) if isinstance(place, Path) else saved.named(place)
        try:
            for where, record in rows:
                _record(findings, record, where)
        except UserError as error:  # the file itself is damaged from here on
            findings.refuse(str(error.where or place), error.what)
        yield findings


def _record(findings: Findings, record: dict[str, Any], where: str) -> None:
    shape = shape_of(record)
    findings.records += 1
    findings.shapes[shape] += 1
    try:
        if shape == "preference pairs":
            pair = preference(record, where)
            for key, answer in (("chosen", pair["chosen"]), ("rejected", pair["rejected"])):
                turns = [*pair["prompt"], {"role": "assistant", "content": answer}]
                findings.found.append((Conversation(turns, where=f"{where}, {key}"), "last"))
        else:
            findings.found.append((conversation(record, where), None))
    except UserError as error:
        findings.refuse(str(error.where or where), error.what)


def _describe(findings: Findings) -> None:
    for chat, _ in findings.found:
        findings.roles.update(turn["role"] for turn in chat.turns)
        findings.with_tools += bool(chat.tools)
        findings.turns.append(len(chat.turns))
        findings.characters.append(len(chat.text) + sum(len(turn["content"]) for turn in chat.turns))
    step = max(len(findings.found) // LANGUAGE_SAMPLE, 1)
    try:
        identify = Language()
        for chat, _ in findings.found[::step]:
            words = chat.text or "\n".join(turn["content"] for turn in chat.turns if turn["role"] != "system")
            judged = identify(Document(words[:LANGUAGE_CHARACTERS], "", ""))
            if isinstance(judged, Document):
                findings.languages[judged.meta["language"]] += 1
    except MissingExtra:  # a line less is shown
        findings.languages.clear()


def _measure(findings: Findings, tokenizer: Tokenizer, recipe: Inspect) -> None:
    kept = []
    for chat, learn in findings.found:
        try:
            made = build(tokenizer, chat, recipe.length, learn or recipe.learn)
            whole = len(made.items[0]) if len(made.items) == 1 and not made.lost else _whole(tokenizer, chat)
        except UserError as error:
            findings.refuse(str(error.where or chat.where), error.what)
            continue
        kept.append((chat, learn))
        findings.tokens.append(whole)
        findings.items += made.items
        findings.places += [chat.where] * len(made.items)
        findings.dropped += not made.items
        findings.cut += bool(made.items) and made.lost > 0
        findings.answers += made.answers
        findings.lost += made.lost
    findings.found = kept


def _whole(tokenizer: Tokenizer, chat: Conversation) -> int:
    if chat.text:
        return len(tokenizer.encode(chat.text)) + 2
    return len(render(tokenizer, chat.turns, tools=chat.tools))


def show(recipe: Inspect, found: Sequence[Findings], tokenizer: Tokenizer | None) -> None:
    """Print the findings and the samples."""
    console = Console(highlight=False, soft_wrap=True)
    for findings in found:
        for line in _lines(recipe, findings):
            console.print(Text(line))
    items = [(place, item) for one in found for place, item in zip(one.places, one.items, strict=True)]
    if tokenizer is None:
        for chat, _ in _evenly([pair for one in found for pair in one.found], recipe.samples):
            said = [(turn["role"], turn["content"]) for turn in chat.turns] or [("text", chat.text)]
            console.print(Text(f"\nsample: {chat.where}"))
            console.print(Text("\n".join(f"  {role}: {words[:SHOWN]}" for role, words in said)))
        return
    for place, item in _evenly(items, recipe.samples):
        console.print(Text(f"\nsample: {place}, {len(item)} tokens, {sum(item.mask)} of them learned"))
        console.print(coloured(tokenizer, item, plain=not console.is_terminal))
    if items:
        total = sum(len(item) for _, item in items)
        learned = sum(sum(item.mask[1:]) for _, item in items)
        console.print(Text(f"\n{learned / total:.1%} of {total:,} tokens are learned"))


def _evenly(values: Sequence[Any], most: int) -> list[Any]:
    step = max(len(values) / most, 1.0) if most else 1.0
    return [values[int(i * step)] for i in range(min(most, len(values)))]


def coloured(tokenizer: Tokenizer, item: Rendered, *, plain: bool) -> Text:
    """The text of an item, what is learned in a colour, or in brackets."""
    text, begin = Text(), 0
    for end in range(1, len(item) + 1):
        if end < len(item) and item.mask[end] == item.mask[begin]:
            continue
        words = tokenizer.decode(item.ids[begin:end], skip_special=False)
        learned = bool(item.mask[begin])
        if plain:
            text.append(f"{OPEN}{words}{CLOSE}" if learned else words)
        else:
            text.append(words, LEARNED if learned else CONTEXT)
        begin = end
    return text


def _lines(recipe: Inspect, findings: Findings) -> Iterator[str]:
    shapes = ", ".join(f"{number} {shape}" for shape, number in findings.shapes.most_common()) or "nothing readable"
    refused = sum(map(len, findings.refused.values()))
    yield f"{findings.source}: {findings.records} records ({shapes}), {refused} refused"
    for why, places in list(findings.refused.items())[:NAMED]:
        more = f" and {len(places) - PLACES} more" if len(places) > PLACES else ""
        yield f"  refused: {', '.join(places[:PLACES])}{more}: {why}"
    if len(findings.refused) > NAMED:
        yield f"  refused for {len(findings.refused) - NAMED} reasons more"
    if not findings.found:
        return
    if findings.roles:
        roles = ", ".join(f"{number} {role}" for role, number in findings.roles.most_common())
        tools = f"; {findings.with_tools} with tools" if findings.with_tools else ""
        yield f"  turns: {roles}; {spread(findings.turns)} a conversation{tools}"
    if findings.languages:
        total = sum(findings.languages.values())
        named = [f"{name} {n / total:.0%}" for name, n in findings.languages.most_common(5) if n / total >= 0.01]
        yield f"  languages: {', '.join(named)}"
    yield f"  characters: {spread(findings.characters)}"
    if recipe.model is None or not findings.tokens:
        return
    yield f"  tokens: {spread(findings.tokens)}"
    yield from histogram(findings.tokens)
    if findings.dropped:
        yield f"  {findings.dropped} of {len(findings.tokens)} do not fit in {recipe.length} tokens and are left out"
    if findings.cut:
        yield f"  {findings.cut} of {len(findings.tokens)} are longer than {recipe.length} tokens and keep some answers"
    if findings.lost:
        lost, answers = findings.lost, findings.answers
        yield f"  {lost} of {answers} answers ({lost / answers:.1%}) are not learned"
    size = sum(map(len, findings.items))
    yield f"  learned: {findings.learned_share:.1%} of {count(size)} tokens in {len(findings.items)} items"


def spread(numbers: Sequence[int]) -> str:
    """Least, median, the number that 95 % do not exceed, and most."""
    ordered = sorted(numbers)
    middle, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.5, 0.95))
    return f"{ordered[0]:,} to {ordered[-1]:,}, median {middle:,}, 95 % up to {high:,}"


def histogram(numbers: Sequence[int]) -> Iterator[str]:
    """A bar for each doubling of length."""
    lengths = Lengths()
    lengths.add_all(numbers)
    most = max(lengths.bins)
    first = next(place for place, number in enumerate(lengths.bins) if number)
    for place, number in enumerate(lengths.bins[first:], first):
        low, high = (1 << place) // 2, (1 << place) - 1
        yield f"    {low:>6,} to {high:>6,}  {'█' * round(BAR * number / most):<{BAR}}  {number:,}"
