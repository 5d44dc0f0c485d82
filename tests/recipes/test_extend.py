"""A tiny random Llama with a byte-level tokenizer, extended; opened by transformers and by us."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from danlu.base import artifact
from danlu.base.artifact import Artifact
from danlu.base.errors import UserError
from danlu.model.embedding_init import INITS
from danlu.model.hub import load_model, save_model
from danlu.recipes import clean
from danlu.recipes.clean import Clean
from danlu.recipes.extend import Extend, read_tokenizer, run, thinned
from danlu.recipes.training import save_chat_model
from danlu.tokens.chat import render
from danlu.tokens.tokenizer import Tokenizer
from danlu.tokens.training.train import train_bpe

ENGLISH = ["The quick brown fox jumps over the lazy dog; the user waits, and 12 dogs answer.\n"] * 5
CHINESE = [
    "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。",
    "汉朝自高祖斩白蛇而起义，一统天下，后来光武中兴，传至献帝，遂分为三国。",
] * 5
TEXT = "The quick fox, 1234 dogs.\n"
FEW: dict[str, Any] = {"add": 60, "min_count": 2}
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(ENGLISH, 320)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untied, with three rows more than there are ids, as transformers writes it."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    path = tmp_path_factory.mktemp("model") / "model"
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    made = LlamaForCausalLM(LlamaConfig(vocab_size=tokenizer.vocab_size + 3, tie_word_embeddings=False, **shape))
    made.generation_config = GenerationConfig(eos_token_id=[0, 3], temperature=0.3, do_sample=True)
    made.save_pretrained(path)
    tokenizer.save(path)
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("corpus") / "zh.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in CHINESE), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def extended(model: Path, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(Extend(model, (corpus,), tmp_path_factory.mktemp("out") / "out", **FEW))


def differently(extended: Artifact, tmp_path: Path, **changes: Any) -> Artifact:
    recipe = extended.manifest["recipe"]
    given = {"model": Path(recipe["model"]), "corpus": tuple(recipe["corpus"]), "out": tmp_path / "other", **FEW}
    return run(Extend(**{**given, **changes}))


def same_numbers(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """A product with more columns may be rounded otherwise: the weights are compared bit by bit, logits to rounding."""
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def vocabulary(path: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((path / "tokenizer.json").read_text())["model"]["vocab"]
    return found


def test_transformers_opens_it_and_old_text_means_what_it_meant(model: Path, extended: Artifact) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs, said = AutoModelForCausalLM.from_pretrained(extended.path, output_loading_info=True)
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before, words, old_words = (
        AutoModelForCausalLM.from_pretrained(model),
        AutoTokenizer.from_pretrained(extended.path),
        AutoTokenizer.from_pretrained(model),
    )
    assert words(TEXT)["input_ids"] == old_words(TEXT)["input_ids"]
    ids = torch.tensor([words(TEXT)["input_ids"]])
    known = len(old_words)
    with torch.no_grad():
        same_numbers(theirs(ids).logits[..., :known], before(ids).logits[..., :known])
    assert len(words) == known + 60 == theirs.config.vocab_size
    assert len(words(CHINESE[0])["input_ids"]) < len(old_words(CHINESE[0])["input_ids"]) / 2.5
    assert words.decode(words(CHINESE[0])["input_ids"]) == CHINESE[0]
    turns = [{"role": "user", "content": TEXT}]
    assert words.apply_chat_template(turns) == old_words.apply_chat_template(turns)
    assert theirs.generation_config.to_dict() == before.generation_config.to_dict()
    assert words.special_tokens_map == old_words.special_tokens_map


def test_danlu_opens_it(model: Path, extended: Artifact) -> None:
    ours, tokenizer, old = load_model(extended.path), Tokenizer.load(extended.path), Tokenizer.load(model)
    assert tokenizer.vocab_size == ours.config.vocab_size == old.vocab_size + 60 == extended.metrics["vocab_size"]
    assert (tokenizer.stop_ids, tokenizer.special_ids) == (old.stop_ids, old.special_ids)
    turns = [{"role": "user", "content": "天下"}, {"role": "assistant", "content": TEXT}]
    assert tokenizer.decode(render(tokenizer, turns).ids) == old.decode(render(old, turns).ids)
    assert tokenizer.encode("<|im_end|>") == old.encode("<|im_end|>")


def test_nothing_else_changes(model: Path, extended: Artifact) -> None:
    old, new = load_file(model / WEIGHTS), load_file(extended.path / WEIGHTS)
    assert set(old) == set(new)
    known = Tokenizer.load(model).vocab_size
    for name, value in old.items():
        size = known if name in ("model.embed_tokens.weight", "lm_head.weight") else len(value)
        assert torch.equal(new[name][:size], value[:size]), name
    before, after = (json.loads((path / "config.json").read_text()) for path in (model, extended.path))
    assert before | {"vocab_size": known + 60} == after
    assert (model / "generation_config.json").read_bytes() == (extended.path / "generation_config.json").read_bytes()


def test_the_manifest(extended: Artifact) -> None:
    extended.verify()
    found = artifact.load(extended.path, "extend")
    assert set(found.manifest["inputs"]) >= {"model"}
    assert len(found.manifest["inputs"]) == 2
    assert set(found.manifest["outputs"]) == {
        "config.json", "extension.json", "generation_config.json", "model.safetensors", "recipe.yaml", "tokenizer.json",
        "tokenizer_config.json", *(["chat_template.jinja"] if (found.path / "chat_template.jinja").exists() else []),
    }  # fmt: skip
    assert found.metrics["tokens_per_character"] < found.metrics["tokens_per_character_before"] / 2
    old = json.loads((found.path / "extension.json").read_text())
    assert old == {"old_vocab": found.metrics["vocab_size"] - 60, "added": 60, "init": "subword"}
    assert (found.metrics["added"], found.metrics["measured_on"]) == (60, "the corpus itself")


@pytest.mark.parametrize("init", INITS)
def test_each_initialisation(extended: Artifact, tmp_path: Path, init: Any) -> None:
    made = differently(extended, tmp_path, init=init)
    old, new = load_file(extended.path / WEIGHTS), load_file(made.path / WEIGHTS)
    assert vocabulary(made.path) == vocabulary(extended.path)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(old[name][:-60], new[name][:-60])
        assert torch.equal(old[name], new[name]) == (init == "subword")  # the default
        assert torch.isfinite(new[name]).all()


def test_subword_rows_are_the_means_of_both_tables(model: Path, extended: Artifact) -> None:
    old, tokenizer = load_file(model / WEIGHTS), Tokenizer.load(model)
    new, words = load_file(extended.path / WEIGHTS), Tokenizer.load(extended.path)
    found = [i for i in range(tokenizer.vocab_size, words.vocab_size) if words.encode(words.decode([i])) == [i]]
    assert len(found) > 20
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        for i in found:
            parts = tokenizer.encode(words.decode([i]))
            torch.testing.assert_close(new[name][i], old[name][parts].mean(0), rtol=1e-5, atol=1e-7)


def test_keys_change_what_is_made(extended: Artifact, tmp_path: Path) -> None:
    base = len(vocabulary(extended.path))
    assert len(vocabulary(differently(extended, tmp_path / "a", add=20).path)) == base - 40
    assert len(vocabulary(differently(extended, tmp_path / "b", min_count=6).path)) < base
    short = set(vocabulary(differently(extended, tmp_path / "c", longest=1).path))
    assert short != set(vocabulary(extended.path))
    few = differently(extended, tmp_path / "d", sample_bytes=100)
    assert len(vocabulary(few.path)) < base
    padded = differently(extended, tmp_path / "e", pad_to=64)
    assert padded.metrics["rows"] % 64 == 0
    assert padded.metrics["rows"] > extended.metrics["rows"]
    assert load_model(padded.path).config.vocab_size == padded.metrics["rows"]
    seeds = [differently(extended, tmp_path / f"f{s}", init="random", seed=s).manifest["outputs"] for s in (0, 1)]
    assert seeds[0][WEIGHTS] != seeds[1][WEIGHTS]


def test_ascii(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("zebra zone zebra zone zebra 天下天下\n" * 10, encoding="utf-8")
    given: dict[str, Any] = {"model": model, "corpus": (str(tmp_path / "a.txt"),), **FEW}
    plain, asked = (Tokenizer.load(run(Extend(**given, ascii=a, out=tmp_path / str(a))).path) for a in (False, True))
    assert len(plain.encode("zebra")) == len(Tokenizer.load(model).encode("zebra")) > len(asked.encode("zebra"))


def test_special_tokens_with_and_without_pieces(extended: Artifact, model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    for name, changes in (("with", {}), ("without", {"add": 0, "corpus": ()})):
        made = differently(extended, tmp_path / name, special=("<|tool|>",), **changes)
        words, first = AutoTokenizer.from_pretrained(made.path), Tokenizer.load(model).vocab_size
        assert words("<|tool|>")["input_ids"] == [first]
        assert words.decode([first], skip_special_tokens=True) == ""
        assert made.metrics["added"] == (61 if name == "with" else 1)
    with pytest.raises(UserError, match="is in the tokenizer already"):
        differently(extended, tmp_path / "there", special=("<|im_end|>",))


def test_the_validation_side_is_held_out(extended: Artifact, tmp_path: Path) -> None:
    texts = [f"{number} {text}" for number in range(20) for text in CHINESE]
    (tmp_path / "many.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    made = differently(extended, tmp_path, corpus=(str(tmp_path / "many.jsonl"),))
    assert made.metrics["measured_on"] == "held-out documents"


def test_what_clean_wrote_is_a_corpus(extended: Artifact, corpus: str, tmp_path: Path) -> None:
    made = clean.run(Clean((corpus,), out=tmp_path / "clean", steps=("normalize",), validation_share=0))
    found = differently(extended, tmp_path, corpus=(str(made.path),))
    assert vocabulary(found.path) == vocabulary(extended.path)


def test_a_tied_model_and_a_gpt2_one(tokenizer: Tokenizer, corpus: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=tokenizer.vocab_size, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    old = GPT2LMHeadModel(config).eval()
    old.save_pretrained(tmp_path / "old")
    tokenizer.save(tmp_path / "old")
    vocab, merges = vocabulary(tmp_path / "old"), json.loads((tmp_path / "old/tokenizer.json").read_text())["model"]
    (tmp_path / "old" / "vocab.json").write_text(json.dumps(vocab))
    lines = [" ".join(pair) for pair in merges["merges"]]
    (tmp_path / "old" / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n")
    made = run(Extend(tmp_path / "old", (corpus,), tmp_path / "new", init="noise", **FEW))
    new, words = AutoModelForCausalLM.from_pretrained(made.path).eval(), AutoTokenizer.from_pretrained(made.path)
    assert new.lm_head.weight.data_ptr() == new.transformer.wte.weight.data_ptr()
    ids = torch.tensor([words(TEXT)["input_ids"]])
    with torch.no_grad():
        same_numbers(new(ids).logits[..., : tokenizer.vocab_size], old(ids).logits)
    kept = new.state_dict()
    assert all(torch.equal(kept[name][: len(value)], value) for name, value in old.state_dict().items())
    assert json.loads((made.path / "vocab.json").read_text()) == vocabulary(made.path)
    assert len((made.path / "merges.txt").read_text().splitlines()) == 1 + len(lines) + 60


def test_our_own_family(tiny: Any, tokenizer: Tokenizer, corpus: str, tmp_path: Path) -> None:
    model = tiny(vocab_size=tokenizer.vocab_size, norm="layernorm", positions="learned", activation="gelu", tied=False)
    save_chat_model(model, tokenizer, tmp_path / "old")
    made = run(Extend(tmp_path / "old", (corpus,), tmp_path / "new", **FEW))
    found = load_model(made.path)
    ids = torch.tensor([tokenizer.encode(TEXT)])
    with torch.no_grad():
        same_numbers(found(ids)[..., : tokenizer.vocab_size], load_model(tmp_path / "old")(ids))
    kept = found.state_dict()
    assert all(torch.equal(kept[name][: len(value)], value) for name, value in model.state_dict().items())


def test_llama_2s_kind(tiny: Any, corpus: str, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    old = tmp_path / "old"
    old.mkdir()
    kind = {"model_type": "bpe", "vocab_size": 350, "byte_fallback": True, "pad_id": -1, "minloglevel": 3}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH * 9), model_prefix=str(old / "tokenizer"),
        normalization_rule_name="identity", remove_extra_whitespaces=False, **kind,
    )  # fmt: skip
    save_model(tiny(vocab_size=350), old, {})
    made = run(Extend(old, (corpus,), tmp_path / "new", special=("<pad>",), **FEW))
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(made.path / "tokenizer.model"))
    ours = Tokenizer.load(made.path)
    before = sentencepiece.SentencePieceProcessor(model_file=str(old / "tokenizer.model"))
    for text in (TEXT, CHINESE[0]):
        assert theirs.encode(text) == ours.encode(text)
    assert theirs.encode(TEXT) == before.encode(TEXT)
    assert len(theirs.encode(CHINESE[0])) < len(before.encode(CHINESE[0])) / 3
    assert load_model(made.path).config.vocab_size == ours.vocab_size == theirs.get_piece_size() == 411
    again = run(Extend(made.path, (corpus,), tmp_path / "again", add=1, min_count=2, longest=20))  # both files there
    assert read_tokenizer(again.path)[1].pieces[-1].piece in vocabulary(again.path)


def broken(model: Path, tmp_path: Path, **files: str | None) -> Path:
    """A copy of the model directory with files replaced or left out."""
    path = tmp_path / "broken"
    path.mkdir()
    for file in model.iterdir():
        name = file.name.replace(".", "_")
        content = files.get(name, "")
        if content == "":
            (path / file.name).write_bytes(file.read_bytes())
        elif content is not None:
            (path / file.name).write_text(content, encoding="utf-8")
    return path


def test_a_tokenizer_and_a_model_that_disagree(model: Path, corpus: str, tmp_path: Path) -> None:
    other, _ = read_tokenizer(model)
    last = max(other["model"]["vocab"].values())
    other["model"]["vocab"] |= {f"x{i}": last + i for i in range(1, 5)}
    path = broken(model, tmp_path, tokenizer_json=json.dumps(other))
    with pytest.raises(UserError, match=rf"the tokenizer has {last + 5} ids and the embedding {last + 4} rows"):
        run(Extend(path, (corpus,), tmp_path / "out"))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"tokenizer_json": None}, r"holds no tokenizer\. A model directory has tokenizer\.json or tokenizer\.model"),
        ({"tokenizer_json": "{"}, "not valid JSON"),
        ({"tokenizer_json": "[]"}, "expected keys and values, found list"),
        ({"tokenizer_json": '{"model": {"type": "Unigram"}}'}, "kind 'Unigram' cannot be extended"),
        ({"tokenizer_json": '{"model": {"type": "BPE", "byte_fallback": true}}'}, "not a readable tokenizer"),
        ({"config_json": None}, "Give a model directory"),
        ({"model_safetensors": None}, "Give a model directory"),
        ({"model_safetensors": "x"}, "cannot be read as safetensors"),
    ],
)
def test_a_model_directory_that_is_not_one(
    model: Path, corpus: str, tmp_path: Path, files: dict[str, str | None], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        run(Extend(broken(model, tmp_path, **files), (corpus,), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_corpus_whose_pieces_exist_is_told(model: Path, tmp_path: Path) -> None:
    data, _ = read_tokenizer(model)
    data["model"]["vocab"]["Ã©"] = max(data["model"]["vocab"].values()) + 1  # é, which no merge makes
    (tmp_path / "a.txt").write_text("é é é\n" * 20, encoding="utf-8")
    path = broken(model, tmp_path, tokenizer_json=json.dumps(data))
    with pytest.raises(UserError, match=r"no new piece was found .*\(candidates that are pieces already: 1\)\. Give"):
        run(Extend(path, (str(tmp_path / "a.txt"),), tmp_path / "out", longest=1))
    assert not (tmp_path / "out").exists()


def test_an_adapter_is_to_be_merged_first(corpus: str, tmp_path: Path) -> None:
    """It holds no tables, and an extension of its base alone would not be what was trained."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds an adapter.*Merge it into its base first: danlu merge .*adapter --out"):
        run(Extend(adapter, (corpus,), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"is empty\. Give a file with text in it"),
        (b" \n\t\n", r"the corpus holds no text\. Check what is in it"),
        (bytes(range(256)) * 20, r"the corpus holds no text\. Check what is in it"),
        (b"only English\n", "no new piece was found in the corpus. Give more text, or a lower --min-count"),
    ],
)
def test_a_corpus_with_nothing_in_it(model: Path, tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        run(Extend(model, (str(tmp_path / "a.txt"),), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_damaged_weights_are_named(extended: Artifact, corpus: str, tmp_path: Path) -> None:
    again = run(Extend(extended.path, (corpus,), tmp_path / "again", add=5, min_count=2))
    raw = bytearray((again.path / WEIGHTS).read_bytes())
    raw[-1] ^= 1
    (again.path / WEIGHTS).write_bytes(raw)
    with pytest.raises(UserError, match=r"model\.safetensors differs from its manifest"):
        run(Extend(again.path, (corpus,), tmp_path / "out", **FEW))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"add": -1}, "recipe: add"),
        ({"add": 0}, "there is nothing to add"),
        ({"longest": 0}, "recipe: longest"),
        ({"min_count": 0}, "recipe: min_count"),
        ({"sample_bytes": 0}, "recipe: sample_bytes"),
        ({"pad_to": 0}, "recipe: pad_to"),
    ],
)
def test_a_value_that_makes_no_sense_names_its_key(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Extend(Path("x"), **values)


def test_no_corpus_and_an_output_in_the_input(model: Path, corpus: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs text to learn from\. Give --corpus"):
        run(Extend(model, (), tmp_path / "out"))
    for out in (model, model / "inside", model.parent):
        with pytest.raises(UserError, match="overlaps the input"):
            run(Extend(model, (corpus,), out, **FEW))
    assert (model / "config.json").is_file()


@pytest.mark.parametrize("limit", [5, 30, 100, 1000])
def test_a_sample_is_spread_evenly(limit: int) -> None:
    texts = [f"{i:02d}" + "中" * 6 for i in range(50)]  # 20 bytes each
    kept = thinned(texts, limit)
    assert sum(len(text.encode()) for text in kept) <= limit
    places = [int(text[:2]) for text in kept]
    assert places == list(range(0, 50, max(np.diff(places, append=places[-1] + 1)[0], 1)))[: len(places)]
    if limit == 1000:
        assert kept == texts


def test_the_recipe_does_without_torch() -> None:
    code = "import sys, danlu.recipes.extend; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
