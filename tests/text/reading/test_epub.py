"""EPUB: chapters in reading order, and zips that are damaged, encrypted or bombs."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from danlu.text.reading.epub import DIRECTORY_BYTES
from danlu.text.report import Funnel
from tests.text.reading.making import CONTAINER, documents, epub, texts

CHAPTERS = [f"<html><title>{n}</title><body>Chapter {n}, 第{n}章</body></html>" for n in range(4)]
REAL = Path("/usr/share/doc/debian-edu-doc-zh-cn/debian-edu-bookworm-manual.epub")


def problems(path: Path, **settings: object) -> tuple[list[str], list[str]]:
    tally = Funnel()
    found = texts(path, tally=tally, **settings)
    return found, [problem.removeprefix(f"{path}") for problem in tally.problems]


@pytest.mark.parametrize("prefix", ["", "epub/"])
def test_chapters_come_in_reading_order(tmp_path: Path, prefix: str) -> None:
    path = epub(tmp_path / "x.epub", CHAPTERS, prefix=prefix)
    found = documents(path)
    assert [d.text for d in found] == CHAPTERS
    assert [d.id for d in found] == [f"{path}:{n}" for n in (1, 2, 3, 4)]
    assert found[0].meta == {"format": "html", "title": "Tea & 茶", "date": "2020-01-02"}


def test_a_real_book() -> None:
    if not REAL.exists():
        pytest.skip("Debian's package debian-edu-doc-zh-cn is not installed")
    tally = Funnel()
    found = documents(REAL, tally=tally)
    assert len(found) == 27
    assert found[0].meta["title"] == "Debian Edu / Skolelinux 12 Bookworm 手册"
    assert tally.problems == []


@pytest.mark.parametrize("container", ["", "<rootfile full-path=''/>", "\0" * 99, "<container><rootfiles>"])
def test_a_book_without_a_container_is_found_by_its_list(tmp_path: Path, container: str) -> None:
    assert texts(epub(tmp_path / "x.epub", CHAPTERS, container=container)) == CHAPTERS


def test_a_book_without_an_order_is_read_as_it_lies(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.epub", "w") as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("b.html", "<p>first")
        archive.writestr("a.xhtml", "<p>second")
        archive.writestr("c.css", "x")
    found, told = problems(tmp_path / "x.epub")
    assert found == ["<p>first", "<p>second"]
    assert (
        told
        == [
            ": its lists cannot be read ('There is no item named \\'OEBPS/book.opf\\' in the archive')",
            ": no reading order; its pages were read as they lie in the file",
        ]
        or len(told) == 2
    )


def test_damaged_chapters_cost_themselves(tmp_path: Path) -> None:
    path = epub(tmp_path / "x.epub", [chapter * 50 for chapter in CHAPTERS])
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("OEBPS/1 c.xhtml")
    data[entry.header_offset + 60 : entry.header_offset + 70] = b"\xff" * 10
    path.write_bytes(data)
    found, told = problems(path)
    assert found == [CHAPTERS[n] * 50 for n in (0, 2, 3)]
    assert len(told) == 1
    assert told[0].startswith(", chapter 2: damaged chapter (")


def test_encrypted_and_missing_chapters(tmp_path: Path) -> None:
    path = epub(tmp_path / "x.epub", [*CHAPTERS, "\x01\x02\x03\x04\x0e" * 99])
    data = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the bit that says encrypted, in both places
        place = data.find(b"OEBPS/0 c.xhtml") if mark == b"PK\3\4" else data.rfind(b"OEBPS/0 c.xhtml")
        data[data.rfind(mark, 0, place) + flags] |= 1
    path.write_bytes(bytes(data).replace(b"OEBPS/1 c.xhtml", b"OEBPS/9 c.xhtml"))
    found, told = problems(path)
    assert found == CHAPTERS[2:]
    assert told[0].startswith(", chapter 1: damaged chapter (File <ZipInfo filename='OEBPS/0 c.xhtml'")
    assert told[1].startswith(", chapter 2: damaged chapter ")
    assert told[2] == ", chapter 5: not text; skipped"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_books_do_not_use(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.epub", "w", method) as archive:
        archive.writestr("a.html", "<p>text")
    found, told = problems(tmp_path / "x.epub")
    assert found == []
    assert "compressed in a way that EPUB does not know" in told[-1]


@pytest.mark.parametrize("size", [0.2, 0.9, 1 - 1e-9])
def test_broken_off(tmp_path: Path, size: float) -> None:
    path = epub(tmp_path / "x.epub", CHAPTERS)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * size)])
    found, told = problems(path)
    assert found == []
    assert len(told) == 1
    assert told[0].startswith(": not an EPUB that can be read (")


def test_bombs(tmp_path: Path) -> None:
    path = epub(tmp_path / "x.epub", [f"<p>{n}" + " " * 8_000_000 for n in range(6)])
    found, told = problems(path)
    assert 1 <= len(found) < 6
    assert told == [": unpacks to more than max_ratio or max_decompressed_bytes; the rest was skipped"]
    assert len(texts(path, max_ratio=1e9)) == 6
    assert len(texts(path, max_ratio=1e9, max_decompressed_bytes=20_000_000)) == 2
    found, told = problems(path, max_record_bytes=1000)
    assert found == []
    assert told[0] == ", chapter 1: longer than max_record_bytes; skipped"


def test_a_bomb_inside_a_book_is_not_opened(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.html", " " * 50_000_000)
    path = epub(tmp_path / "x.epub", CHAPTERS)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("OEBPS/inner.epub", inner.getvalue())
    assert problems(path) == (CHAPTERS, [])


@pytest.mark.parametrize("change", ["directory", "zip64"])
def test_a_directory_that_would_fill_the_memory(tmp_path: Path, change: str) -> None:
    path = epub(tmp_path / "x.epub", CHAPTERS)
    data = bytearray(path.read_bytes())
    if change == "directory":
        struct.pack_into("<L", data, data.rfind(b"PK\5\6") + 12, DIRECTORY_BYTES + 1)
    else:
        data[data.rfind(b"PK\5\6") : data.rfind(b"PK\5\6")] = b"PK\6\7" + b"\0" * 16
    path.write_bytes(data)
    assert problems(path) == ([], [": not an EPUB that can be read (its directory is too large for a book); skipped"])


def test_lists_without_end(tmp_path: Path) -> None:
    """Nothing is quadratic in a list of beginnings."""
    path = tmp_path / "x.epub"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OEBPS/book.opf", "<item id='" * 400_000 + "<!--" * 100_000)
    assert problems(path)[0] == []
