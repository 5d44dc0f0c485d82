"""Leftovers of markup, each language by its own switch."""

import pytest

from danlu.text.markup import MARKUPS, Markup, strip


@pytest.mark.parametrize(
    ("markup", "given_text", "expected"),
    [
        ("entities", "Tom &amp; Jerry&nbsp;&lt;3 &#20013;&#x6587; &hellip;", "Tom & Jerry\u00a0<3 中文 …"),
        ("entities", "&amp;amp;lt; twice", "< twice"),
        ("entities", "AT&T; R&D &unknown; a&b;c `&lt;`", "AT&T; R&D &unknown; a&b;c `&lt;`"),
        ("tags", "<p>Hello <b>bold</b><br/>line</p>", "\nHello bold\nline\n"),
        ("tags", "a<!-- hidden -->b<script>var x = '<p>';</script>c<style>p{}</style>d", "abcd"),
        ("tags", "List<String> x < y > z, `<div>`, <nobody>", "List<String> x < y > z, `<div>`, <nobody>"),
        ("tags", '<a href="x" class=\'y\'>link</a><img src="z">', "link"),
        ("tags", "an open <!-- comment", "an open <!-- comment"),
        ("bbcode", "[b]bold[/b] [url=http://x]text[/url][img]http://y.png[/img]", "bold text"),
        ("bbcode", "a[i] + b[u] [b]x[/b]", "a[i] + b[u] x"),
        ("wiki", "'''Bold''' ''it'' [[Page|shown]] [[Page]] {{cite|x}} [[File:a.png|thumb]][http://x site]",
         "Bold it shown Page  site"),
        ("wiki", "== Heading ==\ntext<ref name=a>note</ref>\n__TOC__", "Heading\ntext\n"),
        ("markdown", '![alt](a.png) [text](http://x "title") [w](http://e/a_(b))\n[1]: http://x', "alt text w\n"),
        ("markdown", "f[0](x y) and `[a](b)`", "f[0](x y) and `[a](b)`"),
        ("latex", r"\section{One} \textbf{bold} text\cite{a,b}, 50\% \begin{itemize} \item x", "One bold text, 50%  x"),
        ("latex", r"C:\text\label $x_1$ \alpha", r"C:\text\label $x_1$ \alpha"),
    ],
)  # fmt: skip
def test_each_language(markup: Markup, given_text: str, expected: str) -> None:
    text, number = strip(given_text, markup)
    assert text == expected
    assert (number > 0) == (given_text != expected)


@pytest.mark.parametrize("markup", MARKUPS)
def test_plain_text_stays(markup: Markup) -> None:
    text = "Plain text, 3 < 4 & 5 > 2; 中文（括号）[1] {x} *y* _z_ ~ \\o/"
    assert strip(text, markup) == (text, 0)


@pytest.mark.parametrize("markup", MARKUPS)
@pytest.mark.parametrize("piece", ["&amp;", "<script>", "<!--", "[b]", "[/b]", "{{", "[[", "![", "](", "\\textbf{", "<p ", "`",
                                   "</script><script>", "''"])  # fmt: skip
def test_hostile_texts_end(markup: Markup, piece: str) -> None:
    """Quadratic patterns would take minutes for 200,000 characters."""
    text = piece * (200_000 // len(piece))
    assert len(strip(text, markup)[0]) <= len(text) + 200_000
