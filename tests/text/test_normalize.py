"""One spelling for each text, reached in one application."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text.boilerplate import FRAMES
from danlu.text.document import Document, Dropped
from danlu.text.markup import MARKUPS
from danlu.text.normalize import INVISIBLE, Normalize, clean, normalize

# Ordinary letters with the characters that this step is about mixed in often.
awkward = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(" \t\n\r\x0b\x0c\x85\u2028\u00ad\u200b\u200d\ufeff\u0301\u3000\x00\ud800e·中"),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(awkward)
def test_twice_is_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@settings(max_examples=300, deadline=None)
@given(awkward)
def test_what_it_promises(text: str) -> None:
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not INVISIBLE.search(cleaned)
    assert "\n\n\n\n" not in cleaned
    assert all(line == line.rstrip() for line in cleaned.split("\n"))
    cleaned.encode("utf-8")  # no half surrogate is left


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("e\u0301", "é"),
        ("e\u200b\u0301", "é"),  # the mark meets its letter only after the removal
        ("x²，ｆｕｌｌ", "x²，ｆｕｌｌ"),  # NFKC would change all of it
        ("if x:\n    y  =  1   \n", "if x:\n    y  =  1"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("\ufeffco\u00adop\x00", "coop"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_examples(given_text: str, expected: str) -> None:
    assert clean(given_text) == expected


def test_as_a_step() -> None:
    same = Document("already clean", "a:1", "a")
    assert normalize(same) is same
    assert normalize(Document(" \n\u200b\t", "a:2", "a")) == Dropped("empty")
    changed = normalize(Document("x \r\n", "a:3", "a", {"k": 1}))
    assert changed == Document("x", "a:3", "a", {"k": 1})


TEXT = "Ｇ&amp;今 天 天 气,好!!!!!\n(完)\n<b>粗</b>\n下一篇：某文\n12\n"


def done(text: str, **settings_: Any) -> Document:
    result = Normalize(**settings_)(Document(text, "a:1", "a"))
    assert isinstance(result, Document)
    return result


def test_all_at_once() -> None:
    result = done(TEXT)
    assert result.text == "G&今天天气，好！！！\n（完）\n<b>粗</b>\n12"
    assert result.meta["changes"] == {
        "normalize.clean": 1,
        "normalize.entities": 1,
        "normalize.letters": 1,
        "normalize.spaces": 1,
        "normalize.width": 3,
        "normalize.repeats": 1,
        "normalize.lines": 1,
    }


@pytest.mark.parametrize(
    ("switch", "remains"),
    [
        ({"letters": False}, "Ｇ"),
        ({"width": ""}, "气,好"),
        ({"width": "ascii"}, "气,好"),
        ({"spaces": ""}, "今 天"),
        ({"repeats": 0}, "！！！！"),
        ({"boilerplate": ()}, "下一篇"),
        ({"boilerplate": ("share", "pages")}, "下一篇"),
        ({"markup": ()}, "&amp;"),
    ],
)
def test_each_switch_switches(switch: dict[str, Any], remains: str) -> None:
    assert remains not in done(TEXT).text
    assert remains in done(TEXT, **switch).text


def test_switches_that_do_more(tmp_path: Path) -> None:
    assert "<b>" not in done(TEXT, markup=("entities", "tags")).text
    assert done("张三 李四", spaces="all").text == "张三李四"
    assert done("你好，世界！", width="ascii").text == "你好,世界!"
    assert done("好！！", repeats=1).text == "好！"
    own = tmp_path / "own.txt"
    own.write_text("[0-9]+\n", encoding="utf-8")
    assert done("a\n12\nb", lines=own).text == "a\nb"


def test_nothing_left_is_dropped_and_nothing_changed_is_the_same() -> None:
    assert Normalize()(Document("分享\n\n返回顶部", "a:1", "a")) == Dropped("empty")
    same = Document("Already clean, 已经干净。", "a:1", "a")
    assert Normalize()(same) is same


@pytest.mark.parametrize(
    "wrong",
    [{"width": "wide"}, {"spaces": "none"}, {"repeats": -1}, {"boilerplate": ("ads",)}, {"markup": ("html",)}],
)
def test_senseless_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="recipe: "):
        Normalize(**wrong)


def test_as_a_recipe(tmp_path: Path) -> None:
    step = Normalize(repeats=2, markup=("wiki",), boilerplate=("share",))
    assert from_dict(Normalize, to_dict(step)) == step
    with pytest.raises(UserError, match="no such file"):
        Normalize(lines=tmp_path / "none")


everything = Normalize(markup=MARKUPS, boilerplate=FRAMES, spaces="all")
TANGLES = (
    *("&amp;", "&lt;b&gt;", "&#38;lt;", "[b]", "[/b]", "{{x}}", "''", "![a](b)", "\\textbf{x}", "<p>", "你好,世界"),
    *("。。。。。", "(甲)", '"乙"', "今 天 好", "ＡＢ", "分享\n", "下一页", "http://a.b/甲", "`", "，", ".", "!"),
)
tangled = st.lists(st.one_of(awkward, st.sampled_from(TANGLES)), max_size=12).map("".join)


@settings(max_examples=300, deadline=None)
@given(tangled, st.sampled_from([Normalize(), everything, Normalize(width="ascii", repeats=1)]))
def test_the_step_settles(text: str, step: Normalize) -> None:
    """Never raises, and applying it twice changes nothing."""
    once = step(Document(text, "a:1", "a"))
    if isinstance(once, Document):
        assert clean(once.text) == once.text
        assert step(once) is once
