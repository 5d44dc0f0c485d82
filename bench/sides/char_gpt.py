"""The peer's side of char: a GPT as nanoGPT shapes it for characters on a CPU, in plain torch, written for this.

    python char_gpt.py WORK.json

Radford et al. 2019 as nanoGPT settles it: learned positions, LayerNorm and linear layers without biases, GELU, tied
embeddings, weights drawn with 0.02 and those that write to the residual stream with 0.02 / √(2 x layers). The numbers
are of nanoGPT's config/train_shakespeare_char.py with its README's flags for a CPU: batch 12, context 64, AdamW at
1e-3 with β 0.9 and 0.99, decay 0.1 on matrices, clipping at 1, 100 steps of warm-up, cosine down to 1e-4 over the run,
no dropout, float32. Imports nothing of Danlu.
"""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LR, LEAST, WARM_UP, DECAY, CLIP, AT_ONCE = 1e-3, 1e-4, 100, 0.1, 1.0, 32


class Block(nn.Module):
    """Attention, then two linear layers, each on normalised input and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, T, D] -> [B, T, D]."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm_1(x)).chunk(3, -1)
        )
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norm_2(x))))


class Gpt(nn.Module):
    """ids: [B, T] -> logits: [B, T, V]."""

    def __init__(self, vocabulary: int, layers: int, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if last else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """The output layer is the embedding's matrix."""
        x = self.embed(ids) + self.place(torch.arange(ids.shape[1]))
        return functional.linear(self.norm(self.blocks(x)), self.embed.weight)


def rate(step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0."""
    if step < WARM_UP:
        return LR * (step + 1) / (WARM_UP + 1)
    return LEAST + (LR - LEAST) * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(steps - WARM_UP, 1)))


@torch.no_grad()
def nats(model: Gpt, rows: np.ndarray) -> float:
    """Of every character but the first of each of the held-out ``rows`` [N, E + 1], together."""
    total = 0.0
    for start in range(0, len(rows), AT_ONCE):
        ids = torch.from_numpy(rows[start : start + AT_ONCE].astype(np.int64))
        logits = model(ids[:, :-1])
        total += float(functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"))
    return total


def main() -> None:
    """Train for all steps, measure, tell."""
    work: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(work["threads"])
    torch.manual_seed(work["seed"])
    stream, held_out = np.load(work["stream"]), np.load(work["held_out"])
    shape, length, rows, steps = work["model"], work["length"], work["rows"], work["steps"]
    model = Gpt(shape["vocab_size"], shape["layers"], shape["width"], shape["heads"], length)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.99))
    draw, every = np.random.default_rng(work["seed"]), max(steps // work["evaluations"], 1)
    seconds, losses, measured = 0.0, list[float](), list[list[float]]()
    for step in range(steps):
        began = time.perf_counter()
        starts = draw.integers(0, len(stream) - length, rows)
        ids = torch.from_numpy(np.stack([stream[start : start + length + 1] for start in starts]).astype(np.int64))
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        loss = functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        seconds += time.perf_counter() - began
        if step + 1 == steps or (step + 1) % every == 0:
            measured.append([step + 1, seconds, nats(model, held_out)])
    found = {"steps": steps, "seconds": seconds, "losses": losses, "measured": measured, "versions": {},
             "parameters": sum(p.numel() for p in model.parameters()), "tokens": steps * rows * length}  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
