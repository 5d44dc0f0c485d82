"""The directory that Danlu writes, opened in transformers: the same logits, and the same ids from the chat template.

    make bench NAME=hub_parity       (ARGS="--model DIR" for another than runs/demo/model)

Logits in fp32 over held-out questions, texts of every length and random ids; ids over the conversations that
fine-tuning held out, where they can be found, and a few awkward ones.
"""

import json
import sys
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import ROOT, Record, options, write

AIM = 1e-4
AWKWARD = [
    [{"role": "user", "content": "  spaces around  "}, {"role": "assistant", "content": "\n\nlines\n"}],
    [{"role": "system", "content": "你是助手。"}, {"role": "user", "content": "你好"}],
    [{"role": "user", "content": "emoji 🙂 and e\u0301"}, {"role": "assistant", "content": "1234567890"}],
    [{"role": "user", "content": ""}, {"role": "assistant", "content": "nothing"}, {"role": "user", "content": "so?"}],
]
MOST = 200  # conversations


def tiny(folder: Path) -> Path:
    """A model directory for a quick look."""
    from danlu.model.config import ModelConfig
    from danlu.model.transformer import Transformer
    from danlu.recipes.training import save_chat_model
    from danlu.tokens.training.train import train_bpe

    tokenizer = train_bpe(["a few words of text to learn from"] * 4, 300)
    shape = {"layers": 2, "width": 32, "heads": 2, "kv_heads": 1, "head_width": 16, "feedforward": 64}
    model = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, max_length=128, **shape))
    save_chat_model(model, tokenizer, folder)
    return folder


def conversations(model: Path) -> list[list[dict[str, str]]]:
    """Those that fine-tuning held out, next to the model, and the awkward ones."""
    file = model.parent / "sft" / "heldout.jsonl"
    held_out: list[Any] = []
    if file.is_file():
        held_out = [json.loads(line)["messages"] for line in file.read_text(encoding="utf-8").splitlines()]
    return [*AWKWARD, *held_out[:MOST]]


@torch.no_grad()
def logits_apart(path: Path, texts: list[list[int]]) -> float:
    """The largest difference of any logit."""
    from transformers import AutoModelForCausalLM

    from danlu.model.hub import load_model

    ours = load_model(path).eval()
    theirs = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    worst = 0.0
    for ids in texts:
        row = torch.tensor([ids[: ours.config.max_length]])
        worst = max(worst, float((ours(row) - theirs(row).logits).abs().max()))
    return worst


def same_ids(path: Path, chats: list[list[dict[str, str]]]) -> tuple[int, list[list[int]]]:
    """How many conversations have equal ids, and our ids of all of them."""
    from transformers import AutoTokenizer

    from danlu.tokens.chat import render
    from danlu.tokens.tokenizer import Tokenizer

    ours, theirs = Tokenizer.load(path), AutoTokenizer.from_pretrained(path)
    equal, texts = 0, []
    for chat in chats:
        ask = chat[-1]["role"] != "assistant"
        texts.append(render(ours, chat, add_generation_prompt=ask).ids)
        found = theirs.apply_chat_template(chat, add_generation_prompt=ask, tokenize=True, return_dict=True)
        equal += list(found["input_ids"]) == texts[-1]
    return equal, texts


def main() -> None:
    """Compare and write."""
    given = options(__doc__, ("--model", {"type": Path, "default": ROOT / "runs/demo/model", "help": "a directory"}))
    with TemporaryDirectory() as folder:
        path = tiny(Path(folder)) if given.quick else given.model
        if not (path / "config.json").is_file():
            sys.exit(f"There is no model in {path}. Make one with `make demo`, or name another with --model.")
        chats = conversations(path)
        equal, texts = same_ids(path, chats)
        shape = json.loads((path / "config.json").read_text(encoding="utf-8"))
        longest, vocabulary = shape["max_position_embeddings"], shape["vocab_size"]
        draw = torch.Generator().manual_seed(0)
        texts += [torch.randint(vocabulary, (n,), generator=draw).tolist() for n in (1, 2, 31, longest)]
        apart = logits_apart(path, texts)
    what, aim = f"largest difference of a logit, fp32, {len(texts)} texts", f"the aim: at most {AIM:g}"
    records = [
        Record(what, aim, apart, AIM, "logit", "less", runs=len(texts)),
        Record("conversations with the same ids", "all", equal, len(chats), "conversations", "more", runs=len(chats)),
    ]
    write("hub_parity", records, peers={"transformers": metadata.version("transformers")}, quick=given.quick)


if __name__ == "__main__":
    main()
