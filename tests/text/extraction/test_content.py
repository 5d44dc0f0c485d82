"""What stays of a page: the text, and not its furniture, whatever either is called."""

import pytest

from danlu.text.extract import extract

FIRST = (
    "The lighthouse stood on the northern cliff for two hundred years before anybody thought of measuring its height."
)
SECOND = (
    "When they did, in the spring of that year, the tower turned out to be four metres lower than all the charts said."
)
THIRD = (
    "The keeper was not surprised: the sea, he said, had been rising in his window for as long as he could remember."
)
CHINESE = "灯塔在北面的悬崖上立了两百年，才有人想到要量一量它的高度。那年春天量出来的结果，比所有海图上写的都低了四米。"
PROSE = f"<p>{FIRST}</p><p>{SECOND}</p><p>{THIRD}</p>"
LINKS = "".join(f'<li><a href="/{n}">A story about harbour number {n}</a></li>' for n in range(8))
COOKIES = (
    "This site uses cookies to show you what you like, and shares what it learns with four hundred partners of ours."
)


def kept(body: str, favour: str = "balanced") -> str:
    return extract(f"<html><head><title>T</title></head><body>{body}</body></html>", favour=favour)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "furniture",
    [
        f"<nav><ul>{LINKS}</ul></nav>",
        f'<div class="related-posts"><h3>Related</h3><ul>{LINKS}</ul></div>',
        f'<div id="cookie-consent"><p>{COOKIES}</p></div>',
        f'<aside class="sidebar"><h2>Most read</h2><ul>{LINKS}</ul></aside>',
        f'<ol class="comments"><li><p>{COOKIES}</p></li></ol>',
        f'<div class="css-x1"><ul>{LINKS}</ul></div>',
        '<div style="display:none"><p>Buy now, pay later, and never hear of us again.</p></div>',
        "<footer><p>All rights reserved. No part of this page may be reproduced.</p></footer>",
        '<div class="share-buttons">Share Tweet Print</div>',
        '<p class="byline">By Jane Miller, 12 March 2019</p>',
    ],
)
@pytest.mark.parametrize("above", [True, False])
def test_furniture_goes(furniture: str, above: bool) -> None:
    inside = f"<div><h1>A lighthouse measured</h1>{PROSE}</div>"
    body = furniture + inside if above else inside + furniture
    assert kept(body) == f"A lighthouse measured\n\n{FIRST}\n\n{SECOND}\n\n{THIRD}"


@pytest.mark.parametrize("name", ["has-sidebar", "share", "footer-layout", "comments", "menu", "hidden-until-loaded"])
def test_a_name_is_only_a_hint(name: str) -> None:
    """Pages call the element around everything by any name at all."""
    assert kept(f'<div class="{name}">{PROSE}</div>') == f"{FIRST}\n\n{SECOND}\n\n{THIRD}"


def test_a_page_of_links_stays_one() -> None:
    assert kept(f"<h1>Harbours</h1><ul>{LINKS}</ul>").count("harbour number") == 8


def test_chinese_counts_by_characters() -> None:
    body = f'<div class="c1"><ul>{LINKS}</ul></div><div class="c2"><p>{CHINESE}</p><p>{CHINESE}</p></div>'
    assert kept(body) == f"{CHINESE}\n\n{CHINESE}"


def test_what_is_favoured() -> None:
    """Recall keeps at least what the others keep, precision at most."""
    body = (
        f'<div class="intro"><p>{COOKIES}</p></div><article>{PROSE}</article><div class="promo"><p>{CHINESE}</p></div>'
    )
    sizes = {favour: len(kept(body, favour)) for favour in ("recall", "balanced", "precision")}
    assert sizes["recall"] > sizes["balanced"] >= sizes["precision"] >= len(FIRST + SECOND + THIRD)


def test_headings_go_with_their_text() -> None:
    """A heading over nothing that stayed goes, one over text stays."""
    body = f"<article>{PROSE}<h2>Keepers</h2><p>{FIRST}</p><h2>Related</h2><nav><ul>{LINKS}</ul></nav></article>"
    text = kept(body)
    assert "Keepers" in text
    assert "Related" not in text


def test_code_lists_and_tables_are_contents() -> None:
    body = (
        f"<article>{PROSE}<ul><li>rope<li>oil</ul><pre>if tide:\n    wait()</pre>"
        "<table><tr><th>year</th><th>height</th></tr><tr><td>1801</td><td>31 m</td></tr></table></article>"
    )
    assert kept(body).endswith("- rope\n- oil\n\nif tide:\n    wait()\n\nyear | height\n1801 | 31 m")
