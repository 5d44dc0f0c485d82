import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.tokens.chat import check_template, render
from danlu.tokens.encoding.encode import Encoder
from danlu.tokens.samples import to_training_item
from danlu.tokens.tokenizer import SPECIAL, Tokenizer
from danlu.tokens.training.wordpiece import CONTINUED, UNKNOWN, train_wordpiece
from tests.tokens.conftest import CORPUS

from .test_train import ANY_TEXT

TURNS = [{"role": "user", "content": "Who is the fox?"}, {"role": "assistant", "content": "天下 dog"}]


@pytest.fixture(scope="module")
def learned() -> Tokenizer:
    return train_wordpiece(CORPUS, 600, coverage=1.0)


def tokens(tokenizer: Tokenizer, text: str) -> str:
    return "|".join(tokenizer.token(i) for i in tokenizer.encode(text))


def longest_first(word: str, vocabulary: set[str]) -> list[str]:
    """WordPiece by its definition (Devlin 2019, section A.2 of BERT's code): the longest piece that fits, then on."""
    found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = CONTINUED * bool(start) + word[start:end]
            if piece in vocabulary:
                found.append(piece)
                start = end
                break
        else:
            return [UNKNOWN]
    return found


@given(st.text("the dogfx天下大势分久", max_size=12).map(lambda text: "".join(text.split())).filter(bool))
def test_a_word_is_its_longest_pieces(learned: Tokenizer, word: str) -> None:
    vocabulary = {learned.token(i) for i in range(learned.vocab_size)}
    words = re.findall(r"[a-z]+|[^a-z]+", word)
    wanted = [piece for part in words for piece in longest_first(part, vocabulary)]
    assert tokens(learned, word).split("|") == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("用Python写", "用|Python|写"),
        ("don't  stop\n\n(now)", "don|'t|stop|(|now|)"),
        ("天" * 13, "天" * 12 + "|天"),
        ("x" * 101, "x" * 100 + "|x"),  # BERT gives up such a word: it would be unknown
    ],
)
def test_pieces_stay_inside_these_words(text: str, words: str) -> None:
    """Trained on nothing but this text, whatever may merge has merged, so tokens are the words."""
    assert tokens(train_wordpiece([text] * 50, 2000, coverage=1.0), text) == words


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("话说天下大势，分久必合，合久必分。", None),
        ("The quick fox, the dog (42): it isn't!", None),
        ("用 Python 写  程序", "用Python写程序"),
        ("the\n\tdog ;", "the dog;"),
        ("the 🜂 dog", "the [UNK] dog"),
        ("天下🜂大势", "天下[UNK]大势"),
    ],
)
def test_what_is_lost_is_white_space_and_unknown_characters(learned: Tokenizer, text: str, back: str | None) -> None:
    found = learned.decode(learned.encode(text), skip_special=False)
    assert found == (text if back is None else back)


@settings(max_examples=200)
@given(text=ANY_TEXT)
def test_no_text_becomes_a_special_token_but_the_unknown(learned: Tokenizer, text: str) -> None:
    ids = learned.encode(text)
    assert not set(ids) & {learned.special_ids[token] for token in SPECIAL}
    assert learned.encode_batch([text])[0] == ids


def test_a_word_of_the_alphabet_is_never_unknown(learned: Tokenizer) -> None:
    characters = sorted(set("".join(CORPUS)) - set(" \n"))
    assert learned.unknown_id == learned.special_ids[UNKNOWN]
    for character in characters:
        assert learned.unknown_id not in learned.encode(character * 3), character


def test_rare_characters_are_left_out_for_room() -> None:
    texts = ["天下大势 the fox " * 200, "龘"]
    assert UNKNOWN not in tokens(train_wordpiece(texts, 200, coverage=1.0), "龘")
    assert tokens(train_wordpiece(texts, 200, coverage=0.999), "龘") == UNKNOWN


def test_digits_bounds_the_pieces_of_numbers_and_not_the_words() -> None:
    texts = ["1998 2024 12345"] * 50
    assert tokens(train_wordpiece(texts, 100, coverage=1.0), "2024 12345") == "20|##24|12|##34|##5"
    assert tokens(train_wordpiece(texts, 100, coverage=1.0, digits=4), "2024") == "2024"
    made = train_wordpiece(texts, 100, coverage=1.0)
    assert made.decode(made.encode("2024 12345")) == "2024 12345"


def test_a_rare_pair_is_no_piece() -> None:
    assert tokens(train_wordpiece(["xj"], 30, coverage=1.0), "xj") == "x|##j"
    assert tokens(train_wordpiece(["xj"], 30, coverage=1.0, min_frequency=1), "xj") == "xj"


def test_the_vocabulary_is_no_larger_than_asked(learned: Tokenizer) -> None:
    many = train_wordpiece([f"word{i} 第{i}回" for i in range(300)] * 3, 90, coverage=1.0)
    assert many.vocab_size == 90
    assert len({many.token(i) for i in range(90)}) == 90
    assert learned.vocab_size <= 600


def test_every_process_learns_the_same(learned: Tokenizer) -> None:
    """The library alone numbers '##' pieces by a hash table that is another in each process."""
    code = (
        "import hashlib; from tests.tokens.conftest import CORPUS; from danlu.tokens.training.wordpiece import train_wordpiece;"
        "print(hashlib.sha256(repr(train_wordpiece(CORPUS, 600, coverage=1.0).__reduce__()[1]).encode()).hexdigest())"
    )
    root = Path(__file__).parents[3]
    runs = [subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, env={**os.environ, "TOKENIZERS_PARALLELISM": p}) for p in ("true", "false")]  # fmt: skip
    assert len({run.stdout for run in runs}) == 1
    assert len(runs[0].stdout) == 65, runs[0].stderr


def test_it_holds_conversations(learned: Tokenizer) -> None:
    check_template(learned)
    rendered = render(learned, TURNS)
    said = learned.decode((i for i, m in zip(rendered.ids, rendered.mask) if m), skip_special=False)
    assert said.startswith("天下dog")
    assert said.rstrip().endswith("<|im_end|>")
    assert to_training_item(learned, TURNS, 100) == rendered
    assert rendered.ids[0] == learned.special_ids["<|im_start|>"]


def test_shards_hold_the_same_ids(learned: Tokenizer) -> None:
    found = [np.frombuffer(ids, "<u2").tolist() for ids in Encoder(learned).encode(CORPUS)]
    assert found == [learned.encode(text) for text in CORPUS]


def test_transformers_gives_the_same_ids(learned: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    learned.save(tmp_path)
    reference = AutoTokenizer.from_pretrained(tmp_path)
    for text in CORPUS:
        assert reference.encode(text, add_special_tokens=True) == learned.encode(text)
    assert reference.unk_token_id == learned.unknown_id
    assert Tokenizer.load(tmp_path).encode(CORPUS[0]) == learned.encode(CORPUS[0])


@pytest.mark.parametrize(
    ("texts", "size", "problem"),
    [
        ([], 300, "the corpus holds no text"),
        ([" \n\t"], 300, "the corpus holds no text"),
        (["abc"], 10, "3 characters make up 100.00% of the text, and with '##' before each as well they need 11 ids"),
    ],
)
def test_bad_input_is_one_sentence(texts: list[str], size: int, problem: str) -> None:
    with pytest.raises(UserError, match=re.escape(problem)):
        train_wordpiece(texts, size, coverage=1.0)
    with pytest.raises(UserError, match="digits 0"):
        train_wordpiece(["abc"], 300, digits=0)
