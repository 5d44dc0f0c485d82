"""The rooms of the house, in the one order that counts.

It is the order in which a person thinks about a language model, in which data flows, and of imports:
a room imports only rooms above it. Tests, the README table, the package docstring and ``danlu map``
all read this list. Caps are lines of code, hard, counted by a test.
"""

from typing import NamedTuple


class Room(NamedTuple):
    """One folder: its name, its cap in lines, what flows in and out, and what stands in it."""

    name: str
    cap: int
    flow: str
    holds: str


RIVER = (
    Room(
        "base",
        1100,
        "settings, devices, files",
        "recipes, artifacts, devices, seeds, atomic files, errors, progress",
    ),
    Room(
        "text",
        15600,
        "raw files → clean documents",
        "reading, extraction, filters, privacy, deduplication, decontamination, mixing",
    ),
    Room(
        "tokens",
        5800,
        "documents → ids → batches",
        "tokenizer training, the one chat renderer, shards, packing, batches",
    ),
    Room(
        "model",
        9600,
        "ids → hidden → logits",
        "the transformer and its switches, caches, Hugging Face directories",
    ),
    Room("generate", 1500, "logits → text", "batched sampling with a key-value cache"),
    Room("objectives", 1900, "outputs → one number", "next_token, ahead, masked, dpo, tasks with labels, regularisers"),
    Room(
        "train",
        2400,
        "batches → weights",
        "the loop, exact checkpoints, schedules, precision, optimisers, hooks",
    ),
    Room(
        "evaluate",
        2200,
        "weights → is it good?",
        "perplexity, bits per byte, stop rate, preference accuracy, report",
    ),
    Room(
        "compress", 1300, "weights → fewer bits", "four-bit codes chosen together (GPTQ), by a walk through the blocks"
    ),
    Room("plan", 1000, "a size → what it needs", "scaling laws and their sources, fits with intervals"),
    Room("recipes", 9600, "wires everything", "one file a stage, presets, the chain"),
)


def table() -> str:
    """The rooms as a Markdown table, for the README and ``danlu map``."""
    rows = ["| room | flow | holds |", "|---|---|---|"]
    rows += [f"| `danlu/{room.name}/` | {room.flow} | {room.holds} |" for room in RIVER]
    return "\n".join(rows)


def lines() -> str:
    """The rooms as plain text, for the package docstring."""
    return "\n".join(f"{room.name:<12}{room.flow}: {room.holds}" for room in RIVER)
