"""WARC against warcio's writer, and records that are malformed in every way."""

import gzip
import io
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from danlu.text.document import Document
from danlu.text.reading.http import media, unchunked
from danlu.text.report import Funnel
from tests.text.reading.making import answer, documents, record, response

PAGE = b"<html><body>A page of 8 words is long enough.</body></html>"
DATE = "2024-05-06T07:08:09Z"


def read(path: Path, data: bytes, **settings: object) -> tuple[list[Document], list[str]]:
    path.write_bytes(data)
    tally = Funnel()
    return documents(path, tally=tally, **settings), [p.removeprefix(f"{path}, ") for p in tally.problems]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.warc"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # warcio leaves its spool files open
@pytest.mark.parametrize("packed", [False, True])
def test_what_warcio_writes(tmp_path: Path, packed: bool) -> None:
    writer = pytest.importorskip("warcio.warcwriter", reason="warcio, the reference writer, is not installed")
    headers = pytest.importorskip("warcio.statusandheaders").StatusAndHeaders
    out = io.BytesIO()
    warc = writer.WARCWriter(out, gzip=packed)
    warc.write_record(warc.create_warcinfo_record("x.warc", {"software": "a test"}))
    for n in range(3):
        url, body = f"http://a.example/{n}", PAGE * (n + 1)
        request = headers("GET / HTTP/1.1", [("Host", "a.example")], is_http_request=True)
        warc.write_record(warc.create_warc_record(url, "request", http_headers=request))
        named = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
        answered = headers("200 OK", named, protocol="HTTP/1.1")
        warc.write_record(warc.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=answered))
        warc.write_record(warc.create_warc_record(url, "metadata", payload=io.BytesIO(b"a: b")))
    found, problems = read(tmp_path / ("x.warc.gz" if packed else "x.warc"), out.getvalue())
    assert [d.text for d in found] == [PAGE.decode() * (n + 1) for n in range(3)]
    assert [d.meta["url"] for d in found] == [f"http://a.example/{n}" for n in range(3)]
    assert [d.id for d in found] == [f"{d.source}:{n}" for d, n in zip(found, (3, 6, 9), strict=True)]
    assert all(d.meta["format"] == "html" and d.meta["date"].endswith("Z") for d in found)
    assert problems == []


def test_records_that_are_documents(path: Path) -> None:
    data = b"".join(
        [
            record("warcinfo", "application/warc-fields", b"software: x"),
            response(PAGE, "text/html"),
            response(PAGE, "application/xhtml+xml; charset=utf-8"),
            response("żółw".encode("cp1250"), "text/html; charset=windows-1250"),
            response(b"plain words", "text/plain"),
            response(b"\x89PNG", "image/png"),
            response(PAGE, "text/html", status="404 Not Found"),
            response(b"", "text/html"),
            response(b"  <!DOCTYPE HTML><p>no type", "application/octet-stream"),
            record(
                "response", "application/http", answer(PAGE, "text/plain"), WARC_Identified_Payload_Type="text/html"
            ),
            record("resource", "text/html", PAGE, "<http://b.example/>"),
            record("conversion", "text/plain", b"the words of a page"),
            record("revisit", "application/http", answer(b"")),
        ]
    )
    found, problems = read(path, data)
    assert problems == []
    page, meta = PAGE.decode(), {"format": "html", "url": "http://a.example/", "date": DATE}
    plain = {"url": "http://a.example/", "date": DATE}
    assert [(d.id.rpartition(":")[2], d.text, d.meta) for d in found] == [
        ("2", page, meta),
        ("3", page, meta),
        ("4", "żółw", meta | {"encoding": "cp1250"}),
        ("5", "plain words", plain),
        ("9", "  <!DOCTYPE HTML><p>no type", meta),
        ("10", page, meta),
        ("11", page, meta | {"url": "http://b.example/"}),
        ("12", "the words of a page", plain),
    ]
    wet = path.with_name("x.warc.wet.gz")
    assert len(read(wet, gzip.compress(data))[0]) == 8


def test_the_servers_date_stands_in(path: Path) -> None:
    data = response(PAGE, Date="Mon, 06 May 2024").replace(b"WARC-Date: 2024-05-06T07:08:09Z\r\n", b"")
    assert read(path, data)[0][0].meta["date"] == "Mon, 06 May 2024"


def chunked(data: bytes, size: int = 10) -> bytes:
    parts = [data[n : n + size] for n in range(0, len(data), size)]
    return b"".join(b"%x;ext=1\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_chunks() -> None:
    assert unchunked(chunked(PAGE)) == PAGE
    assert unchunked(PAGE) == PAGE  # the crawler has taken them out and left the header
    assert unchunked(chunked(PAGE)[:40]) == PAGE[:20]  # broken off
    assert unchunked(b"5\nhello\n0\n") == b"hello"


def brotli(data: bytes) -> bytes:
    packed: bytes = pa.Codec("brotli").compress(data, asbytes=True)
    return packed


def zstandard(data: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(PAGE)),
        ("x-gzip", gzip.compress(PAGE)),
        ("deflate", zlib.compress(PAGE)),
        ("deflate", zlib.compress(PAGE)[2:-4]),
        ("br", brotli(PAGE)),
        ("zstd", zstandard(PAGE)),
        ("gzip, br", brotli(gzip.compress(PAGE))),
        ("identity", PAGE),
        *((coding, PAGE) for coding in ("gzip", "deflate", "br", "zstd")),  # unpacked by the crawler
    ],
)
def test_content_codings(path: Path, coding: str, body: bytes) -> None:
    found, problems = read(
        path,
        response(body, Content_Encoding=coding)
        + response(chunked(body), Content_Encoding=coding, Transfer_Encoding="chunked"),
    )
    assert [d.text for d in found] == [PAGE.decode()] * 2
    assert problems == []


def test_bodies_that_cannot_be_unpacked(path: Path) -> None:
    bad = gzip.compress(PAGE)[:10] + b"\xff" * 9
    bomb = gzip.compress(b" " * 3_000_000)
    data = b"".join(
        response(body, Content_Encoding=coding)
        for body, coding in ((bad, "gzip"), (b"\xff\xff\xff", "br"), (bomb, "gzip"), (brotli(b" " * 3_000_000), "br"))
    )
    found, problems = read(
        path, data + record("response", "application/http", b"no answer") + response(PAGE), max_record_bytes=1_000_000
    )
    assert [d.text for d in found] == [PAGE.decode()]
    assert problems[:2] == [
        "record 1: damaged or too large once unpacked (gzip); skipped",
        "record 2: damaged or too large once unpacked (br); skipped",
    ]
    assert problems[-1] == "record 5: malformed HTTP response; skipped"
    assert len(problems) == 5
    cut_off = gzip.compress(PAGE * 1000)[:-30]  # what a crawler's size limit leaves
    assert read(path, response(cut_off, Content_Encoding="gzip"))[0][0].text.startswith(PAGE.decode())


def lengthened(data: bytes, length: str) -> bytes:
    head, _, rest = data.partition(b"Content-Length: ")
    return head + b"Content-Length: " + length.encode() + b"\r\n" + rest.partition(b"\r\n")[2]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b"garbage\r\n\r\nmore garbage\r\n", "no header"),
        (b"\r\n\r\n\0\0\0\xff\r\n", "no header"),
        (lengthened(response(PAGE), "10"), "does not end with its Content-Length"),
        (lengthened(response(PAGE), "500"), "does not end with its Content-Length"),
        (lengthened(response(PAGE), "9999999"), "shorter than its Content-Length"),
        (lengthened(response(PAGE), "-5"), "Content-Length '-5'"),
        (lengthened(response(PAGE), ""), "Content-Length ''"),
        (lengthened(response(PAGE), "1" * 40), "Content-Length '11111111111111111111'"),
        (lengthened(response(PAGE), "٣"), "Content-Length '٣'"),
        (b"WARC/1.0\r\nContent-Type: x" + b"y" * 100_000 + b"\r\n", "its header does not end"),
        (response(PAGE)[:100] + b"\r\n", None),
    ],
)
def test_a_malformed_record_costs_itself(path: Path, bad: bytes, problem: str | None) -> None:
    found, problems = read(
        path,
        response(PAGE, url="http://a/1") + bad + response(PAGE, url="http://a/2") + response(PAGE, url="http://a/3"),
    )
    assert {d.meta["url"] for d in found} >= {"http://a/1", "http://a/3"}
    if problem is not None:
        assert "http://a/2" in {d.meta["url"] for d in found}
        assert problems == [f"record 2: malformed WARC record ({problem}); skipped"]


def test_a_record_that_is_too_long(path: Path) -> None:
    data = response(PAGE * 1000) + record("metadata", "text/plain", PAGE * 1000) + response(PAGE)
    found, problems = read(path, data, max_record_bytes=10_000)
    assert [d.text for d in found] == [PAGE.decode()]
    assert problems == ["record 1: longer than max_record_bytes; skipped"]


def test_a_file_of_false_headers_ends(path: Path) -> None:
    """Each claims what follows it; giving all of it back each time would take days."""
    false = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 900000\r\n\r\n" * 20_000
    assert read(path, false, max_record_bytes=1_000_000)[0] == []


def test_line_feeds_alone_and_folded_headers(path: Path) -> None:
    block = b"HTTP/1.0 200 OK\nContent-Type: text/html;\n\tcharset=windows-1250\n\n" + "żółw".encode("cp1250")
    head = b"WARC/0.18\nWARC-Type: response\nContent-Type: application/http;\n msgtype=response\nContent-Length: %d\n\n"
    assert [d.text for d in read(path, (head % len(block) + block + b"\n\n") * 2)[0]] == ["żółw"] * 2


@pytest.mark.parametrize("size", [1, 13, 64])
def test_the_blocks_do_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    data = (
        response(PAGE)
        + b"garbage"
        + response(PAGE * 3)
        + lengthened(response(PAGE), "7")
        + response(PAGE, url="http://z/")
    )
    whole = read(path, data)
    monkeypatch.setattr("danlu.text.reading.stream.BLOCK", size)
    assert read(path, data) == whole
    assert len(whole[0]) == 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [("text/html", ("text/html", "")), ("Text/HTML ; Charset='GBK'", ("text/html", "GBK")), ("text/html; x=y; charset=utf-8; z", ("text/html", "utf-8")), ("", ("", ""))],
)  # fmt: skip
def test_media_types(value: str, expected: tuple[str, str]) -> None:
    assert media(value) == expected
