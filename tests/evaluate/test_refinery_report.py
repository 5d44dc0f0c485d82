"""The refinery's page: complete, true to its numbers, quiet about what is missing, harmless whatever the texts say."""

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from danlu.base import artifact
from danlu.evaluate.refinery_report import percent, visible, write
from danlu.evaluate.report import write_report
from danlu.text.composition import Composition
from danlu.text.document import Document
from danlu.text.report import Funnel
from tests.evaluate.test_report import Page

EVIL = '<script>document.title="caught"</script><img src=x onerror=\'document.title="caught"\'>"></td></table>'
STEPS = {"length": "too_short", "exact_duplicates": "duplicate", "language": EVIL}


def said(html: str) -> str:
    """The words of a page, with one space between any two."""

    class Spaced(Page):
        def handle_data(self, data: str) -> None:
            self.text += f" {data} "

    return " ".join(Spaced(html).text.split())


def corpus() -> tuple[dict[str, Any], dict[str, Any]]:
    """A funnel and a composition of 300 documents: every fifth is short, every seventh a copy, and some are evil."""
    funnel, composition = Funnel(), Composition()
    for number in range(300):
        kind = "She is a good doctor. " if number % 2 else "那位老人很善良，他却没有朋友。"
        text = "x" if number % 5 == 0 else EVIL if number % 50 == 1 else kind * (number % 9 + 1)
        meta = {
            "language": EVIL if number % 50 == 1 else ("en", "zh")[number % 2 == 0],
            "url": f"https://www.h{number % 40}.example/<b>",
            "title": EVIL,
            "changes": {"email": number % 3, EVIL: 1},
        }
        document = Document(text, f"{EVIL}{number}", f"source{number % 3}{EVIL}", meta)
        funnel.read(document, f"data{number % 30}/{EVIL}")
        bare = dataclasses.replace(document, meta={**meta, "changes": {}})
        funnel.kept("privacy", bare, document)
        dropped = ("length", "too_short") if number % 5 == 0 else ("exact_duplicates", "duplicate")
        if number % 5 == 0 or number % 7 == 0:
            if dropped[0] == "exact_duplicates":
                funnel.kept("length", document, document)
            funnel.drop(*dropped[:1], document, dropped[1], EVIL)
            composition.dropped(document, dropped[1])
        else:
            funnel.kept("length", document, document)
            funnel.kept("exact_duplicates", document, document)
            composition.kept(document)
    funnel.problem(f"{EVIL}.txt: empty file; skipped")
    funnel.problem_count = 4321
    funnel.facts = {"near_duplicates": {"catch_probability": {"0.8": 0.924}, EVIL: EVIL, "largest": [[EVIL, 7]]}}
    return json.loads(json.dumps(funnel.to_dict())), json.loads(json.dumps(composition.to_dict()))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    (folder / "recipe.yaml").write_text(f"inputs: [{EVIL}]\n", encoding="utf-8")
    return write(folder, *corpus(), {"seconds": 60.0})


@pytest.fixture(scope="module")
def html(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_part_is_there(html: str) -> None:
    read = Page(html)
    assert read.open == []
    for words in (
        "documents kept of 300", "What was left after each step", "Why documents were dropped", "too short 60",
        "Languages", "Sources", "Hosts", "20 others", ".example", "Length in bytes", "Han", "Where it was read from",
        "10 others", "What was changed in the text", "near duplicates: catch probability", "0.924", "Who is spoken of",
        "What these numbers can and cannot say", "English words", "Chinese words", "older people", "anyone of these",
        "Occupations and gender, English words", "Read for yourself", "Dropped: duplicate", "善良",
        "What exactly was met", "4,321 problems", "The first 1 are listed", "The complete recipe",
    ):  # fmt: skip
        assert words in read.text, words


def test_the_numbers_are_those_of_the_run(html: str) -> None:
    funnel, composition = corpus()
    kept = composition["kept"]["documents"]
    text = said(html)
    assert f"{kept} documents kept of 300 {percent(kept, 300)}" in text
    assert f"{percent(60, 300)} of documents dropped by filters" in text
    assert f"{percent(composition['copies']['documents'], 300)} of documents were copies" in text
    privacy = funnel["steps"][0]["changes"]
    assert f"privacy email {privacy['email']}" in text
    women = composition["kept"]["people"]["groups"]["en"]["women"]
    assert f"women {women[0]} {women[1]} 100% of {women[2] + women[3]} (" in text
    left = [step["bytes_out"] for step in funnel["steps"]]
    widths = [float(value) for value in re.findall(r'class="part kept" style="width: ([\d.]+)%"', html)]
    read = sum(source["bytes"] for source in funnel["sources"])
    assert widths[1:6:2] == [pytest.approx(100 * size / read, abs=0.01) for size in left]
    assert all(0 <= width <= 100 for width in widths)


def test_text_of_the_corpus_cannot_become_markup(html: str) -> None:
    read = Page(html)
    assert not {"script", "img", "iframe", "link", "object", "svg"} & set(read.tags)
    assert read.tags.count("b") == html.count('class="headline"') > 0
    assert EVIL in read.text  # shown, as text
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert "default-src 'none'" in html


def test_the_page_loads_nothing(html: str) -> None:
    assert not [
        value for name, value in Page(html).attributes if name.split(":")[-1] in ("src", "href", "data", "action")
    ]
    assert not re.search(r"url\(|@import", html)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_no_script_runs_in_a_browser(page: Path) -> None:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    title = re.search(r"<title>(.*)</title>", done.stdout)
    assert title is not None
    assert "Danlu report" in title[1]


@pytest.mark.parametrize("left_out", ["composition", "funnel", "both"])
def test_what_is_missing_is_left_out(left_out: str, tmp_path: Path) -> None:
    funnel, composition = corpus()
    funnel = {} if left_out in ("funnel", "both") else funnel
    composition = {} if left_out in ("composition", "both") else composition
    read = Page(write(tmp_path, funnel, composition, {}).read_text(encoding="utf-8"))
    assert read.open == []
    assert ("What was left after each step" in read.text) == bool(funnel)
    assert ("Who is spoken of" in read.text) == bool(composition)
    assert ("Dropped: too short" in read.text) == bool(funnel or composition)


def test_an_older_funnel_is_shown(tmp_path: Path) -> None:
    """Without changes and facts, and with the changes beside the steps instead of in them."""
    funnel, composition = corpus()
    for key in ("facts", "details", "problem_count"):
        del funnel[key]
    for step in funnel["steps"]:
        del step["changes"]
    funnel["changes"] = {"privacy": {"phone": 7}}
    text = said(write(tmp_path, funnel, composition, {}).read_text(encoding="utf-8"))
    assert "privacy phone 7" in text


def test_few_documents_give_no_interval(tmp_path: Path) -> None:
    composition = Composition()
    for number in range(3):
        composition.kept(Document("She is wonderful.", str(number), "s", {"language": "en"}))
    text = said(write(tmp_path, {}, composition.to_dict(), {}).read_text(encoding="utf-8"))
    assert "women 3 3 3 of 3 3 of 3" in text


def test_the_same_twice_and_by_the_report_command(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Recipe:
        note: str = "x"

    funnel, composition = corpus()
    draft = artifact.begin(tmp_path / "clean", "clean", Recipe())
    (draft.path / "funnel.json").write_text(json.dumps(funnel), encoding="utf-8")
    (draft.path / "composition.json").write_text(json.dumps(composition), encoding="utf-8")
    draft.metrics = {"seconds": 3.0}
    made = draft.finish()
    first = write(made.path, funnel, composition, made.metrics).read_text(encoding="utf-8")
    assert write_report(made.path).read_text(encoding="utf-8") == first
    made.verify()


def test_control_characters_are_made_visible() -> None:
    assert visible("a\x00b\x1b[31m\u202e\u200b汉 \n\t") == "a\ufffdb\ufffd[31m\ufffd\ufffd汉 \n\t"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 5, "0%"),
        (5, 5, "100%"),
        (1, 3, "33.3%"),
        (1, 200, "0.50%"),
        (1, 10**6, "<0.01%"),
        (9999, 10**4, "99.99%"),
        (1, 0, "0%"),
    ],
)
def test_percentages(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text
