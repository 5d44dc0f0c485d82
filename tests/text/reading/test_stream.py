"""Bytes: gzip and zstd whole, in many members, broken off and blown up; lines; UTF-16."""

import gzip
import io
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.read import Reading, parts
from danlu.text.reading.faults import Faults
from danlu.text.reading.stream import SEAM, blocks, lines, narrow
from danlu.text.report import Funnel
from tests.text.reading.making import documents, texts, zstd

PACKERS = {".gz": lambda data: gzip.compress(data, mtime=0), ".zst": zstd}
Packer = Callable[[bytes], bytes]


def unpacked(path: Path, data: bytes, **settings: object) -> tuple[bytes, list[str]]:
    path.write_bytes(data)
    tally = Funnel()
    found = b"".join(blocks(parts([str(path)])[0], Reading(**settings), Faults("F", tally)))  # type: ignore[arg-type]
    return found, tally.problems


@pytest.fixture(params=PACKERS)
def packer(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Packer, Path]:
    return PACKERS[request.param], tmp_path / f"x.txt{request.param}"


def test_members_in_a_row(packer: tuple[Packer, Path]) -> None:
    pack, path = packer
    given = [b"one" * 100_000, b"", b"two", b"x" * 3_000_000]
    assert unpacked(path, b"".join(map(pack, given))) == (b"".join(given), [])


def test_broken_off(packer: tuple[Packer, Path]) -> None:
    pack, path = packer
    draw = random.Random(0)
    data = b"".join(b"%x line\n" % draw.getrandbits(128) for _ in range(20_000))
    whole = pack(data)
    for size in (len(whole) - 1, len(whole) // 2, 10, 3):
        found, problems = unpacked(path, whole[:size])
        assert data.startswith(found)
        assert len(found) > len(data) // 3 or size < len(whole) // 3
        assert len(problems) == 1
        assert problems[0].startswith(f"F: truncated {'gzip' if path.suffix == '.gz' else 'zstd'}; what came before")


def test_not_what_the_name_says(packer: tuple[Packer, Path]) -> None:
    found, problems = unpacked(packer[1], b"plain text\n" * 99)
    assert found.strip() == b""
    assert len(problems) == 1
    assert problems[0].startswith("F: damaged")


def test_a_damaged_gzip_member_costs_itself(tmp_path: Path) -> None:
    members = [gzip.compress(b"%d" % n * 1000, mtime=0) for n in range(5)]
    members[1] = members[1][:12] + b"\xff" * 6 + members[1][18:]  # not to be unpacked
    members[3] = members[3][:-8] + b"\0" * 8  # unpacked, and its checksum is wrong
    found, problems = unpacked(tmp_path / "x.txt.gz", b"".join(members))
    assert [part[:1] for part in found.split(SEAM)] == [b"0", b"2", b"4"]
    assert problems == []  # told when the file is done: see the next test


def test_damaged_members_are_counted(tmp_path: Path) -> None:
    good, bad = gzip.compress(b"good\n", mtime=0), gzip.compress(b"bad\n" * 99, mtime=0)[:-4] + b"\0\0\0\0"
    (tmp_path / "x.txt.gz").write_bytes((good + bad) * 3 + good)
    tally = Funnel()
    assert "".join(texts(tmp_path / "x.txt.gz", tally=tally)).count("good") == 4
    assert tally.problems == [f"{tmp_path}/x.txt.gz: 3 damaged gzip members left out"]


def test_a_file_of_false_beginnings_is_given_up(tmp_path: Path) -> None:
    found, problems = unpacked(tmp_path / "x.txt.gz", b"\x1f\x8b\x08\xe0" * 200_000)
    assert found.strip() == b""
    assert len(problems) == 1
    assert "damaged gzip after about" in problems[0]


def test_padding_behind_gzip(tmp_path: Path) -> None:
    assert unpacked(tmp_path / "x.txt.gz", gzip.compress(b"a") + b"\0" * 512) == (b"a", [])


def test_a_bomb(packer: tuple[Packer, Path]) -> None:
    pack, path = packer
    bomb = pack(b"\n" * 40_000_000)
    found, problems = unpacked(path, bomb)
    assert 16_000_000 <= len(found) < 18_000_000
    assert problems == [
        "F: unpacks to more than max_ratio=200 times its size, as a zip bomb does; the rest was skipped"
    ]
    assert unpacked(path, bomb, max_ratio=1e9) == (b"\n" * 40_000_000, [])
    found, problems = unpacked(path, bomb, max_ratio=1e9, max_decompressed_bytes=5_000_000)
    assert len(found) <= 5_000_000
    assert problems == ["F: unpacks to more than max_decompressed_bytes=5000000; the rest was skipped"]


def test_sound_text_is_no_bomb(packer: tuple[Packer, Path]) -> None:
    pack, path = packer
    data = b"".join(b"2024-05-06 07:08:09 INFO request %d served\n" % n for n in range(200_000))
    assert unpacked(path, pack(data))[1] == []


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab\n"), max_size=60), st.lists(st.integers(0, 60), max_size=5), st.integers(1, 8))
def test_lines_do_not_depend_on_the_blocks(text: str, cuts: list[int], limit: int) -> None:
    places = sorted([0, len(text), *(min(cut, len(text)) for cut in cuts)])
    given_blocks = [text[a:b] for a, b in itertools.pairwise(places)]
    expected = [None if len(line) > limit else line for line in text.split("\n")]
    if expected[-1] == "":
        expected.pop()
    assert list(lines(given_blocks, "\n", limit)) == expected
    assert (
        list(lines([block.encode() for block in given_blocks], b"\n", limit)) == [x and x.encode() for x in expected]
        or None in expected
        or "" in expected
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("size", [1000, 7])
def test_narrow(encoding: str, size: int) -> None:
    text = "A mostly ASCII text,\nwith 丹炉 in it 😀.\n" * 30
    data = io.BytesIO(text.encode(encoding))
    mark = b"" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff".encode(encoding)
    given_blocks = [mark + data.read(size), *iter(lambda: data.read(size), b"")]
    assert b"".join(narrow(given_blocks, "auto", Faults("F", Funnel()))).decode() == text


def test_utf16_without_a_mark_shows_by_its_nulls() -> None:
    text = "A mostly ASCII text, with 丹炉 in it.\n" * 30
    for encoding in ("utf-16-le", "utf-16-be"):
        assert b"".join(narrow([text.encode(encoding)], "auto", Faults("F", Funnel()))).decode() == text


def test_null_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\0two\n" + b"\0" * 5000 + b"three\n")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "a\0b"}\n' + b"\0" * 4096 + b"\n" + rb'{"text": "c\u0000d"}')
    (tmp_path / "c.html").write_bytes(b"<p>a\0b")
    (tmp_path / "d.csv").write_bytes(b"text\na\0b\n")
    (tmp_path / "e.json").write_bytes(b'[{"text": "a\0b"}]')
    tally = Funnel()
    assert texts(tmp_path, tally=tally) == ["onetwo\nthree\n", "ab", "cd", "<p>ab", "ab", "ab"]
    counted = {"a.txt": 5001, "b.jsonl": 4097, "c.html": 1, "d.csv": 1, "e.json": 1}
    told = [f"{tmp_path}/{name}: {number} null bytes taken out" for name, number in counted.items()]
    told.insert(2, f"{tmp_path}/b.jsonl: 1 null characters taken out")
    assert tally.problems == told


def test_half_a_line_where_the_data_broke_off_is_no_second_problem(packer: tuple[Packer, Path]) -> None:
    pack, path = packer
    path = path.with_name(path.name.replace("txt", "jsonl"))
    path.write_bytes(pack(b"".join(b'{"text": "%d"}\n' % n**9 for n in range(9_000)))[:-4000])
    tally = Funnel()
    assert len(documents(path, tally=tally)) > 4_000
    assert len(tally.problems) == 1
