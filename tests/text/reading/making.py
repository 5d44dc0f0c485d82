"""Files of every format, made with the reference writers of the standard library and pyarrow, or by hand."""

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from danlu.text.document import Document
from danlu.text.read import Reading, read
from danlu.text.report import Funnel

CONTAINER = (
    '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)


def documents(*inputs: object, tally: Funnel | None = None, **settings: object) -> list[Document]:
    """Everything that the inputs hold."""
    return list(read([str(i) for i in inputs], tally or Funnel(), Reading(**settings)))  # type: ignore[arg-type]


def texts(*inputs: object, tally: Funnel | None = None, **settings: object) -> list[str]:
    return [document.text for document in documents(*inputs, tally=tally, **settings)]


def jsonl(path: Path, *lines: object) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def zstd(data: bytes) -> bytes:
    """One frame."""
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


def record(kind: str, content_type: str, data: bytes, url: str = "http://a.example/", **more: str) -> bytes:
    """A WARC record."""
    named = {"WARC-Type": kind, "WARC-Target-URI": url, "WARC-Date": "2024-05-06T07:08:09Z"}
    named |= {"Content-Type": content_type, "Content-Length": str(len(data))}
    named |= {key.replace("_", "-"): value for key, value in more.items()}
    head = "".join(f"{key}: {value}\r\n" for key, value in named.items())
    return b"WARC/1.0\r\n" + head.encode() + b"\r\n" + data + b"\r\n\r\n"


def answer(body: bytes, content_type: str = "text/html", status: str = "200 OK", **more: str) -> bytes:
    """An HTTP response."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
    head += "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in more.items())
    return head.encode() + b"\r\n" + body


def response(body: bytes, content_type: str = "text/html", url: str = "http://a.example/", **more: str) -> bytes:
    """A WARC record of a page."""
    return record("response", "application/http; msgtype=response", answer(body, content_type, **more), url)


def epub(path: Path, chapters: Sequence[str], *, container: str = CONTAINER, prefix: str = "") -> Path:
    """A book. The list names the chapters in reverse, and the spine puts them in order."""
    items = "".join(
        f'<item id="c{n}" href="{n}%20c.xhtml" media-type="application/xhtml+xml"/>'
        for n in reversed(range(len(chapters)))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        f"<dc:title>Tea &amp; 茶</dc:title><dc:date>2020-01-02</dc:date></metadata><manifest>{items}"
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        f'<item id="p" href="p.png" media-type="image/png"/></manifest><spine><itemref idref="nav"/>{spine}</spine></package>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{prefix}mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        archive.writestr(f"{prefix}META-INF/container.xml", container)
        archive.writestr(f"{prefix}OEBPS/book.opf", package)
        archive.writestr(f"{prefix}OEBPS/nav.xhtml", "<html>contents</html>")
        for n, chapter in enumerate(chapters):
            archive.writestr(f"{prefix}OEBPS/{n} c.xhtml", chapter)
    return path


def one_of_each(folder: Path) -> dict[str, Path]:
    """A small sound file of each format, by its name."""
    rows = [
        {"text": f"Text number {n}. 第{n}个，“文本”。\nTwo lines.", "url": f"http://a.example/{n}"} for n in range(8)
    ]
    prose = "\n\n".join(row["text"] for row in rows)
    page = f"<html><head><meta charset=utf-8><title>T</title></head><body><p>{prose}</p></body></html>"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    table = io.StringIO()
    writer = csv.DictWriter(table, ["text", "url"])
    writer.writeheader()
    writer.writerows(rows)
    pages = b"".join(response(page.encode(), url=row["url"]) for row in rows[:3])
    made = {
        "a.txt": prose.encode(), "b.md": prose.encode("gb18030"), "c.html": page.encode("gb18030"), "d.xhtml": page.encode(),
        "e.jsonl": lines.encode(), "f.jsonl.gz": gzip.compress(lines.encode(), mtime=0), "g.jsonl.zst": zstd(lines.encode()),
        "h.json": json.dumps(rows).encode(), "i.csv": table.getvalue().encode(), "j.tsv.gz": gzip.compress(table.getvalue().replace(",", "\t").encode(), mtime=0),
        "k.warc": pages, "l.warc.gz": b"".join(gzip.compress(response(page.encode(), url=row["url"]), mtime=0) for row in rows[:3]),
        "m.txt.gz": gzip.compress(prose.encode("utf-16"), mtime=0), "n.html.zst": zstd(page.encode()),
    }  # fmt: skip
    for name, data in made.items():
        (folder / name).write_bytes(data)
    pq.write_table(pa.Table.from_pylist(rows), folder / "o.parquet", row_group_size=3)
    epub(folder / "p.epub", [page, page.replace("Text", "Chapter")])
    return {path.name: path for path in sorted(folder.iterdir())}
