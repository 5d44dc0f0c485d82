"""Lines of a page's frame: all of a line, or nothing of it."""

import re
from itertools import islice
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.text import packages
from danlu.text.boilerplate import FRAMES, PATTERNS, Frame, drop_lines

LINES: dict[Frame, tuple[str, ...]] = {
    "cookies": (
        "We use cookies to improve your experience. By clicking accept you agree.",
        "This website uses cookies",
        "By continuing to use this site you agree to our use of cookies.",
        "Accept all cookies",
        "Manage cookies",
        "Reject all",
        "Cookie Policy",
        "本网站使用 Cookie 来改善您的体验。",
        "接受所有Cookie",
        "Cookie设置",
    ),
    "share": (
        "Share on Facebook",
        "Tweet",
        "Share this article",
        "Pin it",
        "Follow us on Twitter",
        "Facebook | Twitter | LinkedIn",
        "分享到：微信 微博 QQ空间",
        "分享",
        "微信扫一扫关注我们",
        "欢迎关注公众号：某某",
        "点赞 12 收藏 3 评论",
    ),
    "navigation": (
        "上一篇：如何训练模型",
        "下一页",
        "返回顶部",
        "阅读全文",
        "加载更多",
        "首页 上一页 下一页 末页",
        "您的位置：首页 > 新闻",
        "登录 | 注册",
        "首页 > 新闻 > 国际",
        "相关阅读",
        "Next page »",
        "← Previous",
        "Older posts",
        "« Prev | Next »",
        "Previous | Next",
        "Skip to main content",
        "Back to top",
        "Read more…",
        "Toggle navigation",
        "Log in | Sign up",
        "Home > News > World",
        "Leave a reply",
        "12 comments",
        "Related posts",
        "Click here to subscribe",
    ),
    "copyright": (
        "Copyright © 2024 Some Company. All rights reserved.",
        "© 2020-2024 某公司",
        "(c) 2001 by Someone",
        "版权所有 某公司",
        "某某公司 版权所有",
        "Some Company, all rights reserved",
        "京ICP备12345678号-1",
        "京公网安备 11010502030000号",
        "未经授权不得转载",
        "转载请注明出处",
        "Powered by WordPress",
        "技术支持：某某网络",
        "Terms of Use | Privacy Policy | Contact us",
        "Privacy policy",
    ),
    "pages": ("Page 3 of 10", "- 12 -", "第 3 页 共 10 页", "第12页", "共10页"),
}
PROSE = (
    "Cookies are small files that a browser keeps, and we use them here as an example of state.",
    "He asked them to share the bread with the others.",
    "下一页的内容比这一页更难，请先复习第三章。",
    "版权所有者可以授权他人使用其作品，这是法律规定的权利之一。" * 5,
    "Page 3 of the report says otherwise.",
    "1984",
    "register",
    "next",
    "copyright()",
    "(c) the number of elements",
    "Home is where the heart is",
    "- 3",
    "Share prices fell again",
    "Next to the river",
    "我们不使用任何饼干",
    "分享知识是一件快乐的事",
)


@pytest.mark.parametrize("frame", FRAMES)
def test_lines_of_each_frame_go_with_its_switch_only(frame: Frame) -> None:
    others = tuple(other for other in FRAMES if other != frame)
    for line in LINES[frame]:
        assert drop_lines(f"before\n  {line} \nafter", (frame,), None) == ("before\nafter", 1), line
        assert drop_lines(line, others, None) == (line, 0), line


def test_every_pattern_has_an_example() -> None:
    """Each of the patterns matches a line above, so one that is broken is seen."""
    for frame, patterns in PATTERNS.items():
        for pattern in patterns:
            assert any(re.fullmatch(pattern, line, re.IGNORECASE) for line in LINES[frame]), pattern


@pytest.mark.parametrize("line", PROSE)
def test_prose_stays(line: str) -> None:
    assert drop_lines(line, FRAMES, None) == (line, 0)


def test_books_and_documentation_keep_their_lines() -> None:
    documents = [*packages.documents("sanguo"), *islice(packages.documents("python"), 100)]
    dropped = []
    for document in documents:
        text, number = drop_lines(document.text, FRAMES, None)
        kept = iter(text.split("\n"))
        following = next(kept, None)
        for line in document.text.split("\n") if number else ():
            if line == following:
                following = next(kept, None)
            else:
                dropped.append(line)
    assert all("opyright" in line or "rights reserved" in line.lower() for line in dropped), dropped
    assert len(dropped) < 10


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("# mine\n\n本文由.{1,10}整理\n\\d{1,3}\n", encoding="utf-8")
    assert drop_lines("12\n本文由某人整理\n1234 留下", (), file) == ("1234 留下", 2)
    broken = tmp_path / "broken.txt"
    broken.write_text("ok\n(unclosed\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.txt:2: not a regular expression"):
        drop_lines("x", (), broken)
    with pytest.raises(UserError, match="no such file"):
        drop_lines("x", (), tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xe9")
    with pytest.raises(UserError, match="not UTF-8"):
        drop_lines("x", (), tmp_path / "latin.txt")
