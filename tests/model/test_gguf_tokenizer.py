"""Tokenizers out of GGUF files: the ids are llama.cpp's, text comes back, and nothing typed is a control piece."""

from pathlib import Path
from typing import Any

import gguf_files
import llama_cpp
import pytest
import tokenizers
from gguf_files import BYTE, CONTROL, NORMAL, USER_DEFINED
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.model.gguf import read_gguf
from danlu.model.gguf_tokenizer import tokenizer_of
from danlu.tokens.chat import check_template, render
from danlu.tokens.extending.extend import LETTERS
from danlu.tokens.tokenizer import Tokenizer

LETTER_OF = {byte: letter for letter, byte in LETTERS.items()}
VARIED = [
    *gguf_files.TEXTS[:3],
    "",
    " ",
    "  two spaces, and at the end too  ",
    "\n\nlines\r\n\ttabs\t\t",
    "don't DON'T we'll WE'LL I'm",
    "1 12 123 1234 12345.678 ½ ² 一二三 ٣٤",
    "def f(x):\n    return {'a': x**2}  # 注释\n",
    "e\u0301 é 🙂👍🏽 \u200b\ufeff ﷽ \U0001f1e8\U0001f1f3",
    "<s>[INST] </s><unk> <0x0A> ▁ [PAD] <|im_end|><|im_start|>system",
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" ▁\n'0159aэ分<>/s"), max_size=40)


def rebuilt(path: Path, keys: dict[str, Any], **changes: Any) -> tuple[Tokenizer, list[str]]:
    """The tokenizer of a file of metadata only; ``changes`` are of ``tokenizer.ggml.``, None removes."""
    values = keys | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    return tokenizer_of(read_gguf(gguf_files.write(path / "a.gguf", {}, values)))


@pytest.fixture(scope="module")
def pieces() -> dict[str, Any]:
    return gguf_files.sentencepiece()


@pytest.fixture(scope="module")
def llama(pieces: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return rebuilt(tmp_path_factory.mktemp("llama"), pieces)[0]


@pytest.fixture(scope="module")
def letters() -> dict[str, Any]:
    return gguf_files.byte_level()[0]


def reference(keys: dict[str, Any], text: str, *expressions: str) -> list[int]:
    """Ids by the plain merging of `llama_cpp`; ``expressions`` cut one after the other, as in llama.cpp."""
    words = [text]
    for expression in expressions:
        cut = tokenizers.pre_tokenizers.Split(tokenizers.Regex(expression), "isolated")
        words = [part for word in words for part, _ in cut.pre_tokenize_str(word)]
    ids = {piece: i for i, piece in enumerate(keys["tokenizer.ggml.tokens"])}
    ranks = {tuple(merge.split(" ")): i for i, merge in enumerate(keys["tokenizer.ggml.merges"])}
    return llama_cpp.byte_pairs(["".join(LETTER_OF[b] for b in word.encode()) for word in words], ids, ranks)  # type: ignore[arg-type]


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# As the tokenizer.json of the models have them: GPT-2, SmolLM2 (Digits), Llama 3, Qwen2; 'default' is llama.cpp's
WAYS = {
    "gpt-2": (GPT2,),
    "smollm": (r"\p{N}", GPT2),
    "llama-bpe": (QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|"),),
    "qwen2": (QWEN2,),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
}


@pytest.mark.parametrize("way", WAYS)
def test_byte_level_ids_are_those_of_llama_cpp(letters: dict[str, Any], tmp_path: Path, way: str) -> None:
    tokenizer, notes = rebuilt(tmp_path, letters, pre=way)
    for text in VARIED:
        ids = tokenizer.encode(text)
        assert ids == reference(letters, text, *WAYS[way])
        assert tokenizer.decode(ids) == text
    assert notes == []


def test_the_ways_of_cutting_differ(letters: dict[str, Any], tmp_path: Path) -> None:
    """Else the test above could not tell them apart."""
    text = "price: 12345 and don't\n\n!\n one"
    core: Any = {way: rebuilt(tmp_path, letters, pre=way)[0] for way in WAYS}
    cuts = {way: str(t._core.pre_tokenizer.pre_tokenize_str(text)) for way, t in core.items()}
    assert len(set(cuts.values())) == len(WAYS)


def test_a_tokenizer_comes_back_as_it_was_trained(tmp_path: Path) -> None:
    """Through a file and back: the same ids as the tokenizer whose vocabulary and merges were written."""
    keys, made = gguf_files.byte_level()
    found, _ = rebuilt(tmp_path, keys, pre="gpt-2")
    inner: Any = found  # no file can name how Danlu cuts, so that part is set by hand
    _, (core, _) = made.__reduce__()
    inner._core.pre_tokenizer = tokenizers.Tokenizer.from_str(core).pre_tokenizer
    assert all(found.encode(text) == made.encode(text) for text in VARIED)
    assert (found.bos_id, found.end_of_turn_id, found.pad_id) == (made.bos_id, made.end_of_turn_id, made.pad_id)
    assert found.special_ids == made.special_ids


def test_a_file_that_does_not_say_how_to_cut(letters: dict[str, Any], tmp_path: Path) -> None:
    tokenizer, notes = rebuilt(tmp_path, letters, pre=None)
    assert notes == ["the file does not say how text is cut before merging; llama.cpp's default is assumed"]
    assert tokenizer.encode(VARIED[2]) == reference(letters, VARIED[2], *WAYS["default"])


@pytest.mark.parametrize("way", ["llama-bpe", "tekken"])
def test_a_whole_word_that_is_a_piece_stays_whole(letters: dict[str, Any], tmp_path: Path, way: str) -> None:
    tokens = [*letters["tokenizer.ggml.tokens"], "Ġzebra"]
    types = [*letters["tokenizer.ggml.token_type"], NORMAL]
    tokenizer, _ = rebuilt(tmp_path, letters, pre=way, tokens=tokens, token_type=types)
    assert tokenizer.encode(" zebra") == [len(tokens) - 1]
    tokenizer, _ = rebuilt(tmp_path, letters, pre="qwen2", tokens=tokens, token_type=types)
    assert len(tokenizer.encode(" zebra")) > 1


@pytest.mark.parametrize("way", ["deepseek-coder", "deepseek-v3", "falcon", "tekken", "glm4", "starcoder"])
def test_every_way_of_cutting_gives_text_back(letters: dict[str, Any], tmp_path: Path, way: str) -> None:
    tokenizer, _ = rebuilt(tmp_path, letters, pre=way)
    assert [tokenizer.decode(tokenizer.encode(text)) for text in VARIED] == VARIED


def test_bytes_without_a_token_are_named(letters: dict[str, Any], tmp_path: Path) -> None:
    tokens = [piece if piece != LETTER_OF[0x1D] else "[unused]" for piece in letters["tokenizer.ggml.tokens"]]
    tokens = [piece if piece != LETTER_OF[0xFF] else "[never]" for piece in tokens]  # in no UTF-8 text
    tokenizer, notes = rebuilt(tmp_path, letters, tokens=tokens)
    assert notes == ["1 bytes have no token (1D): characters that need them are lost"]
    assert tokenizer.decode(tokenizer.encode("a\x1db")) == "ab"


@settings(max_examples=200, deadline=None)
@given(text=TEXT)
def test_sentencepiece_ids_are_those_of_llama_cpp(pieces: dict[str, Any], llama: Tokenizer, text: str) -> None:
    kinds, names = pieces["tokenizer.ggml.token_type"], pieces["tokenizer.ggml.tokens"]
    plain = {piece: i for i, (piece, kind) in enumerate(zip(names, kinds)) if kind in (NORMAL, BYTE)}
    assert llama.encode(text) == llama_cpp.sentence_pieces(text, plain, pieces["tokenizer.ggml.scores"])
    assert llama.decode(llama.encode(text)) == text.replace("▁", " ")


@pytest.mark.parametrize("text", VARIED)
def test_sentencepiece_gives_text_back(llama: Tokenizer, text: str) -> None:
    assert llama.decode(llama.encode(text)) == text.replace("▁", " ")
    assert not {0, 1, 2} & set(llama.encode(text))  # "</s>" can be made of "</" and "s>", and is text


def test_without_a_space_before_the_text(pieces: dict[str, Any], tmp_path: Path) -> None:
    tokenizer, _ = rebuilt(tmp_path, pieces, add_space_prefix=False)
    kinds, names = pieces["tokenizer.ggml.token_type"], pieces["tokenizer.ggml.tokens"]
    plain = {piece: i for i, (piece, kind) in enumerate(zip(names, kinds)) if kind in (NORMAL, BYTE)}
    for text in VARIED:
        ids = tokenizer.encode(text)
        assert ids == llama_cpp.sentence_pieces(text, plain, pieces["tokenizer.ggml.scores"], prefix=False)
        assert tokenizer.decode(ids) == text.replace("▁", " ")


def test_pieces_that_share_a_score_are_counted(pieces: dict[str, Any], tmp_path: Path) -> None:
    scores = [score if score > -20 else -20.0 for score in pieces["tokenizer.ggml.scores"]]
    _, notes = rebuilt(tmp_path, pieces, scores=scores)
    assert "pieces share a score; where several fit, llama.cpp takes the leftmost" in notes[0]
    assert not any("share" in note for note in rebuilt(tmp_path, pieces)[1])


def theirs(tokenizer: Tokenizer, folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer.save(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("add_bos", "add_eos", "ends"),
    [(True, False, (1, 0)), (False, False, (0, 0)), (True, True, (1, 1)), (None, None, (1, 0)), (False, True, (0, 1))],
)
def test_transformers_puts_the_ends_that_the_file_wants(
    pieces: dict[str, Any], tmp_path: Path, add_bos: bool | None, add_eos: bool | None, ends: tuple[int, int]
) -> None:
    tokenizer, _ = rebuilt(tmp_path, pieces, add_bos_token=add_bos, add_eos_token=add_eos)
    ids = theirs(tokenizer, tmp_path / "out")("the fox")["input_ids"]
    assert ids == [1] * ends[0] + tokenizer.encode("the fox") + [2] * ends[1]
    assert Tokenizer.load(tmp_path / "out").encode("the fox") == tokenizer.encode("the fox")


@pytest.mark.parametrize(("way", "begins"), [("llama-bpe", True), ("gpt-2", False)])
def test_where_the_file_does_not_say_whether_a_text_begins(
    letters: dict[str, Any], tmp_path: Path, way: str, begins: bool
) -> None:
    tokenizer, _ = rebuilt(tmp_path, letters, pre=way, add_bos_token=None)
    ids = theirs(tokenizer, tmp_path / "out")("the fox")["input_ids"]
    assert ids == [tokenizer.bos_id] * begins + tokenizer.encode("the fox")


def test_a_pad_that_ends_a_turn_is_replaced(letters: dict[str, Any], tmp_path: Path) -> None:
    """As in SmolLM2: padding is the end of a turn, and the unknown token is free."""
    end, free = letters["tokenizer.ggml.eos_token_id"], letters["tokenizer.ggml.bos_token_id"]
    start = letters["tokenizer.ggml.tokens"].index("<|im_start|>")
    changes = {"padding_token_id": end, "unknown_token_id": free, "bos_token_id": start}
    tokenizer, notes = rebuilt(tmp_path, letters, **changes)
    assert (tokenizer.pad_id, tokenizer.end_of_turn_id) == (free, end)
    assert notes == ["padding is '<|endoftext|>': '<|im_end|>' ends a turn, and padding is never learned"]
    check_template(tokenizer)
    tokenizer, notes = rebuilt(tmp_path, letters, padding_token_id=None, unknown_token_id=None)
    assert tokenizer.token(tokenizer.pad_id) == "<|pad|>"  # by its name
    names = [n.replace("<|pad|>", "<｜▁Pad▁｜>") for n in letters["tokenizer.ggml.tokens"]]
    bos = {"bos_token_id": free}  # which may not pad either
    tokenizer, notes = rebuilt(tmp_path, letters, padding_token_id=None, tokens=names, **bos)
    assert tokenizer.token(tokenizer.pad_id) == "<｜▁Pad▁｜>"  # as DeepSeek's
    types = [NORMAL if kind == CONTROL else kind for kind in letters["tokenizer.ggml.token_type"]]
    _, notes = rebuilt(tmp_path, letters, padding_token_id=end, token_type=types)
    assert any(note.startswith("there is no token for padding") for note in notes)


def test_the_template_is_marked_and_renders_the_same(letters: dict[str, Any], tmp_path: Path) -> None:
    tokenizer, notes = rebuilt(tmp_path, letters)
    chat = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "分久必合"}]
    plain = tokenizer.with_config(chat_template=letters["tokenizer.chat_template"])
    rendered = render(tokenizer, chat)
    assert rendered.ids == render(plain, chat).ids
    learned = [i for i, m in zip(rendered.ids, rendered.mask) if m]
    assert tokenizer.decode(learned, skip_special=False) == "分久必合<|im_end|>"
    assert notes == []
    odd = letters | {"tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}
    assert rebuilt(tmp_path, odd)[1] == [
        "this tokenizer cannot be fine-tuned with as it is: the chat template does not mark answers, and they cannot be "
        "found: no '<|im_end|>' comes after an answer"
    ]
    assert rebuilt(tmp_path, letters | {"tokenizer.chat_template": None})[1] == ["the file has no chat template"]


def test_a_users_own_tokens_are_never_cut_and_control_tokens_never_typed(
    letters: dict[str, Any], tmp_path: Path
) -> None:
    names = [*letters["tokenizer.ggml.tokens"], "<think>", "", "<|eot_id|>"]
    types = [*letters["tokenizer.ggml.token_type"], USER_DEFINED, NORMAL, NORMAL]
    tokenizer, _ = rebuilt(tmp_path, letters, tokens=names, token_type=types)
    size = len(names)
    assert tokenizer.encode("a<think>b")[1:-1] == [size - 3]
    assert tokenizer.token(size - 2) == f"[EMPTY_{size - 2}]"
    assert tokenizer.special_ids["<|eot_id|>"] == size - 1  # whatever its type says, as in llama.cpp
    assert not set(tokenizer.special_ids.values()) & set(tokenizer.encode("<|im_end|><|eot_id|><|pad|>"))


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no tokens": ({"tokens": None}, r"metadata key 'tokenizer\.ggml\.tokens' is missing"),
    "no merges": ({"merges": None}, r"metadata key 'tokenizer\.ggml\.merges' is missing"),
    "no model": ({"model": None}, r"metadata key 'tokenizer\.ggml\.model' is missing"),
    "no end": ({"eos_token_id": None}, r"metadata key 'tokenizer\.ggml\.eos_token_id' is missing"),
    "another model": ({"model": "bert"}, "tokenizer 'bert' is not supported. Supported: gpt2, llama"),
    "another way": ({"pre": "kimi-k2"}, r"pre-tokenizer 'kimi-k2' is not supported\. Supported: gpt-2, "),
    "a strange merge": ({"merges": ["x yz"]}, "merge 'x yz' is not of tokens of the vocabulary"),
    "half a merge": ({"merges": ["x"]}, "merge 'x' is not of tokens"),
    "numbers as tokens": ({"tokens": [1, 2, 3]}, r"metadata key 'tokenizer\.ggml\.tokens' is not a list of texts"),
    "an end too far": ({"eos_token_id": 9999}, r"tokenizer\.ggml\.eos_token_id is 9999, and there are 400 tokens"),
    "too few types": ({"token_type": [1, 1]}, "token_type is not one number for each of 400 tokens"),
    "a token twice": ({"tokens": ["a", "b", "a"], "token_type": None}, "token 'a' has two ids"),
    "no scores": ({"model": "llama"}, "scores is not one number for each of 400 tokens"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_missing_or_does_not_agree_is_named(letters: dict[str, Any], tmp_path: Path, fault: str) -> None:
    changes, sentence = BROKEN[fault]
    assert len(letters["tokenizer.ggml.tokens"]) == 400
    with pytest.raises(UserError, match=sentence) as caught:
        rebuilt(tmp_path, letters, **changes)
    assert "\n" not in str(caught.value)


def test_more_tokens_than_rows(letters: dict[str, Any], tmp_path: Path) -> None:
    tensors = {"token_embd.weight": (gguf_files.weights(97, tied=True)["token_embd.weight"], "F32")}
    file = read_gguf(gguf_files.write(tmp_path / "a.gguf", tensors, letters))
    with pytest.raises(UserError, match="there are 400 tokens and 97 rows in the embedding"):
        tokenizer_of(file)
