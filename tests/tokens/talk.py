"""Conversations and tokenizers for the tests of chat templates."""

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from danlu.tokens.tokenizer import Tokenizer

CORPUS = [
    "[INST] Who likes the fox? [/INST] The fox likes the dog. ### Instruction: Say it. ### Response: It is said.",
    "话说天下大势，分久必合，合久必分。\n\nuser assistant system\n<<SYS>> <</SYS>>",
] * 20

SINGLE = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "the fox"}]
LONG = [
    {"role": "system", "content": " Be brief.\n"},
    {"role": "user", "content": "  天下大势？\n\nTell me. "},
    {"role": "assistant", "content": " 分久必合。\n```\nx = 1\n```\n"},
    {"role": "user", "content": "(why)"},
    {"role": "assistant", "content": "(because)\n"},
    {"role": "user", "content": "12 + 30?"},
    {"role": "assistant", "content": "42"},
]
CHATS = [SINGLE, LONG, LONG[1:], LONG[1:5]]
TOOLS = [
    {"type": "function", "function": {"name": "sum", "description": "加法", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "time", "description": "the time's <b>", "parameters": {}}},
]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A call as OpenAI writes it, with values for arguments."""
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


CALLING = [
    {"role": "user", "content": "12 + 30, and the time?"},
    {"role": "assistant", "content": "", "tool_calls": [call("sum", a=12, b=[30, "三十"]), call("time")]},
    {"role": "tool", "content": ' {"sum": 42}\n'},
    {"role": "tool", "content": "noon"},
    {"role": "assistant", "content": "42, at noon."},
    {"role": "user", "content": "and at one?"},
    {"role": "assistant", "content": "Let me look.", "tool_calls": [call("time", at=1)]},
    {"role": "tool", "content": "one"},
    {"role": "assistant", "content": "One."},
]


def spaced(special: tuple[str, ...] = ()) -> Tokenizer:
    """A tokenizer of Llama 2's kind: ▁ for spaces, one at the beginning, bytes for what it does not know; no padding."""
    core = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
    ])  # fmt: skip
    names = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[*names, *(f"<0x{byte:02X}>" for byte in range(256))], show_progress=False
    )
    core.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # SentencePiece learns no piece across a space
    core.train_from_iterator(CORPUS, trainer)
    core.pre_tokenizer = None  # type: ignore[assignment]
    made = tokenizers.Tokenizer.from_str(core.to_str())
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    plain = Tokenizer(made, {**config, "clean_up_tokenization_spaces": False})
    return plain.with_special(special) if special else plain


def reference(tokenizer: Tokenizer, folder: Path) -> Any:
    """The same tokenizer as transformers opens it."""
    from transformers import AutoTokenizer

    tokenizer.save(folder)
    return AutoTokenizer.from_pretrained(folder)


def theirs(opened: Any, template: str, messages: Any, tools: Any = None, *, prompt: bool = False) -> Any:
    """What ``apply_chat_template`` makes of a conversation, with its assistant mask where it is no prompt."""
    return opened.apply_chat_template(
        messages, chat_template=template, tools=tools or None, tokenize=True, return_dict=True, add_generation_prompt=prompt,
        return_assistant_tokens_mask=not prompt,
    )  # fmt: skip
