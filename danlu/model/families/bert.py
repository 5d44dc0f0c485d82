"""BERT (Devlin et al. 2019), the masked language model: post-norm, learned positions, a head with a layer of its own.

The first of its two kinds of token is everybody's; the table is kept whole. What BERT has for guessing whether one
sentence follows another, the pooler and a classifier, is no part of a masked language model: it is not taken over,
and loading says so.
"""

from pathlib import Path

from danlu.model.config import Activation, ModelConfig
from danlu.model.families.names import Names, Tensors, load_names, save_names
from danlu.model.families.shape import MAX_LENGTH, SHAPE, Values, activation, neutral, only, square

TYPES = ("bert",)
LEFT_OUT = r"(^|\.)(pooler\.dense|cls\.seq_relationship)\."
BODY: Names = {  # RoBERTa's as well
    "embed": "embeddings.word_embeddings",
    "positions.table": "embeddings.position_embeddings",
    "type_table": "embeddings.token_type_embeddings",
    "embed_norm": "embeddings.LayerNorm",
    "blocks.{}.attention.q": "encoder.layer.{}.attention.self.query",
    "blocks.{}.attention.k": "encoder.layer.{}.attention.self.key",
    "blocks.{}.attention.v": "encoder.layer.{}.attention.self.value",
    "blocks.{}.attention.o": "encoder.layer.{}.attention.output.dense",
    "blocks.{}.attention_norm": "encoder.layer.{}.attention.output.LayerNorm",
    "blocks.{}.feedforward.up": "encoder.layer.{}.intermediate.dense",
    "blocks.{}.feedforward.down": "encoder.layer.{}.output.dense",
    "blocks.{}.feedforward_norm": "encoder.layer.{}.output.LayerNorm",
}
NAMES: Names = {ours: f"bert.{theirs}" for ours, theirs in BODY.items()} | {
    "transform.linear": "cls.predictions.transform.dense",
    "transform.norm": "cls.predictions.transform.LayerNorm",
    "head": "cls.predictions.decoder",
    "head_bias.bias": "cls.predictions.bias",
}
SAME = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
ALWAYS: Values = {
    **{"norm": "layernorm", "norm_place": "post", "embedding_norm": True, "positions": "learned", "causal": False},
    **{"bias": True, "head_transform": True, "head_bias": True},
}
FREE = (*SHAPE, "activation", "token_types", "dropout")
ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu_exact", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu"}
WRITTEN = {"gelu_exact": "gelu", "gelu": "gelu_new"}
DEFAULTS: Values = {
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "tie_word_embeddings": True,
}


def read(values: Values, where: Path) -> ModelConfig:
    """``config.json`` → ours. Dropout of the scores is a matter of training and is not taken over."""
    return ModelConfig(**read_encoder(DEFAULTS | values, where))


def read_encoder(values: Values, where: Path) -> Values:
    """`ModelConfig`'s arguments; RoBERTa spells them alike."""
    neutral(values, where, is_decoder=False, add_cross_attention=False, position_embedding_type="absolute")
    neutral(values, where, tie_word_embeddings=True)  # else the head has two biases, one of which nothing reads
    width, heads = values["hidden_size"], values["num_attention_heads"]
    return {
        "vocab_size": values["vocab_size"],
        "layers": values["num_hidden_layers"],
        "width": width,
        "heads": heads,
        "kv_heads": heads,
        "head_width": width // heads,
        "feedforward": values["intermediate_size"],
        "norm_epsilon": values["layer_norm_eps"],
        "max_length": values[MAX_LENGTH],
        "activation": activation(values, where, "hidden_act", ACTIVATIONS),
        "token_types": values["type_vocab_size"],
        "dropout": float(values["hidden_dropout_prob"]),
        **ALWAYS,
    }


def write(config: ModelConfig) -> Values | None:
    """Ours → ``config.json``, where BERT's class computes exactly this."""
    if not only(config, FREE, **ALWAYS):
        return None
    return write_encoder(config, "bert", "BertForMaskedLM")


def write_encoder(config: ModelConfig, kind: str, architecture: str) -> Values | None:
    """The other way. Their classes cannot be without a table of kinds."""
    if not square(config) or config.activation not in WRITTEN or not (config.token_types and config.tied):
        return None
    return {
        "model_type": kind,
        "architectures": [architecture],
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "intermediate_size": config.feedforward,
        "hidden_act": WRITTEN[config.activation],
        "layer_norm_eps": config.norm_epsilon,
        MAX_LENGTH: config.max_length,
        "type_vocab_size": config.token_types,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "tie_word_embeddings": True,
    }


def load(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Their names → ours."""
    return load_names(tensors, NAMES, "bert.", LEFT_OUT, SAME)


def save(tensors: Tensors, config: ModelConfig) -> Tensors:
    """Our names → theirs."""
    return save_names(tensors, NAMES)
