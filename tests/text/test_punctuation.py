"""Widths, spaces and runs of marks; what is not Chinese stays."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.punctuation import ascii_letters, ascii_width, chinese_width, join_all, join_letters, shorten


@pytest.mark.parametrize(
    ("given_text", "expected", "places"),
    [
        ("你好,世界!", "你好，世界！", 2),
        ("你好, 世界; 再见: 是吗?", "你好，世界；再见：是吗？", 4),
        ("真的吗?!好", "真的吗？！好", 1),
        ('他说:"今天(周三)很好".', "他说：“今天（周三）很好”。", 4),
        ("见(图二).完", "见（图二）.完", 1),  # one character is no clause
        ("苹果很好吃,香蕉也不错.大家都喜欢水果.", "苹果很好吃，香蕉也不错。大家都喜欢水果。", 3),
    ],
)
def test_marks_between_chinese(given_text: str, expected: str, places: int) -> None:
    assert chinese_width(given_text) == (expected, places)


@pytest.mark.parametrize(
    "text",
    [
        "Hello, world! (really)",
        "价格 3,000.50 元",
        "比分 3:2，时间 12:30",
        "见http://a.cn/x,y.html 完",
        "写 `甲,乙` 和 f(甲)",
        'print("你好,世界")',
        '    "名称": "值,二",',
        "if 甲 == 乙, 丙:",
        'result = "甲,乙"',
        "乔治.华盛顿",
        "一. 概述",
        "第三章. 结论",
        '一个"单引号没有配对',
        "写 f(甲)的值",
        "GPT(Generative)",
        '5英寸"',
        "```\n你好,世界\n```",
    ],
)
def test_what_stays(text: str) -> None:
    assert chinese_width(text) == (text, 0)


def test_ascii_width() -> None:
    assert ascii_width("你好，“世界”。（完）、`，`") == ('你好,"世界".(完),`，`', 7)


def test_letters() -> None:
    assert ascii_letters("ＧＰＴ４，ｏｋ？ x²") == ("GPT4，ok？ x²", 2)
    assert ascii_letters("plain") == ("plain", 0)


def test_spaces() -> None:
    assert join_letters("今 天 天 气 很好") == ("今天天气 很好", 1)
    assert join_letters("标\u3000题\u3000页") == ("标题页", 1)
    assert join_letters("张三 李四 王五") == ("张三 李四 王五", 0)
    assert join_letters("甲 乙") == ("甲 乙", 0)
    assert join_letters("a 天 天 b") == ("a 天 天 b", 0)
    assert join_all("张三 李四， 好 a 天") == ("张三李四，好 a 天", 2)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("好！！！！！", "好！！！"),
        ("what????? no!!!!", "what??? no!!!"),
        ("Chapter ........ 12", "Chapter ... 12"),
        ("wait...", "wait..."),
        ("。。。。", "。。。"),
        ("Title\n!!!!!!\n", "Title\n!!!!!!\n"),  # an underline
        ("----- ===== ~~~~ ::::", "----- ===== ~~~~ ::::"),
        ("http://a.b/????x", "http://a.b/????x"),
    ],
)
def test_runs(given_text: str, expected: str) -> None:
    assert shorten(given_text, 3) == (expected, int(given_text != expected) if "what" not in given_text else 2)


def test_runs_of_another_length() -> None:
    assert shorten("好！！！", 1) == ("好！", 1)


mixed = st.text(st.sampled_from("你好世界，。！,.!?;:()（）\"“”' \n\u3000a1`=/@Ａ１:"), max_size=60)


@settings(max_examples=300, deadline=None)
@given(mixed)
def test_each_edit_settles_and_keeps_every_letter(text: str) -> None:
    """Whatever the order of marks, letters of all scripts are the same ones in the same order."""

    def letters(given_text: str) -> str:
        return "".join(c for c in given_text if c.isalnum())

    for edit in (chinese_width, ascii_width, join_letters, join_all):
        once = edit(text)[0]
        assert letters(once) == letters(text)
        for _ in range(8):
            text_after = edit(once)[0]
            if text_after == once:
                break
            once = text_after
        assert edit(once) == (once, 0)
