"""A label for each word, at its first piece; and the best sequence of labels that makes sense.

Cross-entropy over the pieces that carry a tag, as the classes of transformers for tokens compute it: a word's other
pieces and special tokens are no targets (Devlin et al. 2019, section 5.3). Tags that mark entities by beginning and
inside (BIO: Ramshaw and Marcus 1995; BIOES) cannot follow one another in any order: an entity's inside needs its
beginning. Decoding finds, of the sequences that keep to it, the most probable (Viterbi 1967) with the model's own
probabilities and no others, so nothing has to be trained for it. Left out: a learned CRF, whose class transformers
does not have.

Chunks of tags are entities as seqeval's default mode (that of the CoNLL 2000 script) sees them: an inside without a
beginning begins one.

Legend: B rows, T tokens, D width, L labels, N words.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from danlu.model.task_heads import head_of
from danlu.model.transformer import Transformer
from danlu.objectives.objective import Metrics
from danlu.tokens.batches import Batch

TAGS = "tags"  # among a batch's extra tensors: [B, T], -1 where there is none
MARKS = "BIES"
OUTSIDE = "O"
Entity = tuple[str, int, int]  # type, first word, last word


class Tag:
    """Σ over tagged pieces of -log p(tag)."""

    def __init__(self, task: str, *, smoothing: float = 0.0) -> None:
        self.task, self.smoothing = task, smoothing

    def weights(self, batch: Batch) -> Tensor:
        """Tagged words of each row. [B]."""
        return (batch.extra[TAGS] >= 0).sum(1).float()

    def losses(self, model: Transformer, hidden: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
        """[B, T, D] -> [B]. Only pieces with a tag reach the head."""
        tags = batch.extra[TAGS]
        chosen = tags >= 0
        logits, wanted = head_of(model, self.task)(hidden[chosen]), tags[chosen]
        loss = nn.functional.cross_entropy(logits, wanted, label_smoothing=self.smoothing, reduction="none")
        rows = chosen.nonzero(as_tuple=True)[0]
        zero = torch.zeros(len(batch), device=hidden.device)
        right = (logits.argmax(-1) == wanted).float()
        return zero.index_add(0, rows, loss), {"accuracy": zero.index_add(0, rows, right)}


def marked(labels: Sequence[str]) -> bool:
    """Do these labels mark entities, by B-, I-, E- and S-?"""
    inner = [label for label in labels if label != OUTSIDE]
    return bool(inner) and all(label[:2] in [f"{mark}-" for mark in MARKS] for label in inner)


def may_follow(before: str | None, label: str | None) -> bool:
    """May ``label`` come after ``before``? None is the start or the end. An end is asked for only of labels with E-."""
    inside = label is not None and label[0] in "IE" and label != OUTSIDE
    open_ = before is not None and before != OUTSIDE and before[0] in "BI"
    if inside:
        assert label is not None
        return open_ and before is not None and before[2:] == label[2:]
    return True


def transitions(labels: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Which labels may follow which [L, L], begin [L] and end [L] a sentence; all of them where none mark entities."""
    count = len(labels)
    if not marked(labels):
        return torch.ones(count, count).bool(), torch.ones(count).bool(), torch.ones(count).bool()
    closes = any(label[0] in "ES" and label != OUTSIDE for label in labels)  # then B and I must go on to an end

    def allowed(before: str | None, label: str | None) -> bool:
        unfinished = closes and before is not None and before != OUTSIDE and before[0] in "BI"
        goes_on = label is not None and label != OUTSIDE and label[0] in "IE"
        return may_follow(before, label) and (goes_on or not unfinished)

    between = torch.tensor([[allowed(a, b) for b in labels] for a in labels])
    return between, torch.tensor([allowed(None, b) for b in labels]), torch.tensor([allowed(a, None) for a in labels])


def best_tags(scores: Tensor, labels: Sequence[str]) -> list[int]:
    """The most probable sequence of labels in which each may follow the one before. scores: [N, L], log p -> N."""
    between, start, end = (torch.where(ok, 0.0, float("-inf")) for ok in transitions(labels))
    best, back = scores[0] + start, list[Tensor]()
    for row in scores[1:]:
        value, previous = (best[:, None] + between).max(0)
        best = value + row
        back.append(previous)
    last = best + end
    path = [int((last if bool(last.isfinite().any()) else best).argmax())]
    for previous in reversed(back):
        path.append(int(previous[path[-1]]))
    return path[::-1]


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence tagged with BIO, BIOES or IO."""
    found: list[Entity] = []
    begin, mark, kind = 0, "O", ""
    for i, tag in enumerate([*tags, "O"]):
        now, _, name = tag.partition("-")
        ends = mark in "ES" or now in "BSO" or name != kind
        if mark != "O" and ends:
            found.append((kind, begin, i - 1))
        if now != "O" and (now in "BS" or mark in "OES" or name != kind):
            begin = i
        mark, kind = now, name
    return found
