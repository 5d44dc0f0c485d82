"""On which side of the training a conversation stands: learned from, held out, or kept for one test at the end.

The side is decided by a hash of the question that a conversation begins with, so it depends neither on the order of the
data nor on what is added later; and near-duplicate questions (`danlu.text.dedup.alike`) count as one, so that no side
is asked what another one was. Very many that are nearly the same are no copies but a form with a blank in it ("Is this
review positive? ..."), and those are told apart word for word: as one they would leave nothing to hold out.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from danlu.base.errors import UserError
from danlu.text.dedup.alike import alike

Side = Literal["train", "heldout", "test"]
SMALLEST = 2
FORM_SHARE, FORM_LEAST = 0.02, 5  # of the different questions, nearly the same ones above which they are a form
SHOWN = 80  # characters of a question in an error


def normalized(question: str) -> str:
    """A question without what makes no difference: case and white space."""
    return " ".join(question.casefold().split())


def grouped(questions: Sequence[str]) -> list[str]:
    """For each question the one that stands for all near-duplicates of it: the first in the order of the alphabet."""
    distinct = sorted(set(questions))
    leader = {question: distinct[number] for question, number in zip(distinct, _groups(distinct), strict=True)}
    return [leader[question] for question in questions]


def _groups(distinct: Sequence[str]) -> list[int]:
    """For each question the number of the first of its near-duplicates; of a form, its own."""
    first = alike(distinct).tolist()
    sizes, most = Counter(first), max(FORM_LEAST, int(FORM_SHARE * len(distinct)))
    return [leader if sizes[leader] <= most else number for number, leader in enumerate(first)]


def sides(keys: Sequence[str], held_out: float, test: float, seed: int) -> list[Side]:
    """The side of each record, by a hash of its key: about these shares, and at least one key of each that is wanted.

    A key with more records than the side should have in all stays in the training data: it would be that side.
    """
    counts = Counter(keys)
    ranks = {key: int.from_bytes(hashlib.sha256(f"{seed}\x1f{key}".encode()).digest()[:8], "big") for key in counts}
    out: dict[str, Side] = {}
    ends: tuple[tuple[Side, float, bool], ...] = (("heldout", held_out, False), ("test", test, True))
    for side, share, from_above in ends:
        most, limit = max(1.0, share * len(keys)), int(share * 2**64)
        found = [
            key
            for key, rank in ranks.items()
            if counts[key] <= most and (2**64 - 1 - rank if from_above else rank) < limit and key not in out
        ]
        free = [key for key in ranks if key not in out]
        if share > 0 and not found and len(free) >= SMALLEST:
            order = sorted(free, key=lambda key: ranks[key], reverse=from_above)
            found = [min(order, key=lambda key: max(counts[key] - most, 0.0))]
        out |= dict.fromkeys(found, side)
    if len(out) == len(ranks) and len(ranks) >= SMALLEST:  # something has to be left to learn from
        del out[max(out, key=lambda key: (out[key] == "heldout", ranks[key]))]
    return [out.get(key, "train") for key in keys]


def check_apart(training: Sequence[str], test: Sequence[str]) -> None:
    """Refuse test questions that the training data have too, word for word or nearly; all are `normalized`."""
    distinct = list(dict.fromkeys([*training, *test]))
    group = dict(zip(distinct, _groups(distinct), strict=True))
    known: dict[int, str] = {}
    for question in training:
        known.setdefault(group[question], question)
    leaking = [question for question in test if group[question] in known]
    if not leaking:
        return
    learned = set(training)
    copies = sum(question in learned for question in leaking)
    example = next((question for question in leaking if question not in learned), leaking[0])
    what = (
        f"{len(leaking)} of {len(test)} test conversations begin with a question of the training data, {copies} of "
        f"them word for word; such as '{example[:SHOWN]}', where training has '{known[group[example]][:SHOWN]}'"
    )
    remedy = "Take them out of either, or leave the choice to --test-share"
    raise UserError(what, where="recipe: test", remedy=remedy)
