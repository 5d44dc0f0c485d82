"""HTTP messages as WARC files keep them: the header taken apart, the body without its transfer encodings."""

import re
import zlib
from dataclasses import dataclass

import pyarrow as pa

Headers = dict[str, str]
PACKED = {"br": "brotli", "zstd": "zstd"}  # what pyarrow has a codec for
CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[^\r\n]{0,200}\r?\n")


@dataclass(frozen=True)
class Response:
    """A server's answer with status 200."""

    headers: Headers
    body: bytes


def headers(block: bytes) -> Headers:
    """Header lines by lower-case name; the first of a name counts, a folded line goes on with the one before."""
    found: Headers = {}
    text = re.sub(r"\r?\n[ \t]+", " ", block.decode("utf-8", "replace").replace("\0", ""))
    for line in re.split(r"\r?\n", text)[1:]:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
    return found


def media(value: str) -> tuple[str, str]:
    """``text/html; charset=gbk`` → ``text/html``, ``gbk``."""
    kind, _, rest = value.partition(";")
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]{2,40})", rest, re.IGNORECASE)
    return kind.strip().lower(), charset[1] if charset else ""


def response(data: bytes, limit: int) -> Response | str | None:
    """The answer in ``data``; None if its status is not 200, a few words if it cannot be read."""
    status = re.match(rb"HTTP/\d(?:\.\d)? +(\d{3})", data)
    end = re.search(rb"\r?\n\r?\n", data[: 1 << 20])
    if not status or not end:
        return "malformed HTTP response"
    if status[1] != b"200":
        return None
    named = headers(data[: end.start()])
    body = data[end.end() :]
    if "chunked" in named.get("transfer-encoding", "").lower():
        body = unchunked(body)
    for coding in reversed(re.split(r"[\s,]+", named.get("content-encoding", "").lower())):
        unpacked = unpack(body, coding, limit)
        if unpacked is None:
            return f"damaged or too large once unpacked ({coding[:20]})"
        body = unpacked
    return Response(named, body)


def unchunked(body: bytes) -> bytes:
    """The body without the sizes of its chunks; as it is if it has none (many crawlers take them out themselves)."""
    parts: list[bytes] = []
    at = 0
    while found := CHUNK.match(body, at):
        size = int(found[1], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[found.end() : found.end() + size])
        at = found.end() + size
        at += len(body[at : at + 2]) - len(body[at : at + 2].lstrip(b"\r\n"))
    return b"".join(parts) if parts else body


def unpack(body: bytes, coding: str, limit: int) -> bytes | None:
    """``body`` without a content coding, None if it is damaged or unpacks to too much.

    Crawlers that unpack often leave the header as it was, so what does not begin like the coding stays as it is.
    """
    if coding in ("gzip", "x-gzip") and body.startswith(b"\x1f\x8b"):
        return _inflated(body, 31, limit)
    if coding == "deflate" and not body.lstrip().startswith(b"<"):
        return _inflated(body, 15, limit) or _inflated(body, -15, limit)  # servers send it with and without a header
    if coding in PACKED and not body.lstrip().startswith(b"<"):
        try:
            unpacked: bytes = pa.CompressedInputStream(pa.BufferReader(body), PACKED[coding]).read(limit + 1)
        except (OSError, pa.ArrowException):
            return None
        return unpacked if len(unpacked) <= limit else None
    return body


def _inflated(body: bytes, wbits: int, limit: int) -> bytes | None:
    """A body that was cut off, as crawlers cut long ones, gives what there is of it."""
    try:
        unpacked = zlib.decompressobj(wbits).decompress(body, limit + 1)
    except zlib.error:
        return None
    return unpacked if len(unpacked) <= limit else None
