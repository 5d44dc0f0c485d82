"""From scores to tags and answers: the best sequence that makes sense, entities as seqeval sees them, spans."""

import itertools

import pytest
import torch

from danlu.objectives.span import best_span, span_of
from danlu.objectives.tag import best_tags, entities, marked, may_follow, transitions

BIO = ("B-A", "B-B", "I-A", "I-B", "O")
BIOES = ("B-A", "E-A", "I-A", "O", "S-A")


def allowed(labels: tuple[str, ...], path: tuple[int, ...]) -> bool:
    between, start, end = transitions(labels)
    return bool(start[path[0]] and end[path[-1]] and all(between[a, b] for a, b in itertools.pairwise(path)))


@pytest.mark.parametrize("labels", [BIO, BIOES])
def test_the_best_sequence_is_that_of_brute_force(labels: tuple[str, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        scores = torch.log_softmax(3 * torch.randn((4, len(labels)), generator=draw), -1)
        paths = [p for p in itertools.product(range(len(labels)), repeat=4) if allowed(labels, p)]
        best = max(paths, key=lambda path: float(sum(scores[i, label] for i, label in enumerate(path))))
        assert best_tags(scores, labels) == list(best)


def test_what_may_follow_what() -> None:
    assert may_follow("B-A", "I-A")
    assert may_follow("I-A", "I-A")
    assert not may_follow("B-B", "I-A")
    assert not may_follow("O", "I-A")
    assert not may_follow(None, "I-A")
    assert allowed(BIOES, (0, 1))
    assert allowed(BIOES, (0, 2, 1))
    assert allowed(BIOES, (4, 3))
    assert not allowed(BIOES, (0, 3))
    assert not allowed(BIOES, (0,))
    assert not allowed(BIOES, (3, 1))
    assert allowed(("NN", "VB"), (0, 1, 1))
    assert not marked(("NN", "O"))
    assert marked(BIO)
    assert marked(("I-A", "O"))
    assert not marked(("O",))


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-A I-A O B-B", [("A", 1, 2), ("B", 4, 4)]),
        ("B-A B-A I-A", [("A", 0, 0), ("A", 1, 2)]),
        ("I-A I-A O I-B", [("A", 0, 1), ("B", 3, 3)]),  # an inside without a beginning begins one
        ("B-A I-B I-B", [("A", 0, 0), ("B", 1, 2)]),
        ("S-A B-A I-A E-A E-A", [("A", 0, 0), ("A", 1, 3), ("A", 4, 4)]),
        ("O O", []),
    ],
)
def test_entities_are_those_of_seqeval(tags: str, found: list[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == found


def test_the_best_answer_of_a_row() -> None:
    places = [(-1, -1), (-1, -1), (0, 4), (5, 7), (8, 12), (-1, -1)]
    logits = torch.tensor([[1.0, 0.5], [9, 9], [3, 0], [0, 2], [1, 5], [9, 9], [9, 9]])
    found = best_span(logits, places, longest=3)
    assert (found.begin, found.end, found.score, found.none) == (0, 12, 8.0, 1.5)
    assert best_span(logits, places, longest=2)[:3] == (5, 12, 5.0) or best_span(logits, places, longest=2).score == 6.0
    assert best_span(logits, places, longest=1)[:3] == (8, 12, 6.0)
    assert best_span(logits, [(-1, -1)] * 6, longest=3).score == float("-inf")


def test_places_of_an_answer() -> None:
    places = [(-1, -1), (0, 4), (4, 7), (8, 12), (-1, -1)]
    assert span_of(places, 0, 4) == [1, 1]
    assert span_of(places, 5, 12) == [2, 3]
    assert span_of(places, 10, 14) == [0, 0]  # goes on in the next window
    assert span_of(places, 20, 22) == [0, 0]
