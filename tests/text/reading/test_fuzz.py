"""Damage of every kind to files of every format: told, never raised."""

import json
import random
from pathlib import Path

from danlu.text.document import Document
from danlu.text.read import Part, Reading, read_part
from danlu.text.report import Funnel
from tests.text.reading.making import one_of_each

FILES = 1200


def damaged(draw: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """``data`` broken off, with bits flipped, spliced with another file, shortened inside, or with noise in it."""
    kind = draw.randrange(5)
    a, b = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
    if kind == 0:
        return data[:a]
    if kind == 1:
        flipped = bytearray(data)
        for _ in range(draw.choice((1, 2, 8, 40))):
            flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    if kind == 2:
        other = draw.choice(others)
        return data[:a] + other[draw.randrange(len(other)) :]
    if kind == 3:
        return data[:a] + data[b:]
    return data[:a] + draw.randbytes(draw.randrange(1, 300)) + data[a:]


def writable(document: Document) -> bool:
    """What a Parquet file and a JSON report can hold."""
    document.text.encode()
    document.id.encode()
    json.dumps(document.meta, ensure_ascii=False).encode()
    return document.source.isprintable() and "\0" not in document.text


def test_fuzzed_files(tmp_path: Path) -> None:
    draw = random.Random(20240506)
    sound = {name: path.read_bytes() for name, path in one_of_each(tmp_path).items()}
    formats, every = list(sound), list(sound.values())
    documents = told = 0
    for number in range(FILES):
        path = tmp_path / formats[number % len(formats)]
        data = damaged(draw, sound[path.name], every)
        path.write_bytes(data)
        tally = Funnel()
        for document in read_part(Part("fuzz", str(path), len(data)), Reading(max_record_bytes=1 << 20), tally):
            assert writable(document), path.name
            documents += 1
        "\n".join(tally.problems).encode()
        told += bool(tally.problems)
        assert not any("by a fault of Danlu" in problem for problem in tally.problems), tally.problems
    assert documents > FILES  # most files lose little
    assert told > FILES // 2  # a flip inside a word is no damage that anybody could see
