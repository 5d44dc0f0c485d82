"""What a page says about itself: its title, its language and its date."""

import pytest

from danlu.text.extraction.facts import facts, iso_day
from danlu.text.extraction.markup import parse


def found(head: str, body: str = "", html: str = "<html>") -> dict[str, str]:
    page = f"{html}<head>{head}</head><body>{body}<p>text</p></body></html>"
    return facts(page, parse(page))


@pytest.mark.parametrize(
    ("spelling", "day"),
    [
        ("2024-05-31T10:00:00+08:00", "2024-05-31"),
        ("2024/5/3", "2024-05-03"),
        ("20240531", "2024-05-31"),
        ("2024年5月31日", "2024-05-31"),
        ("Fri, 31 May 2024 10:00:00 GMT", "2024-05-31"),
        ("31.05.2024", ""),
        ("2024-13-01", ""),
        ("1024-05-31", ""),
        ("soon", ""),
        ("", ""),
    ],
)
def test_days(spelling: str, day: str) -> None:
    assert iso_day(spelling) == day


@pytest.mark.parametrize(
    "head",
    [
        '<meta property="article:published_time" content="2024-05-31">',
        "<meta content='2024-05-31' name='dc.date'>",
        '<meta itemprop="datePublished" content="2024-05-31T01:00">',
        '<script type="application/ld+json">{"datePublished": "2024-05-31"}</script>',
        '<time datetime="2024-05-31">last May</time>',
    ],
)
def test_where_sites_write_their_date(head: str) -> None:
    assert found(head)["date"] == "2024-05-31"


def test_a_date_of_change_is_none_of_publication() -> None:
    assert "date" not in found('<meta property="article:modified_time" content="2024-05-31">')


@pytest.mark.parametrize(
    ("html", "head", "language"),
    [
        ('<html lang="zh-CN">', "", "zh-CN"),
        ("<html xml:lang=de>", "", "de"),
        ("<html>", '<meta property="og:locale" content="en_GB">', "en-GB"),
        ("<html>", '<meta http-equiv="Content-Language" content="fr">', "fr"),
        ("<html hreflang=en>", "", ""),
    ],
)
def test_declared_languages(html: str, head: str, language: str) -> None:
    assert found(head, html=html).get("declared_language", "") == language


def test_titles() -> None:
    """The heading that the title contains, not the name of the site; else what the head says."""
    assert found("<title>Salt - The Morning Post</title>", "<h1>Salt</h1>") == {"title": "Salt"}
    assert found("<title>Salt - The Morning Post</title>", "<h1>Welcome</h1>")["title"] == "Salt - The Morning Post"
    announced = '<meta property="og:title" content="Salt &amp; Sea"><title>The Post</title>'
    assert found(announced)["title"] == "Salt & Sea"
    assert "title" not in found("")
