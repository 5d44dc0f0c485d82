"""Danlu's own model type for transformers: import this module and ``AutoModelForCausalLM`` knows it.

For combinations of switches that no transformers class expresses. No remote code: the class is here, in an
installed package. It runs whole sequences without a cache, which is right for evaluation and slow for long
generation; `danlu.generate` has the cache.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from danlu.base.errors import MissingExtra
from danlu.model.config import ModelConfig
from danlu.model.hub import RENAMED, from_hub_config
from danlu.model.positions import Positions
from danlu.model.transformer import Transformer

try:
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutput
except ImportError:
    raise MissingExtra("transformers", "hub", "danlu.model.hf") from None


class DanluConfig(PretrainedConfig):  # type: ignore[misc]
    """`ModelConfig`'s fields as a transformers configuration."""

    model_type = "danlu"

    def __init__(self, **values: Any) -> None:
        for name in (RENAMED.get(name, name) for name in ModelConfig.__dataclass_fields__):
            if name in values:
                setattr(self, name, values.pop(name))
        super().__init__(**values)

    def native(self) -> ModelConfig:
        """The `ModelConfig` itself."""
        return from_hub_config(self.to_dict(), Path("config.json"))


class DanluForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """`Transformer` behind transformers' interface; parameter names are the same."""

    config_class = DanluConfig

    def __init__(self, config: DanluConfig) -> None:
        super().__init__(config)
        native = Transformer(config.native())
        for name, child in native.named_children():
            setattr(self, name, child)
        self._native = [native]  # in a list, so that its parameters are not registered twice
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        """Weights are there; tables are lost when transformers makes a model without memory."""
        if isinstance(module, Positions):
            module.fill()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> CausalLMOutput:
        """input_ids, attention_mask: [B, T] -> logits [B, T, V]."""
        segments = None if attention_mask is None else attention_mask.int() - 1
        return CausalLMOutput(logits=self._native[0](input_ids, segments))

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """``generate`` asks, and without this makes a cache that nothing here would fill."""
        return False

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """Whole sequences, no cache."""
        return {"input_ids": input_ids, "attention_mask": attention_mask}


AutoConfig.register("danlu", DanluConfig, exist_ok=True)
AutoModelForCausalLM.register(DanluConfig, DanluForCausalLM, exist_ok=True)
