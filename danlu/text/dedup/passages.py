"""Passages that stand word for word in an earlier place, found through files.

A window of ``length`` characters is a repeat if an equal one stands earlier without overlapping it.

1. Of every window one anchor is kept (`rolling`); a window whose anchor occurs once is no repeat.
2. Neighbouring windows with the same anchor make a run, and runs are compared whole, by one hash of all their
   characters: the inside of a copied page goes by here.
3. The runs that stand nowhere earlier, at the borders of copied passages as a rule, are compared window by window.

The first place of a window is in a run that stands nowhere earlier, so nothing is lost on the way, and the result is
that of comparing every window with every other; a test holds it to that. Windows are told apart by 128 bits.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.text.dedup.columns import BATCH, Shelf
from danlu.text.dedup.rolling import SECOND, Piece, pieces, runs, whole
from danlu.text.dedup.shingles import I64, codes
from danlu.text.dedup.spill import ByDocument, Spill, repeated, spans, split, starts

Records = NDArray[Any]
ANCHOR = np.dtype([("key", "<u8"), ("doc", "<u4"), ("at", "<u4")])
PLACE = np.dtype(
    [("key", "<u8"), ("doc", "<u4"), ("at", "<u4"), ("count", "<u4")]
)  # windows: where the first begins, how many
RUN = np.dtype([*PLACE.descr, ("second", "<u8")])
SAME = ("key", "second", "count")  # what equal runs have in common
CUT = np.dtype([("row", "<u4"), ("at", "<u4"), ("count", "<u4")])  # the same, of a task's own document


def anchors(texts: Sequence[str], length: int) -> tuple[Records, I64]:
    """Hash and place of every anchor, text after text, and how many there are up to each text's end [D]."""
    points, ends = codes(texts)
    valid, found, last = whole(ends, length), [np.empty(0, ANCHOR)], -1
    for piece in pieces(points, length):
        at = np.unique(piece.anchors()[valid[piece.slice]])
        at = at[at + piece.start > last]  # the piece before may have kept it, too
        records = _located(at, piece, ends, np.arange(len(texts)), ANCHOR)
        records["key"] = piece.hashes(at, at + length // 2)
        last = int(at[-1]) + piece.start if len(at) else last
        found.append(records)
    together = np.concatenate(found)
    return together, np.searchsorted(together["doc"], np.arange(1, len(texts) + 1)).astype(np.int64)


def repeats(shelf: Shelf, work: Path, length: int) -> Iterator[Records]:
    """The repeated windows of all documents, by document, as lots of `CUT` with a document's number for its row.

    The shelf has the columns ``anchors`` and ``texts``.
    """
    shared = _shared(shelf, work)
    every = Spill(work / "runs", RUN, shared.size)
    for run in _runs(shelf, shared.lots(), length):
        every.add(run)
    shared.remove()
    new = ByDocument(work / "new", PLACE, shelf.size, every.size)
    stretches = ByDocument(work / "stretches", PLACE, shelf.size, every.size)
    _sort_out(every, length, new, stretches)
    every.remove()
    single = Spill(work / "windows", RUN, new.size * length // 4)
    for window in _windows(shelf, new.lots(), length):
        single.add(window)
    new.remove()
    _sort_out(single, length, None, stretches)
    single.remove()
    for lot in stretches.lots():
        yield _merged(np.rec.fromarrays([lot["doc"], lot["at"], lot["count"]], dtype=CUT))


def _located(at: I64, piece: Piece, ends: I64, numbers: NDArray[Any], dtype: Any) -> Records:
    """Records with the document and the place in it of each ``at`` in the piece."""
    text = np.searchsorted(ends, at + piece.start)
    records = np.zeros(len(at), dtype)
    records["doc"] = numbers[text]
    records["at"] = at + piece.start - np.append(0, ends + 1)[text]
    return records


def _shared(shelf: Shelf, work: Path) -> ByDocument:
    """The anchors that occur more than once."""
    total = sum(len(records) for _, records, _ in shelf.ragged_blocks("anchors", ANCHOR))
    spill = Spill(work / "anchors", ANCHOR, total)
    for first, records, ends in shelf.ragged_blocks("anchors", ANCHOR):
        records["doc"] = np.repeat(np.arange(first, first + len(ends)), np.diff(ends, prepend=0))
        spill.add(records)
    shared = ByDocument(work / "shared", ANCHOR, shelf.size, total // 4)
    for bucket in spill.buckets():
        shared.add(repeated(bucket))
    spill.remove()
    return shared


def _opened(shelf: Shelf, lots: Iterable[Records]) -> Iterator[tuple[NDArray[Any], list[str], Records]]:
    """The documents that the lots speak of, a batch at a time: their numbers and texts, and the records."""
    for lot in lots:
        edges = np.append(starts(lot["doc"]), len(lot)).tolist()
        texts, size, begin = list[str](), 0, 0
        for which, edge in enumerate(edges[:-1]):
            raw = shelf.row("texts", np.uint8, int(lot["doc"][edge])).tobytes()
            texts.append(raw.decode("utf-8", "surrogatepass"))
            size += len(texts[-1])
            if size >= BATCH or which + 2 == len(edges):
                records = lot[edges[begin] : edges[which + 1]]
                yield np.unique(records["doc"]), texts, records
                texts, size, begin = [], 0, which + 1


def _absolute(numbers: NDArray[Any], ends: I64, records: Records) -> I64:
    """Where the records' places lie among the characters of a batch."""
    begins = np.append(0, ends + 1)[np.searchsorted(numbers, records["doc"])]
    return np.asarray(begins + records["at"])


def _hashed(piece: Piece, first: I64, last: I64, ends: I64, numbers: NDArray[Any]) -> Records:
    """The runs of windows ``first`` to ``last`` of a piece, with the hashes of all their characters."""
    records = _located(first, piece, ends, numbers, RUN)
    records["count"] = last + 1 - first
    records["key"] = piece.hashes(first, last + piece.length)
    records["second"] = piece.hashes(first, last + piece.length, SECOND)
    return records


def _runs(shelf: Shelf, lots: Iterable[Records], length: int) -> Iterator[Records]:
    """The runs of windows with the anchors in ``lots``."""
    for numbers, texts, records in _opened(shelf, lots):
        points, ends = codes(texts)
        valid, shared = whole(ends, length), np.zeros(len(points), bool)
        shared[_absolute(numbers, ends, records)] = True
        for piece in pieces(points, length):
            anchor = piece.anchors()
            first, last = runs(valid[piece.slice] & shared[anchor + piece.start], anchor)
            yield _hashed(piece, first, last, ends, numbers)


def _windows(shelf: Shelf, lots: Iterable[Records], length: int) -> Iterator[Records]:
    """The windows of the runs in ``lots``, each by itself."""
    for numbers, texts, records in _opened(shelf, lots):
        points, ends = codes(texts)
        wanted = np.zeros(len(points), bool)
        wanted[spans(_absolute(numbers, ends, records), records["count"].astype(np.int64))] = True
        for piece in pieces(points, length):
            at = np.flatnonzero(wanted[piece.slice])
            yield _hashed(piece, at, at, ends, numbers)


def _sort_out(spill: Spill, length: int, new: ByDocument | None, old: ByDocument) -> None:
    """Put the runs that stand nowhere earlier into ``new``, and those that do into ``old``."""
    for bucket in spill.buckets():
        alone, rows = split(bucket)
        rows = rows[np.lexsort((np.arange(len(rows)), *(rows[field] for field in reversed(SAME))))]
        begins = np.ones(len(rows), bool)
        begins[1:] = np.any([rows[field][1:] != rows[field][:-1] for field in SAME], axis=0)
        begin = np.flatnonzero(begins)
        first = rows[np.repeat(begin, np.diff(np.append(begin, len(rows))))]
        again = (rows["doc"] != first["doc"]) | (rows["at"] >= first["at"] + np.uint32(length))
        old.add(rows[again])
        if new is not None:
            new.add(alone)
            new.add(rows[~again])


def _merged(cuts: Records) -> Records:
    """Windows → those that begin one place after another together, by row and place.

    Two passages that only touch, or overlap by less than a window, stay two: their seam stands nowhere else.
    """
    places = cuts["row"].astype(np.uint64) << np.uint64(32) | cuts["at"]
    order = np.argsort(places)
    begin = places[order]
    reach = np.maximum.accumulate(begin + cuts["count"][order])  # where the next window would begin
    new = np.ones(len(cuts), bool)
    new[1:] = begin[1:] > reach[:-1]
    first = np.flatnonzero(new)
    found = np.empty(len(first), CUT)
    found["row"] = begin[first] >> np.uint64(32)
    found["at"] = begin[first]  # the lower 32 bits
    found["count"] = reach[np.append(first[1:], len(cuts)) - 1] - begin[first] if len(first) else 0
    return found
