"""Published shapes have the parameters that are published, and open as the class they are known by."""

import pytest
import torch

from danlu.base.errors import UserError
from danlu.model.hub import to_hub_config
from danlu.recipes.shapes import SHAPES, preset

# Counts of the weights on the Hugging Face hub; of nanochat, nanoGPT and llama2.c's stories, whose pages round them, by
# their own formulas.
PUBLISHED = {
    "distilgpt2": 81_912_576,
    "gpt2-124m": 124_439_808,
    "gpt2-355m": 354_823_168,
    "gpt2-774m": 774_030_080,
    "gpt2-1.5b": 1_557_611_200,
    "llama-7b": 6_738_415_616,
    "llama2-7b": 6_738_415_616,
    "llama3-8b": 8_030_261_248,
    "llama3.2-1b": 1_235_814_400,
    "minimind-64m": 63_912_192,
    "mistral-7b": 7_248_023_552,
    "nanochat-d12": 185_597_952,
    "nanochat-d20": 560_988_160,
    "nanochat-d32": 1_879_048_192,
    "nanogpt-char": 10_646_784 + 256 * 384,  # nanoGPT counts without the positions
    "pythia-14m": 14_067_712,
    "pythia-70m": 70_426_624,
    "pythia-160m": 162_322_944,
    "qwen2.5-0.5b": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "tinyllama-1.1b": 1_100_048_384,
    "tinystories-15m": 15_191_712,
    "tinystories-42m": 41_689_600,
    "tinystories-110m": 109_529_856,
}

OWN = {"nanochat-d12", "nanochat-d20", "nanochat-d32", "nanogpt-char"}  # saved as Danlu's


@pytest.mark.parametrize("name", SHAPES)
def test_the_parameters_are_those_published(name: str) -> None:
    assert preset(name).parameters() == PUBLISHED[name]
    assert SHAPES[name].source


@pytest.mark.parametrize("name", SHAPES)
def test_transformers_counts_the_same(name: str) -> None:
    """Its class, made from the config.json that Danlu writes, on no device."""
    transformers = pytest.importorskip("transformers")
    values = to_hub_config(preset(name), {})
    kind = values.pop("model_type")
    assert (kind == "danlu") == (name in OWN)
    if name in OWN:
        pytest.skip("transformers has no class with such norms that Danlu writes")
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **values))
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[name]


def test_vocabulary_and_length_can_be_ones_own() -> None:
    config = preset("smollm2-135m", 8192, 512)
    assert (config.vocab_size, config.max_length, config.layers, config.rope_theta) == (8192, 512, 30, 100_000.0)
    assert preset("smollm2-135m", 8192).max_length == 8192


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'gpt2-124m'"):
        preset("gpt2-125m")
