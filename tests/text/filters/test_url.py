"""The URL filter: hosts and what lies below them, exact addresses, hard and soft words, in every spelling."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text.document import Document, Dropped
from danlu.text.filters.url import OWN, UrlFilter, parse

NONE: tuple[()] = ()


def judged(step: UrlFilter, url: object) -> tuple[str, str]:
    """(reason, detail), both empty for a document that is kept."""
    result = step(Document("text", "i", "s", {"url": url}))
    return (result.reason, result.detail) if isinstance(result, Dropped) else ("", "")


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("url", "host", "rest"),
    [
        ("http://A.Example/Path?q=%41#top", "a.example", "/Path?q=A"),
        ("https://user:p@ss@a.example:8443/x", "a.example", "/x"),
        ("//a.example./", "a.example", "/"),
        ("a.example/x", "a.example", "/x"),
        ("https:a.example", "a.example", ""),
        ("http://a.example\\x", "a.example", "\\x"),
        ("http://[2001:DB8::1]:80/x", "2001:db8::1", "/x"),
        ("http://192.0.2.7:80", "192.0.2.7", ""),
        ("http://例え.テスト/", "xn--r8jz45g.xn--zckzah", "/"),
        ("http://%E4%BE%8B%E3%81%88.xn--zckzah/", "xn--r8jz45g.xn--zckzah", "/"),
        ("http://a。example/", "a.example", "/"),
        ("mailto:me@a.example", "a.example", ""),
        ("", "", ""),
    ],
)
def test_addresses(url: str, host: str, rest: str) -> None:
    found = parse(url)
    assert (found.host, found.rest) == (host, rest)


def test_a_document_without_an_address_is_kept() -> None:
    step = UrlFilter()
    metas: list[dict[str, object]] = [{}, {"url": None}, {"url": ""}, {"url": "  "}, {"url": 5}]
    for meta in metas:
        document = Document("text", "i", "s", meta)
        assert step(document) is document


PLAIN = """# a comment
bad.example

  *.wild.example  # why
https://page.example/x
xn--r8jz45g.xn--zckzah
192.0.2.7
0.2.9
loan""".splitlines()
HOSTS = """127.0.0.1 localhost
0.0.0.0 bad.example wild.example # two
::1 page.example
0.0.0.0 例え.テスト
0.0.0.0 192.0.2.7 0.2.9
0.0.0.0 loan""".splitlines()
ADBLOCK = """[Adblock Plus 2.0]
! Title: x
||bad.example^
||wild.example^
||page.example^
例え.テスト
192.0.2.7
0.2.9
loan""".splitlines()


@pytest.mark.parametrize("lines", [PLAIN, HOSTS, ADBLOCK])
def test_hosts_and_those_below(tmp_path: Path, lines: list[str]) -> None:
    step = UrlFilter(categories=NONE, domains=(written(tmp_path / "list.txt", *lines),))
    for url, entry in (
        ("http://bad.example/", "bad.example"),
        ("https://a.b.BAD.example:8080/x", "bad.example"),
        ("http://www.wild.example", "wild.example"),
        ("http://page.example/other", "page.example"),
        ("http://www.例え.テスト/", "xn--r8jz45g.xn--zckzah"),
        ("http://192.0.2.7/", "192.0.2.7"),
        ("http://any.loan/", "loan"),
    ):
        assert judged(step, url) == ("url_domain", entry)
    for url in (
        "http://notbad.example",
        "http://bad.example.org",
        "http://example/",
        "http://192.0.2.77",
        "http://192.0.2.9/",  # an IP address lies below nothing
        "http://localhost/",
        "http://bad",
    ):
        assert judged(step, url) == ("", "")


def test_what_is_allowed_goes_first(tmp_path: Path) -> None:
    hosts, words = written(tmp_path / "d", "bad.example"), written(tmp_path / "w", "word")
    step = UrlFilter(domains=(hosts,), words=(words,), allowed=(written(tmp_path / "a", "good.bad.example"),))
    assert judged(step, "http://bad.example/")[0] == "url_domain"
    for url in ("http://good.bad.example/", "http://www.good.bad.example/word/porn"):
        assert judged(step, url) == ("", "")


def test_exact_addresses(tmp_path: Path) -> None:
    lines = ["http://a.example/Page/", "b.example/x?id=1", "https://www.c.example"]
    step = UrlFilter(categories=NONE, urls=(written(tmp_path / "u", *lines),))
    for url in (
        "https://www.a.example:443/Page#top",
        "http://A.example/%50age",
        "b.example/x?id=1",
        "http://c.example/",
    ):
        assert judged(step, url) == ("url_listed", url)
    for url in (
        "http://a.example/page",
        "http://a.example/",
        "http://b.example/x?id=2",
        "http://b.example/x",
        "http://x.c.example",
    ):
        assert judged(step, url) == ("", "")


def test_words_of_the_user(tmp_path: Path) -> None:
    hard = written(tmp_path / "hard", "# hard", "Lead", "to-gold", "炼丹")
    soft = written(tmp_path / "soft", "tin", "copper", "iron", "水银")
    step = UrlFilter(categories=NONE, words=(hard,), soft_words=(soft,))
    for url, reason, detail in (
        ("http://a.example/LEAD", "url_word", "lead (list)"),
        ("http://lead.example/", "url_word", "lead (list)"),
        ("http://a.example/x?to_gold=1", "url_word", "to gold (list)"),
        ("http://a.example/%E7%82%BC%E4%B8%B9%E6%9C%AF", "url_word", "炼丹 (list)"),
        ("http://xn--riq345f.example/", "url_word", "炼丹 (list)"),
        ("http://tin-copper.example/", "url_soft_words", "copper tin (list)"),
        ("http://tin.example/水银", "url_soft_words", "tin 水银 (list)"),
        ("http://a.example/leader", "", ""),
        ("http://a.example/gold-to", "", ""),
        ("http://tin.example/tin/tin", "", ""),
    ):
        assert judged(step, url) == (reason, detail)
    one = UrlFilter(categories=NONE, soft_words=(soft,), soft_limit=1)
    assert judged(one, "http://tin.example/") == ("url_soft_words", "tin (list)")


def test_soft_words_of_two_lists_do_not_add_up() -> None:
    assert judged(UrlFilter(), "http://a.example/adult-bonus") == ("", "")
    assert judged(UrlFilter(), "http://a.example/adult-dating-cam-nude")[0] == "url_soft_words"


@pytest.mark.parametrize(
    ("url", "reason", "category"),
    [
        ("http://www.xvideos.example/", "url_word", "adult"),
        ("http://a.example/free-porn/", "url_word", "adult"),
        ("http://sexy-teen.example/", "url_soft_words", "adult"),
        ("http://a.example/%E8%89%B2%E6%83%85", "url_word", "adult"),
        ("http://www.casino-bonus.example/", "url_soft_words", "gambling"),
        ("http://a.example/百家乐", "url_word", "gambling"),
        ("http://buy-viagra.example/", "url_word", "spam"),
        ("http://cheap-pills.example/", "url_soft_words", "spam"),
        ("http://payday.loan/", "url_soft_words", "spam"),
    ],
)
def test_own_categories(url: str, reason: str, category: str) -> None:
    found = judged(UrlFilter(), url)
    assert (found[0], found[1].rpartition("(")[2]) == (reason, f"{category})")
    others = tuple(name for name in OWN if name != category)
    assert judged(UrlFilter(categories=others), url) == ("", "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "https://essex.gov.uk/adult-education", "https://www.middlesexcounty.example", "https://scunthorpe.example/cockpit",
        "https://en.wikipedia.org/wiki/Casino_Royale", "https://en.wikipedia.org/wiki/Sex_ratio", "https://www.example.top/",
        "https://arxiv.org/abs/1706.03762", "https://docs.python.org/3/library/random.html", "https://www.gutenberg.org/ebooks/1342",
        "https://zh.wikipedia.org/wiki/中国体育彩票", "https://a.example/2020/05/slot-machines-history",
        "https://www.who.int/news/hot-topics/alcohol",
    ],
)  # fmt: skip
def test_sound_addresses_are_kept(url: str) -> None:
    assert judged(UrlFilter(), url) == ("", "")


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    for changes, message in (
        ({"categories": ("adlut",)}, r"recipe: categories: unknown category 'adlut'\. Did you mean 'adult'"),
        ({"soft_limit": 0}, "recipe: soft_limit: must be at least 1"),
        ({"domains": (tmp_path / "no",)}, "no: no such file"),
        ({"urls": (tmp_path,)}, "is a folder"),
    ):
        with pytest.raises(UserError, match=message):
            UrlFilter(**changes)  # type: ignore[arg-type]


def test_it_is_a_recipe_and_travels_to_workers(tmp_path: Path) -> None:
    step = UrlFilter(domains=(written(tmp_path / "d", "bad.example"),), soft_limit=3)
    copy = from_dict(UrlFilter, to_dict(step))
    assert copy == step
    assert judged(copy, "http://bad.example") == judged(step, "http://bad.example") == ("url_domain", "bad.example")
    assert step.files == (tmp_path / "d",)


def test_a_list_may_be_empty_or_broken(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(b"\xff\xfe\x00bad\n" + b"x" * 100_000 + b"\n\xe4.example\n")
    empty = (written(tmp_path / "e"),)
    step = UrlFilter(domains=(tmp_path / "d",), urls=empty, words=empty, allowed=empty)
    assert judged(step, "http://a.example") == ("", "")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"https?://[^/]{0,30}(/.*)?", fullmatch=True))
def test_no_address_is_an_error(url: str) -> None:
    result = UrlFilter()(Document("text", "i", "s", {"url": url}))
    assert isinstance(result, Document) or result.detail.encode()


def test_odd_addresses() -> None:
    long = ["http://" + "a." * 5000, "%" * 1000, "http://" + "中" * 80]
    for url in ("http://\ud800.example/", "\0", "http://[::1", "xn--\udfff", "http://xn--a-ecp.example/", *long):
        judged(UrlFilter(), url)
