import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.tokenizer import SPECIAL, Tokenizer
from danlu.tokens.train import HAN_RUN, SMALLEST, train_bpe

from .conftest import CORPUS

SEPARATORS = "\r\n\t \u00a0\u3000\u2028\x1c\x00\ufeff"
ANY_TEXT = st.lists(
    st.text(max_size=12) | st.text("中文分词的〇々ab12 '", max_size=12) | st.sampled_from([*SPECIAL, *SEPARATORS])
).map("".join)


@settings(max_examples=200, deadline=None)
@given(text=ANY_TEXT)
def test_any_text_round_trips_and_stays_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.special_ids.values())
    assert tokenizer.encode_batch([text, "x"])[0] == ids


def test_every_id_below_the_vocabulary_size_is_a_piece(tokenizer: Tokenizer) -> None:
    assert SMALLEST < tokenizer.vocab_size <= 420
    assert len({tokenizer.token(i) for i in range(tokenizer.vocab_size)}) == tokenizer.vocab_size
    assert len({tokenizer.pad_id, tokenizer.eos_id, tokenizer.end_of_turn_id}) == 3


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([i]) for i in tokenizer.encode(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("用Python写", "用|Python|写"),
        ("20245 it's", "20|24|5| it|'s"),
        ("二〇二四年", "二〇二四年"),
        ("a  b\n\n  c!?\n", "a| | b|\n\n| | c|!?\n"),
        ("हिन्दी नमस्ते", "हिन्दी| नमस्ते"),
        ("中" * (HAN_RUN + 1), "中" * HAN_RUN + "|中"),
    ],
)
def test_merges_stay_inside_these_words(text: str, words: str) -> None:
    """Trained on nothing but this text, whatever may merge has merged, so tokens are the words."""
    learned = train_bpe([text] * 50, 2000)
    assert "|".join(pieces(learned, text)) == words


def test_the_result_depends_on_the_texts_alone(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> None:
    def trained(texts: list[str], parallel: str) -> tuple[str, object]:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", parallel)
        return train_bpe(texts, 420).__reduce__()[1]

    shuffled = random.Random(0).sample(CORPUS, len(CORPUS))
    assert trained(CORPUS, "false") == trained(CORPUS, "true") == trained(shuffled, "true") == tokenizer.__reduce__()[1]


def test_a_rare_pair_is_no_piece() -> None:
    assert train_bpe(["zq zq xj"], 400, min_frequency=2).encode("zq") != train_bpe(["zq zq xj"], 400).encode("xj")
    assert len(train_bpe(["xj"], 400, min_frequency=2).encode("xj")) == 2
    assert len(train_bpe(["xj"], 400, min_frequency=1).encode("xj")) == 1


@pytest.mark.parametrize(
    ("texts", "options", "problem"),
    [
        (["text"], {"vocab_size": SMALLEST - 1}, f"The smallest is {SMALLEST}"),
        (["text"], {"vocab_size": 300, "digits": 0}, "digits 0"),
        ([], {"vocab_size": 300}, "no text"),
        ([" ", "\n"], {"vocab_size": 300}, "no text"),
    ],
)
def test_bad_input_is_one_sentence(texts: list[str], options: dict[str, int], problem: str) -> None:
    with pytest.raises(UserError, match=re.escape(problem)):
        train_bpe(texts, **options)


def test_the_smallest_vocabulary_is_the_bytes() -> None:
    smallest = train_bpe(["text text"], SMALLEST)
    assert smallest.vocab_size == SMALLEST
    assert len(smallest.encode("天🜂")) == 7
