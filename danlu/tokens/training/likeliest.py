"""The pieces under which given words are likeliest (Kudo 2018, arXiv:1804.10959), by arrays.

The steps are those of the trainer of `tokenizers` (after SentencePiece's), and so is what comes out: seeds are the
substrings that go on in at least two ways; two rounds of expectation and maximisation; then a quarter of the pieces is
thrown away, those that the words would miss least; and so on, until there are a tenth more than wanted. The library
builds a lattice of nodes for each word in each round. Here the lattices of all words are three arrays of edges, sorted
once; a pass goes through the characters of a word, all words abreast. Left out is what the library computes and does
not use, a best cut of every word in every round.

Legend: N characters of all words in a row, W words, V pieces, E edges. A node is a place before, between or after the
characters of a word; N + W of them. The unknown piece, for a character whose own was dropped, has the number V.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
# All as in the library. Characters of a piece; pieces to begin with
LONGEST, MOST_SEEDS = 16, 1_000_000
ROUNDS, SHRINK = 2, 0.75
LEAST = 0.5  # occurrences to be expected, below which a piece is dropped
UNKNOWN = 10.0  # so much unlikelier than the unlikeliest piece
CODE_BITS = 21  # of a character


class Edges(NamedTuple):
    """Pieces at places: [E] each, in an order in which no edge waits for one of its own level."""

    begin: Ints
    end: Ints
    piece: Ints
    level: Ints

    def where(self, wanted: NDArray[np.bool_]) -> "Edges":
        """Some of them."""
        return Edges(*(part[wanted] for part in self))

    def groups(self, node: Ints) -> Iterator[tuple[int, int, Ints, Ints]]:
        """Of each level its first and last edge, where in it runs of the same ``node`` begin, and their lengths."""
        cuts = np.flatnonzero(np.concatenate((self.level[:1] == self.level[:1], self.level[1:] != self.level[:-1])))
        heads = np.flatnonzero(np.concatenate((node[:1] == node[:1], node[1:] != node[:-1])))
        lengths = np.diff(np.append(heads, len(node)))
        first = np.append(np.searchsorted(heads, cuts), len(heads))
        ends = np.append(cuts, len(node))
        for i, a in enumerate(cuts):
            runs = slice(first[i], first[i + 1])
            yield int(a), int(ends[i + 1]), heads[runs] - a, lengths[runs]


class Lattice:
    """All ways to cut words into pieces."""

    def __init__(self, lengths: Ints, place: Ints, piece: Ints, length: Ints) -> None:
        """``lengths`` [W] of the words; an edge begins at ``place`` [E] of their characters and is ``length`` long."""
        first = np.cumsum(lengths) - lengths
        self.word = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths + 1)  # [N + W]
        self.begins = (first + np.arange(len(lengths))).astype(np.int32)  # [W] nodes
        self.ends = (self.begins + lengths).astype(np.int32)
        begin = (place + np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[place]).astype(np.int32)
        end = (begin + length).astype(np.int32)
        depth = end - self.begins[self.word[begin]]
        order = np.lexsort((begin, end, depth))  # of two that end together the longer first, as in the library
        self.edges = Edges(begin[order], end[order], piece[order].astype(np.int32), depth[order])

    def from_the_end(self) -> Edges:
        """The edges in the order of their beginnings, the last first."""
        depth = self.edges.begin - self.begins[self.word[self.edges.begin]]
        order = np.lexsort((self.edges.begin, -depth))
        begin, end, piece, _ = self.edges
        return Edges(begin[order], end[order], piece[order], -depth[order])

    def best(self, scores: Floats, edges: Edges) -> tuple[Floats, Ints]:
        """The score of the best cut of each word [W], and the edge by which each node is reached best, or -1."""
        found, back = np.full(len(self.word), -np.inf), np.full(len(self.word), -1)
        found[self.begins] = 0.0
        for a, b, heads, lengths in edges.groups(edges.end):
            values = found[edges.begin[a:b]] + scores[edges.piece[a:b]]
            most = np.maximum.reduceat(values, heads)
            first = np.where(values == np.repeat(most, lengths), np.arange(a, b), b)
            nodes = edges.end[a:b][heads]
            found[nodes], back[nodes] = most, np.minimum.reduceat(first, heads)
        return found[self.ends], back

    def cuts(self, edges: Edges, back: Ints) -> Iterator[tuple[Ints, Ints]]:
        """The best cuts from the end, one piece of every word at a time: the words that still have one, and it."""
        nodes: Ints = self.ends
        while True:
            nodes = nodes[back[nodes] >= 0]
            if not len(nodes):
                return
            chosen = back[nodes]
            yield self.word[nodes], edges.piece[chosen]
            nodes = edges.begin[chosen]


class Model(NamedTuple):
    """The pieces [V]: what they are, which are single characters, and their log-probabilities."""

    names: list[str]
    single: NDArray[np.bool_]
    scores: Floats

    @property
    def table(self) -> Floats:
        """The scores and the unknown piece's, [V + 1]."""
        return np.append(self.scores, self.scores.min() - UNKNOWN)


class State:
    """The model, the lattices of the words, and those of the pieces themselves: what else each could be cut into."""

    def __init__(self, model: Model, words: Lattice, own: Lattice) -> None:
        self.model, self.words, self.own = model, words, own
        self.back = words.from_the_end()
        self.whole = np.arange(len(model.names))  # [pieces at the beginning] their numbers, or -1

    def keep(self, kept: Ints, scores: Floats) -> None:
        """Go on with the pieces ``kept``, in that order."""
        names, single, _ = self.model
        number = np.full(len(names) + 1, -1, np.int32)
        number[kept], number[-1] = np.arange(len(kept)), len(kept)
        number[:-1][single & (number[:-1] < 0)] = len(kept)  # a character without a piece is unknown

        def renumbered(edges: Edges) -> Edges:
            edges = edges._replace(piece=number[edges.piece])
            return edges.where(edges.piece >= 0)

        self.words.edges, self.back = renumbered(self.words.edges), renumbered(self.back)
        gone = np.setdiff1d(np.arange(len(names)), kept)
        self.whole[np.isin(self.whole, gone)] = -1
        self.whole[self.whole >= 0] = number[self.whole[self.whole >= 0]]
        own = renumbered(self.own.edges)
        self.own.edges = own.where(self.whole[self.own.word[own.begin]] >= 0)
        self.model = Model([names[i] for i in kept], single[kept], scores)

    def expected(self, counts: Floats) -> Floats:
        """How often each piece is to be expected in the words, [V]."""
        words, edges, scores = self.words, self.words.edges, self.model.table
        before, behind = np.full(len(words.word), -np.inf), np.full(len(words.word), -np.inf)
        before[words.begins] = behind[words.ends] = 0.0
        _sums(before, edges, edges.begin, edges.end, scores)
        _sums(behind, self.back, self.back.end, self.back.begin, scores)
        word = words.word[edges.begin]
        share = np.exp(before[edges.begin] + scores[edges.piece] + behind[edges.end] - before[words.ends][word])
        return np.bincount(edges.piece, share * counts[word], len(scores))[:-1].astype(np.float64)

    def needed(self, counts: Floats, most: int) -> Ints:
        """At most so many pieces: those that stand for themselves alone, then by what the words would lose."""
        (_, single, scores), table = self.model, self.model.table
        used = np.zeros(len(table))
        for word, piece in self.words.cuts(self.words.edges, self.words.best(table, self.words.edges)[1]):
            used += np.bincount(piece, counts[word], len(table))
        edges = self.own.edges
        edges = edges.where(edges.piece != self.whole[self.own.word[edges.begin]])
        others, back = self.own.best(table, edges)
        here = np.flatnonzero(self.whole >= 0)
        other = np.empty(len(scores))
        other[self.whole[here]] = others[here]
        chosen = ~single & (scores >= other) & (used[:-1] > 0)
        total, log = used.sum(), np.log(np.maximum(used, LEAST))  # counts are whole numbers: none is between 0 and 1
        # What the words would weigh if each piece were replaced. The library takes the number of all pieces here, where
        # SentencePiece takes that of those it would be replaced with.
        grown, replaced = np.log(total + used[:-1] * (len(scores))), np.zeros(len(scores))
        for word, piece in self.own.cuts(edges, back):
            owner, both = self.whole[word], used[piece] + used[self.whole[word]]
            replaced += np.bincount(owner, np.log(np.maximum(both, LEAST)) - grown[owner], len(scores))
        loss = used[:-1] / counts.sum() * (log[:-1] - np.log(total) - replaced)
        candidates = np.flatnonzero(chosen)
        ranked = candidates[np.argsort(-loss[candidates], kind="stable")]
        stay = np.flatnonzero(single)
        return np.concatenate((stay, ranked[: max(most - len(stay), 0)]))


def _sums(values: Floats, edges: Edges, source: Ints, target: Ints, scores: Floats) -> None:
    """values[target] = log Σ exp(values[source] + score), level by level."""
    for a, b, heads, lengths in edges.groups(target):
        each = values[source[a:b]] + scores[edges.piece[a:b]]
        most = np.maximum.reduceat(each, heads)
        total = np.add.reduceat(np.exp(each - np.repeat(most, lengths)), heads)
        values[target[a:b][heads]] = most + np.log(total)


def digamma(x: Floats) -> Floats:
    """The derivative of log Γ: its asymptotic series, from 7 on."""
    x, sums = x.copy(), np.zeros_like(x)
    while (small := x < 7).any():
        sums[small] -= 1 / x[small]
        x[small] += 1
    y = 1 / (x - 0.5) ** 2
    return sums + np.log(x - 0.5) + y / 24 - 7 * y**2 / 960 + 31 * y**3 / 8064 - 127 * y**4 / 30720


def learn(words: Sequence[str], counts: Sequence[int], size: int) -> list[tuple[str, float]]:
    """At most ``size`` pieces with their log-probabilities; characters that were dropped have the lowest."""
    times = np.array(counts, np.float64)
    state = _seeds(words, np.array(counts, np.int64))
    characters = [name for name, single in zip(state.model.names, state.model.single) if single]
    wanted = size * 11 // 10 - 1  # less the unknown piece, which the library counts
    while True:
        for _ in range(ROUNDS):
            expected = state.expected(times)
            kept: Ints = np.flatnonzero(expected >= LEAST)
            state.keep(kept, digamma(expected[kept]) - digamma(expected[kept].sum(keepdims=True)))
        have = len(state.model.names)
        if have <= wanted:
            break
        kept = state.needed(times, max(wanted, int((have + 1) * SHRINK) - 1))
        if len(kept) == have:
            break
        state.keep(kept, state.model.scores[kept])
    least = float(state.model.scores.min())
    known = dict(zip(state.model.names, state.model.scores.tolist(), strict=True))
    found = {character: known.get(character, least) for character in characters}
    for name, score in known.items():
        if len(found) >= size:
            break
        found.setdefault(name, score)
    return list(found.items())


class _Places(NamedTuple):
    """Where the substrings of one length stand, and which of them it is: [places] each."""

    length: int
    place: Ints
    which: Ints


def _seeds(words: Sequence[str], counts: Ints) -> State:
    """The characters, then the substrings that go on in at least two ways, the most characters covered first."""
    text, lengths = "".join(words), np.array([len(word) for word in words])
    flat = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64)
    codes, kind = np.unique(flat, return_inverse=True)
    weighed = np.bincount(kind, np.repeat(counts, lengths))
    seeds = sorted(((int(w), chr(c), 1, i) for i, (c, w) in enumerate(zip(codes, weighed))), reverse=True)
    parts, found = (
        [_Places(1, np.arange(len(flat), dtype=np.int32), kind.astype(np.int32))],
        list[tuple[int, str, int, int]](),
    )
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(flat))  # characters to the end of the word
    while parts[-1].length < LONGEST:
        part, repeated = _longer(parts[-1], flat, left)
        if not len(part.place):
            break
        parts.append(part)
        length = part.length
        found += [(times * length, text[at : at + length], length, i) for i, at, times in repeated]
    seeds = [*seeds, *sorted(found, reverse=True)][:MOST_SEEDS]
    tables = [np.full(int(part.which.max()) + 1, -1, np.int32) for part in parts]
    for number, (_, _, length, i) in enumerate(seeds):
        tables[length - 1][i] = number
    piece = np.concatenate([table[part.which] for table, part in zip(tables, parts)])
    place = np.concatenate([part.place for part in parts])[piece >= 0]
    piece, sizes = piece[piece >= 0], np.array([length for _, _, length, _ in seeds], np.int32)
    scores = np.array([score for score, *_ in seeds], np.float64)
    model = Model([name for _, name, _, _ in seeds], sizes == 1, np.log(scores) - np.log(scores.sum()))
    return State(model, Lattice(lengths, place, piece, sizes[piece]), _own(place, piece, sizes, len(flat)))


def _longer(part: _Places, flat: Ints, left: Ints) -> tuple[_Places, Iterator[tuple[int, int, int]]]:
    """The substrings one character longer, and of those that go on in two ways: which, a place, how often.

    Only where the shorter one stands in two places can the longer one, so there is less of each length.
    """
    length, chosen = part.length + 1, np.bincount(part.which)[part.which] > 1
    chosen &= left[part.place] >= length
    place, pair = (
        part.place[chosen],
        part.which[chosen].astype(np.int64) << CODE_BITS | flat[part.place[chosen] + length - 1],
    )
    order = np.argsort(pair, kind="stable")
    heads = np.flatnonzero(np.concatenate((pair[:1] == pair[:1], pair[order][1:] != pair[order][:-1])))
    times = np.diff(np.append(heads, len(pair)))
    which = np.empty(len(pair), np.int32)
    which[order] = np.repeat(np.arange(len(heads)), times)
    if not len(place):
        return _Places(length, place, which), iter(())
    after = np.where(left[place] > length, np.append(flat, 0)[np.minimum(place + length, len(flat))], 0)[order]
    two = np.flatnonzero(np.minimum.reduceat(after, heads) != np.maximum.reduceat(after, heads))
    return _Places(length, place, which), zip(two.tolist(), place[order][heads[two]].tolist(), times[two].tolist())


def _own(place: Ints, piece: Ints, sizes: Ints, characters: int) -> Lattice:
    """The lattice of the pieces themselves, read off at one of the places where each stands."""
    order = np.argsort(place, kind="stable")
    place, piece = place[order], piece[order]
    begins, example = np.searchsorted(place, np.arange(characters + 1)), np.zeros(len(sizes), np.int32)
    example[piece] = place
    owner = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    within = (np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)).astype(np.int32)
    at = example[owner] + within
    number = begins[at + 1] - begins[at]
    source = np.repeat(np.arange(len(at), dtype=np.int32), number)
    edge = np.repeat(begins[at] - np.cumsum(number) + number, number) + np.arange(len(source))
    fits = sizes[piece[edge]] <= (sizes[owner] - within)[source]
    source, edge = source[fits], edge[fits]
    return Lattice(sizes, source, piece[edge], sizes[piece[edge]])
