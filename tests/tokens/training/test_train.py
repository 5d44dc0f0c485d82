import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.tokenizer import SPECIAL, Tokenizer
from danlu.tokens.training import train
from danlu.tokens.training.train import HAN_RUN, SMALLEST, train_bpe, train_bpe_reporting
from tests.tokens.conftest import CORPUS

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
        (["\x7fELF\x02\x01\x01\x00\x00\ufffd>"], {"vocab_size": 300}, "looks binary: 64% of its characters"),
        (["half \ud800"], {"vocab_size": 300}, "half a character"),
    ],
)
def test_bad_input_is_one_sentence(texts: list[str], options: dict[str, int], problem: str) -> None:
    with pytest.raises(UserError, match=re.escape(problem)):
        train_bpe(texts, **options)


def test_the_smallest_vocabulary_is_the_bytes() -> None:
    smallest = train_bpe(["text text"], SMALLEST)
    assert smallest.vocab_size == SMALLEST
    assert len(smallest.encode("天🜂")) == 7


def test_text_without_borders_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    train_bpe(["some text " * 9], 300)
    assert capsys.readouterr().err == ""
    train_bpe(["ทดสอบ" * 1000], 300)
    assert "longest word has 5000 characters ('ทดสอบ" in capsys.readouterr().err


def test_a_ceiling_that_cannot_be_kept_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert train_bpe(["text"], 300, memory=1).__reduce__()[1] == train_bpe(["text"], 300).__reduce__()[1]
    assert "less than 256.0MB of memory cannot be kept to" in capsys.readouterr().err


def test_what_was_done_is_reported() -> None:
    facts = train_bpe_reporting(["天下大势 天下", "天下"], 300, min_frequency=1).facts
    assert facts["characters"] == 9
    assert facts["different_words"] == 3
    assert facts["words_sampled_below"] == 1


def test_cutting_between_rare_neighbours_keeps_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Chinese without marks, cut where neighbours are rare: as many bytes a token, from far fewer words."""
    rng = random.Random(0)
    known = ["".join(chr(rng.randint(0x4E00, 0x4F00)) for _ in range(rng.randint(1, 3))) for _ in range(300)]
    texts = ["".join(rng.choices(known, weights=range(300, 0, -1), k=200)) for _ in range(100)]
    whole = train_bpe_reporting(texts[1:], 450)
    monkeypatch.setattr(train, "WHOLE", 0)
    cut = train_bpe_reporting(texts[1:], 450)
    assert cut.facts["cut_between_neighbours_rarer_than"] > 1 == whole.facts["cut_between_neighbours_rarer_than"] + 1
    assert cut.facts["bytes_of_different_words"] < 0.85 * whole.facts["bytes_of_different_words"]
    assert len(cut.tokenizer.encode(texts[0])) <= 1.01 * len(whole.tokenizer.encode(texts[0]))
