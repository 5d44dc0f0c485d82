"""LoRA on families beside Llama: peft opens the adapter on the base's own class, and of those with several matrices in one tensor."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from peft import PeftModel
from transformers import AutoModelForCausalLM

from danlu.base.errors import UserError
from danlu.model.adapters.files import attach, save_adapter
from danlu.model.adapters.loading import open_adapter
from danlu.model.adapters.lora import adapted, add_lora, linear_layers
from danlu.model.adapters.settings import Lora
from danlu.model.hub import save_model

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # peft's own
IDS = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(0))
QWEN3: dict[str, Any] = {"qk_norm": True}
GEMMA3: dict[str, Any] = {
    **{"activation": "geglu", "norm_place": "sandwich", "norm_plus_one": True, "qk_norm": True},
    **{"embedding_multiplier": 32**0.5, "window": 5, "global_every": 2},
}
GPT2: dict[str, Any] = {"norm": "layernorm", "positions": "learned", "bias": True, "activation": "gelu", "kv_heads": 4}


@pytest.mark.parametrize(("changes", "kind"), [(QWEN3, "Qwen3ForCausalLM"), (GEMMA3, "Gemma3ForCausalLM")])
def test_peft_opens_it_on_the_familys_own_class(tiny: Tiny, changes: dict[str, Any], kind: str, tmp_path: Path) -> None:
    model = tiny(**changes)
    save_model(model, tmp_path / "base", {"pad_token_id": 0})
    adapter = attach(model, Lora(rank=2, alpha=4), tmp_path / "base", 0)
    with torch.no_grad():
        for layer in adapted(model).values():
            layer.lora_B.copy_(torch.randn(layer.lora_B.shape, generator=torch.Generator().manual_seed(1)))
    save_adapter(model, adapter, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", attn_implementation="eager")
    assert type(base).__name__ == kind
    theirs = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        expected = model.eval()(IDS)
        torch.testing.assert_close(theirs(input_ids=IDS).logits, expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(open_adapter(tmp_path / "adapter")(IDS), expected)


def test_a_fused_family_is_for_lora_alone(tiny: Tiny) -> None:
    assert len(add_lora(tiny(**GPT2), Lora(rank=2), 0).scales) == 8  # four tensors in each of two blocks
    with pytest.raises(UserError, match=r"a gpt2 model's files keep several matrices as one.*Use LoRA"):
        linear_layers(tiny(**GPT2))
