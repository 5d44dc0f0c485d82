"""Entities in tagged sentences, counted as seqeval counts them (its default mode, that of the CoNLL 2000 script).

An entity is found if its type, beginning and end are all right.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.evaluate.labels import f1
from danlu.evaluate.stats import bootstrap
from danlu.objectives.tag import entities


def entity_measures(wanted: Sequence[Sequence[str]], guessed: Sequence[Sequence[str]], seed: int = 0) -> dict[str, Any]:
    """Precision, recall and F1 of entities, over all and by type; the interval resamples sentences."""
    pairs = [(set(entities(a)), set(entities(b))) for a, b in zip(wanted, guessed, strict=True)]
    triples = [(a & b, b, a) for a, b in pairs]  # right, found, there
    counts = np.asarray([[len(part) for part in triple] for triple in triples], np.float64).reshape(-1, 3)

    def micro(rows: Any) -> float:
        return float(f1(*counts[rows].sum(0)))

    def told(right: float, found: float, there: float) -> dict[str, Any]:
        shares = {"precision": right / max(found, 1), "recall": right / max(there, 1)}
        return {**shares, "f1": float(f1(*(np.asarray(n) for n in (right, found, there)))), "entities": int(there)}

    kinds = sorted({entity[0] for a, b in pairs for entity in a | b})
    each = {k: [float(sum(e[0] == k for t in triples for e in t[i])) for i in range(3)] for k in kinds}
    by_kind = {kind: told(*parts) for kind, parts in each.items()}
    interval = list(bootstrap(len(counts), micro, seed))
    return {**told(*(float(n) for n in counts.sum(0))), "f1_interval": interval, "types": by_kind}
