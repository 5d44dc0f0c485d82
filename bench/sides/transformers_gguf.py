"""A peer of gguf_import: what transformers makes of the same file. JSON in its last line.

transformers_gguf.py import FILE DIR           the file as a Hugging Face directory: peak memory
transformers_gguf.py logits FILE IDS OUT       float32 logits [T, V] of a JSON list of ids, as a NumPy file
transformers_gguf.py ids FILE TEXTS OUT        ids of a JSON list of texts, as JSON
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any


def model_of(file: Path) -> Any:
    """The model in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()


def tokenizer_of(file: Path) -> Any:
    """The tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


def main(task: str, file: Path, *given: Path) -> dict[str, Any]:
    """One task."""
    if task == "import":
        from safetensors.torch import save_model

        model = model_of(file)
        model.config.save_pretrained(given[0])
        save_model(model, given[0] / "model.safetensors")  # save_pretrained refuses: "quantized with gguf"
        tokenizer_of(file).save_pretrained(given[0])
    elif task == "ids":
        tokenizer = tokenizer_of(file)
        texts = json.loads(given[0].read_text(encoding="utf-8"))
        ids = [tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] for text in texts]
        given[1].write_text(json.dumps(ids), encoding="utf-8")
    else:
        import numpy as np
        import torch

        ids = torch.tensor([json.loads(given[0].read_text(encoding="utf-8"))])
        with torch.no_grad():
            np.save(given[1], model_of(file)(ids).logits[0].numpy())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"peak_bytes": peak}


print(json.dumps(main(sys.argv[1], *map(Path, sys.argv[2:]))))
