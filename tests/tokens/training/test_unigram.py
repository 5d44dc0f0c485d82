import json
import math
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.chat import check_template, render
from danlu.tokens.encoding.encode import Encoder
from danlu.tokens.samples import to_training_item
from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.training.alphabet import MARK
from danlu.tokens.training.unigram import BYTES, FIXED, UNKNOWN, train_unigram
from tests.tokens.conftest import CORPUS

from .test_train import ANY_TEXT
from .test_wordpiece import TURNS

ODD = st.lists(ANY_TEXT | st.sampled_from(["<0x41>", "<0x0A>", "<unk>", "▁", "\x00", "##a", "龘🜂", chr(MARK)])).map(
    "".join
)


@pytest.fixture(scope="module")
def learned() -> Tokenizer:
    return train_unigram(CORPUS, 460)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token(i) for i in tokenizer.encode(text)]


@settings(max_examples=150)
@given(text=ODD)
def test_any_text_round_trips_and_stays_text(learned: Tokenizer, text: str) -> None:
    ids = learned.encode(text)
    assert learned.decode(ids, skip_special=False) == learned.decode(ids) == text
    assert not set(ids) & set(learned.special_ids.values())
    assert learned.encode_batch([text, "x"])[0] == ids


def test_what_has_no_piece_is_spelled_in_bytes(learned: Tokenizer) -> None:
    assert pieces(learned, "🜂") == ["<0xF0>", "<0x9F>", "<0x9C>", "<0x82>"]
    assert [learned.token(i) for i in range(len(FIXED))] == list(FIXED)
    assert learned.unknown_id == FIXED.index(UNKNOWN)


@given(st.text("the doguser", min_size=1, max_size=9).filter(lambda t: t == t.strip() and " " not in t))
def test_a_word_is_cut_where_that_is_likeliest(learned: Tokenizer, word: str) -> None:
    """By definition (Kudo 2018, eq. 2): no other cut into pieces has a higher sum of scores."""
    scores = scores_of(learned)

    @cache
    def best(rest: str) -> float:
        ends = [end for end in range(1, len(rest) + 1) if rest[:end] in scores]
        return max((scores[rest[:end]] + best(rest[end:]) for end in ends), default=-math.inf) if rest else 0.0

    assert sum(scores[piece] for piece in pieces(learned, word)) == pytest.approx(best(word), abs=1e-6)


def scores_of(tokenizer: Tokenizer) -> dict[str, float]:
    model: dict[str, Any] = json.loads(tokenizer.__reduce__()[1][0])["model"]
    return {piece: score for piece, score in model["vocab"] if piece not in FIXED}


def test_scores_are_log_probabilities(learned: Tokenizer) -> None:
    scores = scores_of(learned)
    total = sum(math.exp(score) for score in scores.values() if score > min(scores.values()))
    assert 0.75 < total < 1.1  # what was pruned is gone; characters that were taken back have the lowest


def test_a_common_word_becomes_a_piece_even_if_no_other_holds_it() -> None:
    made = train_unigram(["the fox 天下大势 1998 "] * 100 + ["xqzt 12345"] * 20, 400)
    assert pieces(made, "the fox 天下大势") == ["the", " fox", " ", "天下大势"]
    assert [piece for piece in pieces(made, "12345") if len(piece) > 2] == []
    assert not [piece for piece in scores_of(made) if chr(MARK) in piece]
    long = train_unigram(["1998 " * 100], 400, digits=4)
    assert pieces(long, "1998") == ["1998"]


def test_rare_characters_are_left_out_for_room() -> None:
    texts = ["天下大势 the fox " * 200, "龘"]
    assert "龘" in scores_of(train_unigram(texts, 400, coverage=1.0))
    assert "龘" not in scores_of(train_unigram(texts, 400, coverage=0.999))


def test_every_process_learns_the_same(learned: Tokenizer) -> None:
    code = (
        "import hashlib; from tests.tokens.conftest import CORPUS; from danlu.tokens.training.unigram import train_unigram;"
        "print(hashlib.sha256(repr(train_unigram(CORPUS, 460).__reduce__()[1]).encode()).hexdigest())"
    )
    root = Path(__file__).parents[3]
    runs = [subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, env={**os.environ, "TOKENIZERS_PARALLELISM": p}) for p in ("true", "false")]  # fmt: skip
    assert len({run.stdout for run in runs}) == 1
    assert len(runs[0].stdout) == 65, runs[0].stderr


def test_it_holds_conversations(learned: Tokenizer) -> None:
    check_template(learned)
    rendered = render(learned, TURNS)
    said = learned.decode((i for i, m in zip(rendered.ids, rendered.mask) if m), skip_special=False)
    assert said == "天下 dog<|im_end|>"
    assert to_training_item(learned, TURNS, 100) == rendered


def test_shards_hold_the_same_ids(learned: Tokenizer) -> None:
    found = [np.frombuffer(ids, "<u2").tolist() for ids in Encoder(learned).encode(CORPUS)]
    assert found == [learned.encode(text) for text in CORPUS]


def test_transformers_gives_the_same_ids(learned: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    learned.save(tmp_path)
    reference = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*CORPUS, "🜂 \n\n<0x41>"]:
        ids = reference.encode(text, add_special_tokens=True)
        assert ids == learned.encode(text)
        assert reference.decode(ids) == text
    assert reference.unk_token_id == learned.unknown_id
    assert Tokenizer.load(tmp_path).encode(CORPUS[0]) == learned.encode(CORPUS[0])


@pytest.mark.parametrize(
    ("texts", "size", "problem"),
    [
        ([], 300, "the corpus holds no text"),
        ([" \n\t"], 300, "the corpus holds no text"),
        (
            ["a b\tc"],
            len(FIXED) + 5,
            f"3 characters make up 100.00% of the text, and with 256 bytes and special tokens they need {len(FIXED) + 6} ids",
        ),
    ],
)
def test_bad_input_is_one_sentence(texts: list[str], size: int, problem: str) -> None:
    with pytest.raises(UserError, match=re.escape(problem)):
        train_unigram(texts, size, coverage=1.0)
    with pytest.raises(UserError, match="digits 0"):
        train_unigram(["abc"], 300, digits=0)
    assert len(BYTES) == 256


def test_the_smallest_vocabulary_is_the_alphabet() -> None:
    smallest = train_unigram(["a b\tc"], len(FIXED) + 6, coverage=1.0)
    assert smallest.vocab_size <= len(FIXED) + 6
    assert smallest.decode(smallest.encode("abc 龘")) == "abc 龘"
