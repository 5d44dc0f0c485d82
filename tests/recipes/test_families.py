"""Training on models that are no Llamas, native and foreign: what comes out is what went in, trained."""

from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from danlu.model.hub import load_model, read_config
from danlu.objectives.settings import Masking
from danlu.recipes import clean, tokenize
from danlu.recipes.clean import Clean
from danlu.recipes.evaluation import Evaluate
from danlu.recipes.evaluation import run as evaluate
from danlu.recipes.pretrain import Pretrain, run
from danlu.recipes.tokenize import Tokenize
from danlu.tokens.tokenizer import Tokenizer

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2ForCausalLM", {**SHAPE, "intermediate_size": 48, "num_key_value_heads": 2, "sliding_window": 48,
                                   "use_sliding_window": True, "max_window_layers": 0}),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "opt": ("OPTForCausalLM", {**SHAPE, "ffn_dim": 48, "word_embed_proj_dim": 32}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_another_family_is_trained_on(kind: str, made: Path, tmp_path: Path) -> None:
    name, values = KINDS[kind]
    tokenizer = Tokenizer.load(made / "tokenizer")
    tokens = {"pad_token_id": tokenizer.pad_id, "bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    torch.manual_seed(0)
    shape = getattr(transformers, name.removesuffix("LMHeadModel").removesuffix("ForCausalLM") + "Config")
    network = getattr(transformers, name)(shape(vocab_size=tokenizer.vocab_size, **values, **tokens))
    network.save_pretrained(tmp_path / "base")
    tokenizer.save(tmp_path / "base")
    recipe = Pretrain(
        data=made / "tokens", out=tmp_path / "out", from_model=tmp_path / "base", tokens="256", length=32,
        batch_tokens=128, precision="fp32", evaluations=1,
    )  # fmt: skip
    trained = run(recipe)
    assert trained.metrics["steps"] == 2
    opened = type(network).from_pretrained(trained.path)
    assert opened.config.model_type == kind
    assert any(not torch.equal(a, b) for a, b in zip(opened.parameters(), network.parameters(), strict=True))
    assert read_config(trained.path) == read_config(tmp_path / "base")
    report = evaluate(
        Evaluate(model=trained.path, text=made / "clean", out=tmp_path / "eval", xz=False, precision="fp32")
    )
    assert report.metrics
    model = load_model(trained.path)
    prompt = [tokenizer.bos_id, *tokenizer.encode("The")]
    ours = Engine(model, ()).generate([prompt], Sampling(max_new_tokens=4, temperature=0.0))[0].ids
    theirs = opened.eval().generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=4, eos_token_id=None)
    assert ours == theirs[0, len(prompt) :].tolist()


def bert(folder: Path) -> transformers.BertForMaskedLM:
    """A directory as BERT's are: WordPiece whose documents stand between [CLS] and [SEP], and no eos_token named."""
    core = tokenizers.BertWordPieceTokenizer()
    core.train_from_iterator(["Anna likes tea and Ben likes maps."] * 20, vocab_size=80)
    marks = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    transformers.PreTrainedTokenizerFast(tokenizer_object=core._tokenizer, **marks).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {**SHAPE, "intermediate_size": 48, "vocab_size": core.get_vocab_size()}
    network = transformers.BertForMaskedLM(transformers.BertConfig(**shape))
    network.save_pretrained(folder)
    return network


def test_bert_is_trained_on_with_its_own_tokenizer(tmp_path: Path) -> None:
    network, text = bert(tmp_path / "bert"), tmp_path / "text"
    text.mkdir()
    for number in range(40):
        (text / f"{number}.txt").write_text(f"Anna likes tea and Ben likes maps, {number}.", encoding="utf-8")
    cleaned = clean.run(Clean((str(text),), out=tmp_path / "clean", validation_share=0.1, steps=())).path
    data = tokenize.run(Tokenize(data=cleaned, tokenizer=tmp_path / "bert", out=tmp_path / "tokens")).path
    tokenizer = Tokenizer.load(tmp_path / "bert")
    assert [tokenizer.token(i) for i in (tokenizer.bos_id, tokenizer.eos_id)] == ["[CLS]", "[SEP]"]
    recipe = Pretrain(
        data=data, out=tmp_path / "out", from_model=tmp_path / "bert", objective="masked", masking=Masking("word"),
        tokens="256", length=32, batch_tokens=128, precision="fp32", evaluations=1,
    )  # fmt: skip
    opened, said = transformers.BertForMaskedLM.from_pretrained(run(recipe).path, output_loading_info=True)
    assert not said["missing_keys"]
    assert opened.config.vocab_size == network.config.vocab_size  # [MASK] was there
    assert any(not torch.equal(a, b) for a, b in zip(opened.parameters(), network.parameters(), strict=True))
