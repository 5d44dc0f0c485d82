"""Where words begin, by tables over the vocabulary, against what the pre-tokenizer cuts."""

import itertools

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from danlu.objectives.words import Words
from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.training.train import train_bpe
from tests.tokens.conftest import CORPUS


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train_bpe(CORPUS, 420)


def words(tokenizer: Tokenizer, text: str) -> list[str]:
    """``text`` cut where a word begins."""
    ids = tokenizer.encode(text)
    begins = Words(tokenizer).begins(np.asarray(ids), np.zeros(len(ids), np.int32))
    places = [*np.flatnonzero(begins).tolist(), len(ids)]
    return [tokenizer.decode(ids[a:b], skip_special=False) for a, b in itertools.pairwise(places)]


def test_words_of_letters_are_those_that_the_pretokenizer_cuts(bpe: Tokenizer) -> None:
    text = "The fox, zebras and unquestionably others jumped. It was naïve: Москва, Ελλάδα"
    core = tokenizers.Tokenizer.from_str(bpe.rules)
    spans = [span for _, span in core.pre_tokenizer.pre_tokenize_str(text)]
    assert words(bpe, text) == [text[a:b] for a, b in spans]
    assert len(bpe.encode(text)) > 1.5 * len(spans)  # so that there was something to join


def test_chinese_words_are_pieces_and_no_character_is_cut(bpe: Tokenizer) -> None:
    assert words(bpe, "天下大势") == ["天下大势"]  # one piece of this vocabulary
    found = words(bpe, "分天下龘")
    assert found[-1] == "龘"  # of three bytes
    assert len(bpe.encode("龘")) > 1
    assert "".join(found) == "分天下龘"
    assert words(bpe, "用Python写")[1] == "Python"
    assert words(bpe, "a 2024 b") == ["a", " ", "2024", " b"]
    assert words(bpe, "fox\nfox") == ["fox", "\n", "fox"]


def test_special_tokens_stand_alone(bpe: Tokenizer) -> None:
    ids = np.asarray([bpe.bos_id, *bpe.encode("fox"), bpe.eos_id, *bpe.encode("fox")])
    found = Words(bpe).begins(ids, np.zeros(len(ids), np.int32))
    one = len(bpe.encode("fox"))
    assert np.flatnonzero(found).tolist() == [0, 1, one + 1, one + 2]
    assert Words(bpe).special.sum() == len(bpe.special_ids)
    cut = np.repeat([0, 1], [3, len(ids) - 3]).astype(np.int32)
    assert Words(bpe).begins(ids, cut)[3]  # the first token of a segment


def test_wordpiece_says_itself_what_is_inside() -> None:
    pieces = ["[UNK]", "[PAD]", "[MASK]", "play", "##ing", "##天", "天", "下", "ing", ",", "7", "##7"]
    core = tokenizers.Tokenizer(models.WordPiece(vocab={p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    core.add_special_tokens(pieces[:3])
    core.pre_tokenizer, core.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    tokenizer = Tokenizer(core, {"eos_token": "[PAD]", "unk_token": "[UNK]"})
    ids = np.asarray([3, 4, 6, 7, 3, 8, 9, 10, 11, 6, 5])
    found = Words(tokenizer).begins(ids, np.zeros(len(ids), np.int32))
    assert found.tolist() == [True, False, True, True, True, True, True, True, False, True, False]


def test_sentencepiece_marks_the_space_before() -> None:
    pieces = ["<unk>", "</s>", "▁the", "▁un", "quest", "▁", "天", "天下", ".", "<0xE9>", "<0xBE>", "es"]
    core = tokenizers.Tokenizer(models.Unigram([(p, 0.0) for p in pieces], unk_id=0, byte_fallback=True))
    core.add_special_tokens(["</s>"])
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = Tokenizer(core, {"eos_token": "</s>", "unk_token": "<unk>"})
    ids = np.asarray([2, 3, 4, 11, 8, 5, 4, 6, 7, 9, 10])
    found = Words(tokenizer).begins(ids, np.zeros(len(ids), np.int32))
    assert found.tolist() == [True, True, False, False, True, True, False, True, True, True, False]
