"""RoBERTa (Liu et al. 2019): BERT trained for longer, one kind of token, positions counted from the padding's id and 1.

Its table of positions has rows before the first that is read; they are kept, so that what is written is what was read.
"""

from pathlib import Path

from danlu.base.errors import UserError
from danlu.model.config import ModelConfig
from danlu.model.families import bert
from danlu.model.families.names import Names, Tensors, load_names, save_names
from danlu.model.families.shape import MAX_LENGTH, Values, only

TYPES = ("roberta",)
LEFT_OUT = r"(^|\.)pooler\.dense\."
NAMES: Names = {ours: f"roberta.{theirs}" for ours, theirs in bert.BODY.items()} | {
    "transform.linear": "lm_head.dense",
    "transform.norm": "lm_head.layer_norm",
    "head": "lm_head.decoder",
    "head_bias.bias": "lm_head.bias",
}
SAME = {"lm_head.decoder.bias": "lm_head.bias"}
DEFAULTS: Values = bert.DEFAULTS | {"pad_token_id": 1}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours. The head's activation is always gelu, so another in the blocks is refused."""
    values = DEFAULTS | values
    if values["hidden_act"] != "gelu":
        raise UserError(f"activation '{values['hidden_act']}' is not supported in a roberta model", where=where)
    first = values["pad_token_id"] + 1
    shape = bert.read_encoder(values, where) | {"max_length": values[MAX_LENGTH] - first, "position_offset": first}
    return ModelConfig(**shape)


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where RoBERTa's class computes exactly this."""
    fits = only(config, (*bert.FREE, "position_offset"), **bert.ALWAYS)
    if not fits or not config.position_offset or config.activation != "gelu_exact":
        return None
    first = config.position_offset
    values = bert.write_encoder(config, "roberta", "RobertaForMaskedLM")
    return values and values | {MAX_LENGTH: config.max_length + first, "pad_token_id": first - 1}


def load(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Their names → ours."""
    return load_names(tensors, NAMES, "roberta.", LEFT_OUT, SAME)


def save(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Our names → theirs."""
    return save_names(tensors, NAMES)
