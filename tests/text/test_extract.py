"""HTML to text: what a page says, in lines as it shows them, whatever the markup."""

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.document import Document
from danlu.text.extract import Extract, extract

PAGE = """<!doctype html><html><head><title>Salt &amp; Sea</title><style>p{color:red}</style>
<script>if (a < b) { alert("no") }</script></head><body>
<nav><ul><li>Home<li>About</ul></nav>
<h1>The   sea</h1>
<p>First <b>bold</b>, then
text with &lt;tags&gt; &mdash; and&nbsp;more.</p>
<ul><li>one<li>two</ul>
<pre>def f():
    return  1</pre>
<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>
<p>中文<em>段落</em>。<br>next</p>
<footer>Copyright</footer></body></html>"""


def test_a_page() -> None:
    text, title = extract(PAGE)
    assert title == "Salt & Sea"
    assert text == (
        "The sea\n\nFirst bold, then text with <tags> — and more.\n\n- one\n- two\n\ndef f():\n    return  1\n\n"
        "a | b\nc | d\n\n中文段落。\nnext"
    )


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("", ""),
        ("no markup at all", "no markup at all"),
        ("<nav>never closed <p>the text", "never closed\n\nthe text"),
        ("<p>a<![foo[x]]>b", "ab"),
        ("<div>" * 50_000 + "deep", "deep"),
        ("a < b", "a < b"),
        ("<p>cut <a href='", "cut"),
        ("<script>var x = '<p>no</p>'</script>yes", "yes"),
    ],
)
def test_broken_markup(html: str, expected: str) -> None:
    assert extract(html)[0] == expected


@pytest.mark.parametrize("unit", ["<a ", "<", "</", "<!--", "<![", '<a b="', "&"])
@pytest.mark.parametrize("end", ["", ">"])
def test_repeated_openings_end(unit: str, end: str) -> None:
    """Some of these take the standard library's parser quadratic time when they are never closed."""
    text, _ = extract("<p>start</p>" + unit * 20_000 + end)
    assert text.startswith("start")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["<", ">", "</", "p", "pre", "nav", " ", "<!", "[", "--", '"', "=", "&#", "中", "\n"])))
def test_nothing_crashes(parts: list[str]) -> None:
    text, title = extract("".join(parts))
    assert isinstance(text, str)
    assert isinstance(title, str)


@pytest.mark.parametrize("library", ["trafilatura", "resiliparse"])
def test_libraries_on_request(library: Literal["trafilatura", "resiliparse"]) -> None:
    pytest.importorskip(library, reason="the extra 'extraction' is not installed", exc_type=ImportError)
    article = "".join(f"<p>Paragraph {n} says something about the sea and its salt, at length.</p>" for n in range(9))
    page = f"<html><head><title>Sea</title></head><body><nav>Home</nav>{article}</body>"
    text, title = extract(page, library)
    assert "Paragraph 3 says" in text
    assert "Home" not in text
    assert title == "Sea"
    found = Extract(extractor=library)(Document(page, "", "", {"format": "html"}))
    assert isinstance(found, Document)
    assert found.text == text
