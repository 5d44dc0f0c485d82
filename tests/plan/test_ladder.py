"""What a row of runs says together, and the page that shows it."""

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest

from danlu.base.errors import UserError
from danlu.plan.ladder import Run, conclude, lines, rows
from danlu.plan.page import write

AHEAD = (13.7e6, 20.0)


def law(weights: float, tokens: float) -> float:
    return 1.69 + 406.4 * weights**-0.34 + 410.7 * tokens**-0.28


def made(weights: float, ratio: float, *, loss: bool = True, seed: int = 0) -> Run:
    """A run on Hoffmann's law."""
    size, tokens = f"{weights / 1e6:g}M", weights * ratio
    nats = law(weights, tokens) if loss else math.nan
    count = (int(weights * 1.4), int(weights), int(tokens), 6 * weights * tokens)
    return Run(f"{size}-x{ratio:g}", size, ratio, seed, *count, nats, nats * 0.4)


def ladder(*ratios: float) -> list[Run]:
    return [made(weights, ratio) for weights in (1.4e6, 2.9e6, 5.3e6, 8.9e6) for ratio in ratios]


def test_the_next_size_is_predicted_and_checked() -> None:
    reached = made(*AHEAD)
    found = conclude(ladder(20.0), made(*AHEAD, loss=False), reached)
    assert found["check"]["error"] == pytest.approx(0, abs=2e-3)
    assert found["check"]["inside"] is True
    assert found["prediction"]["loss"] == pytest.approx(reached.loss, rel=2e-3)
    assert found["prediction"]["bits_per_byte"] == pytest.approx(0.4 * found["prediction"]["loss"])
    assert found["prediction"]["bits_per_byte_interval"][1] == pytest.approx(0.4 * found["prediction"]["interval"][1])
    worse = dataclasses.replace(reached, loss=reached.loss * 1.25)
    missed = conclude(ladder(20.0), made(*AHEAD, loss=False), worse)["check"]
    assert (missed["error"], missed["inside"]) == (pytest.approx(-0.2, abs=2e-3), False)
    assert found["joint"] is None
    assert found["curve"][0][0] == pytest.approx(found["runs"][0]["flops"])
    assert found["curve"][-1][1] == pytest.approx(found["prediction"]["loss"])
    assert json.loads(json.dumps(found)) == found


def test_with_several_token_counts_both_laws_speak() -> None:
    found = conclude(ladder(20.0, 5.0), made(*AHEAD, loss=False), made(*AHEAD))
    assert found["joint"]["floor"] == pytest.approx(1.69, rel=1e-3)
    assert found["check"]["joint_error"] == pytest.approx(0, abs=1e-5)
    alone = conclude(ladder(20.0), made(*AHEAD, loss=False))
    assert found["law"] == alone["law"]
    assert ["error" in run for run in found["runs"]] == [True, False] * 4


def test_a_run_without_a_loss_is_named() -> None:
    runs = ladder(20.0)
    runs[1] = dataclasses.replace(runs[1], loss=math.inf)
    with pytest.raises(UserError, match=r"the run 2\.9M-x20 reached no loss"):
        conclude(runs, made(*AHEAD, loss=False))


def test_the_terminal_and_the_page_say_the_same(tmp_path: Path) -> None:
    found = conclude(ladder(20.0, 5.0), made(*AHEAD, loss=False), made(*AHEAD))
    said = "\n".join(lines(found))
    page = write(tmp_path, found).read_text(encoding="utf-8")
    for text in (found["law"]["formula"], found["joint"]["formula"], f"{100 * found['check']['error']:+.2f} %"):
        assert text in said
        assert text in page
    for row in rows(found)[1:]:
        assert all(cell in page for cell in row)
    assert (page.count('class="dot"'), page.count('class="dot other"')) == (4, 4)
    assert "<script" not in page
    assert "src=" not in page
    assert "href=" not in page


def test_every_part_of_the_picture_lies_in_it(tmp_path: Path) -> None:
    page = write(tmp_path, conclude(ladder(20.0), made(*AHEAD, loss=False), made(*AHEAD))).read_text(encoding="utf-8")
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', page).groups())  # type: ignore[union-attr]
    points = [tuple(map(float, p.split(","))) for found in re.findall(r'points="([^"]+)"', page) for p in found.split()]
    points += [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.-]+)" cy="([\d.-]+)"', page)]
    assert len(points) > 100
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert page.count('class="dot"') == 4
    # More compute stands further right, and a lower loss lower.
    dots = [(float(x), float(y)) for x, y in re.findall(r'class="dot" cx="([\d.]+)" cy="([\d.]+)"', page)]
    assert dots == sorted(dots)
    assert [y for _, y in dots] == sorted(y for _, y in dots)


def test_what_a_stranger_wrote_is_shown_as_text(tmp_path: Path) -> None:
    runs = [dataclasses.replace(run, name="<b>x</b>", size="<i>") for run in ladder(20.0)]
    page = write(tmp_path, conclude(runs, made(*AHEAD, loss=False))).read_text(encoding="utf-8")
    assert "<b>x" not in page
    assert "<i>" not in page
