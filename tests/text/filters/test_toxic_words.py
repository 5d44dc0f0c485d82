"""Word lists: whole words, exceptions, files; and few false alarms on text that means no harm."""

from itertools import islice
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.text import packages
from danlu.text.document import Document
from danlu.text.filters.toxic_words import EXCEPTION, OWN, Entry, Words, own, read, turned
from danlu.text.filters.toxicity import ToxicWords
from danlu.text.units import units

# Names, medicine, food, animals and news that careless lists strike out: the Scunthorpe problem and its Chinese sisters.
HARMLESS = """
The Scunthorpe and Penistone councils met in Middlesex, and Dick Van Dyke sang in Essex. Cockburn Street, Shitterton
and Lake Titicaca are places; Matsushita and Dickens are names. The assassin passed the classic cocktail bar with bass
and a shuttlecock. Breast cancer, anal fissures, penile and rectal examinations, vaginal birth and sexual health are
subjects of medicine. Shiitake and cumin, arsenic, a titmouse, a cock and a booby, an ass in a stable, the Virgin Mary.
A gay couple adopted a retarded kernel timer; the master and slave replicas killed their child processes. If you think
about suicide, call us: nobody should want to kill yourself. MILF negotiators met the government in Manila.
"""
HARMLESS_ZH = """
他告诉你他妈妈病了，真他妈妈的味道。体操你也会做，操作系统需要操心。做爱国的人，献爱心。人口爆炸，出口爆仓，约炮响齐发，
贫贱人家百事哀，何贱人而贵畜耶。脑残留物，脑残疾人，口交代清楚，失去死党，日本的日子，十二逼近，草泥路，圣安东尼哥特式建筑。
强奸案的审理，艾滋病与同性恋者的权利，黄色的花，裸婚与裸考，支那语是旧译名。
"""


def hits(words: Words, text: str) -> list[tuple[str, str]]:
    """(category, what stands in the text) of each hit."""
    found = units(text)
    starts = [*found.starts.tolist(), len(text)]
    return [
        (hit.category, text[starts[hit.first] : starts[hit.first + hit.size]].strip(" ,.!，。！"))
        for hit in words.hits(found)
    ]


def test_words_are_whole_and_case_and_width_do_not_matter() -> None:
    words = Words([Entry("ham", "food"), Entry("green eggs", "food"), Entry("火腿", "food")])
    text = "HAM, hamster, Ｈａｍ; green, eggs: sham. 云南火腿肠 green eggs"
    assert sorted(spelt for _, spelt in hits(words, text)) == ["HAM", "green eggs", "green, eggs:", "火腿", "Ｈａｍ;"]


def test_a_phrase_counts_once_and_exceptions_hide() -> None:
    words = Words([Entry("son of a gun", "a"), Entry("gun", "b"), Entry("gun club", EXCEPTION), Entry("枪", "b")])
    assert hits(words, "son of a gun") == [("a", "son of a gun")]
    assert hits(words, "the gun club has a gun") == [("b", "gun")]
    assert [category for category, _ in hits(words, "枪枪枪")] == ["b"] * 3


def test_turning_twice_changes_nothing_and_hides() -> None:
    for words in OWN.values():
        assert turned(turned(words)) == words
    spelt = {entry.text for entry in own()}
    stored = " ".join(OWN.values())
    assert len(spelt) > 80
    assert not any(word in stored.replace(",", " ").split() for word in spelt)


def test_our_own_entries_are_found_and_in_a_category() -> None:
    words = Words(own())
    for entry in own():
        found = hits(words, f"well, {entry.text}, then")
        assert [category for category, _ in found] == ([entry.category] if entry.category != EXCEPTION else [])


@pytest.mark.parametrize("text", [HARMLESS, HARMLESS_ZH])
def test_the_harmless_is_not_met(text: str) -> None:
    assert hits(Words(own()), text) == []


@pytest.mark.parametrize(("name", "most"), [("python", 0), ("sanguo", 0)])
def test_real_text_without_harm(name: str, most: int) -> None:
    """Documentation and a classic novel: nothing may be dropped, and hardly a word met."""
    try:
        documents = list(islice(packages.documents(name), 40))
    except UserError as error:
        pytest.skip(str(error))
    step, met = ToxicWords(), 0
    for document in documents:
        result = step(document)
        assert isinstance(result, Document), f"{document.id}: {result}"
        met += "toxic_words" in result.meta
    assert met <= most


def test_a_file_has_categories_comments_and_exceptions(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\ufeffplain\n\n# a comment\n[food]\nham  # and eggs\n! ham radio\n火腿\n", encoding="utf-8")
    assert read(file) == [
        Entry("plain", "words"), Entry("ham", "food"), Entry("ham radio", EXCEPTION), Entry("火腿", "food"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "holds no words"),
        (b"# nothing\n[food]\n", "holds no words"),
        (b"good\n???\n", "line 2"),
        (b"word " * 40, "more than 32 words"),
        (b"ok\n\xff\xfe", "invalid UTF-8 at byte 3"),
    ],
)
def test_a_bad_file_is_named(data: bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(data)
    with pytest.raises(UserError, match=problem) as error:
        read(file)
    assert str(file) in str(error.value)
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "none.txt")
