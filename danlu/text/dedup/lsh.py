"""MinHash signatures cut into bands: documents that share a band are worth comparing.

Broder 1997: the least of a permuted set of shingles is the same for two documents with probability s, their Jaccard
similarity. Indyk and Motwani 1998: with ``bands`` groups of ``rows`` such values a pair meets in one at least with
probability 1 - (1 - s^rows)^bands.

A permutation here is the multiplication of 32-bit hashes by an odd number modulo 2^32: a bijection, and as the hashes
are random already, all that is asked of it is to bring another of them to the front. The sum that is usual after it
costs a third more and moves nothing that could be measured (``tests`` holds mean and spread to theory). One permutation
with densification (Li and König; Shrivastava 2017) was left out: see LOG.md.
"""

import numpy as np

from danlu.base.errors import UserError
from danlu.text.dedup.shingles import I64, U32, U64, factors, scramble

PIECE = 1 << 15  # shingles permuted at once: two arrays of 128 kB stay in a core's cache


def catch_probability(similarity: float, bands: int, rows: int) -> float:
    """How likely a pair of this Jaccard similarity is to be compared."""
    return float(1 - (1 - similarity**rows) ** bands)


def bands_and_rows(threshold: float, permutations: int, catch: float) -> tuple[int, int]:
    """The most rows, so the fewest needless comparisons, with which a pair at the threshold is caught often enough.

    What is compared is verified, so a missed pair is the only error there is, and ``catch`` bounds it.
    """
    for rows in range(permutations, 0, -1):
        if catch_probability(threshold, permutations // rows, rows) >= catch:
            return permutations // rows, rows
    best = catch_probability(threshold, permutations, 1)
    raise UserError(
        f"{permutations} permutations catch a pair of similarity {threshold:g} with probability {best:.3f} at most, "
        f"and {catch:g} is asked for",
        remedy="Raise permutations or threshold, or lower catch",
    )


def signatures(sets: U32, ends: I64, permutations: int) -> U32:
    """The least of each text's set under each permutation [D, P]; of an empty set, the largest number there is."""
    found = np.full((len(ends), permutations), 2**32 - 1, np.uint32)
    begin = np.concatenate([[0], ends[:-1]])
    full = np.flatnonzero(ends > begin)  # reduceat knows no empty run
    odd = (factors(permutations, salt=1) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    done = 0
    while done < len(full):
        start = int(begin[full[done]])
        stop = max(int(np.searchsorted(ends[full], start + PIECE, "right")), done + 1)
        rows = full[done:stop]
        piece, at = sets[start : ends[rows[-1]]], begin[rows] - start
        permuted, least = np.empty_like(piece), np.empty((permutations, len(rows)), np.uint32)
        for row, factor in enumerate(odd):
            np.multiply(piece, factor, out=permuted)
            np.minimum.reduceat(permuted, at, out=least[row])
        found[rows] = least.T
        done = stop
    return found


def band_keys(signs: U32, bands: int, rows: int) -> U64:
    """One hash a band [D, B], different for the same values in different bands; 0 for a text without shingles."""
    parts = signs[:, : bands * rows].reshape(len(signs), bands, rows)
    keys = np.broadcast_to(factors(bands, salt=2), (len(signs), bands)).copy()
    for row, factor in enumerate(factors(rows, salt=3)):
        keys += parts[:, :, row] * factor
    keys = scramble(keys)
    keys[(signs == 2**32 - 1).all(1)] = 0
    return keys
