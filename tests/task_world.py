"""Tiny models and records for tasks with labels: an encoder and a decoder whose words are whole tokens."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as Core
from tokenizers import models, pre_tokenizers, processors

from danlu.base.seed import derive
from danlu.model.config import ModelConfig
from danlu.model.hub import save_model
from danlu.model.transformer import Transformer
from danlu.tokens.tokenizer import Tokenizer

PEOPLE = ("Anna", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana")
PLACES = ("Rome", "Oslo", "Lima", "Cairo", "Delhi", "Quito", "Bern", "Seoul")
GOOD = ("good", "fine", "great", "lovely")
BAD = ("bad", "poor", "awful", "dull")
PLAIN = ("the", "tea", "in", "was", "saw", "and", "who", "where", "is", "?", ".", "very", "book", "rain", "walks", "to")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT: dict[str, Any] = {
    **{"norm": "layernorm", "norm_place": "post", "embedding_norm": True, "positions": "learned", "causal": False},
    **{"bias": True, "head_transform": True, "head_bias": True, "activation": "gelu_exact", "token_types": 2},
    **{"heads": 4, "kv_heads": 4},
}


def tokenizer(*, encoder: bool) -> Tokenizer:
    """Whole words; an encoder's puts [CLS] and [SEP] around them as BERT's does, a decoder's nothing."""
    words = [*SPECIAL, *PEOPLE, *PLACES, *GOOD, *BAD, *PLAIN]
    core = Core(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.add_special_tokens(list(SPECIAL))
    if encoder:
        core.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "tokenizer_class": "PreTrainedTokenizerFast"}
    kinds = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"} if encoder else {"eos_token": "[SEP]"}
    return Tokenizer(core, {**names, **kinds})


def write_model(path: Path, *, encoder: bool, **changes: Any) -> Path:
    """A directory with a model in which nothing is zero, and its tokenizer."""
    words = tokenizer(encoder=encoder)
    shape = {"layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "head_width": 8, "feedforward": 48, "max_length": 64}
    model = Transformer(
        ModelConfig(**{**shape, "vocab_size": words.vocab_size, **(BERT if encoder else {}), **changes})
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = torch.Generator().manual_seed(derive(0, name))
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * parameter.shape[1] ** -0.5)
    tokens = {"bos_token_id": words.bos_id, "eos_token_id": words.eos_id, "pad_token_id": words.pad_id}
    save_model(model, path, tokens)
    words.save(path)
    return path


def write(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def reviews(count: int = 96, seed: int = 1) -> list[dict[str, Any]]:
    """What a text is called by: the one word in it that judges."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for n in range(count):
        words = [PLAIN[i] for i in torch.randint(len(PLAIN), (3 + n % 4,), generator=draw).tolist()]
        good = n % 2 == 0
        words.insert(n % len(words), (GOOD if good else BAD)[n // 2 % 4])
        found.append({"text": " ".join(words), "label": "pos" if good else "neg"})
    return found


def sentences(count: int = 96) -> list[dict[str, Any]]:
    """People of one name or two, and places, in sentences."""
    found = []
    for n in range(count):
        first, second, place = PEOPLE[n % 8], PEOPLE[(n * 3 + 1) % 8], PLACES[(n * 5 + n // 8) % 8]
        verb = ("saw", "and", "was")[n % 3]
        words, tags = [first, second, verb, "the", "book", "in", place], ["B-PER", "I-PER", "O", "O", "O", "O", "B-LOC"]
        if n % 2:
            words, tags = words[1:], ["B-PER", *tags[2:]]
        found.append({"tokens": words, "tags": tags})
    return found


def questions(count: int = 96) -> list[dict[str, Any]]:
    """Who, and where: what answers stands in the context among other words."""
    found = []
    for n in range(count):
        person, place = PEOPLE[n % 8], PLACES[(n * 3 + n // 8) % 8]
        context = f"{'the rain and ' * (n % 3)}{person} walks {'very ' * (n % 2)}to {place} ."
        asked, answer = (("who walks ?", person), ("where to ?", place))[n // 4 % 2]
        answers = {"text": [answer], "answer_start": [context.index(answer)]}
        found.append({"question": asked, "context": context, "answers": answers})
    return found
