"""A world small enough to walk the whole road in a test: sentences about who likes what."""

import json
from pathlib import Path

import pytest

from danlu.recipes.chain import Chain

PEOPLE = ("Anna", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ida", "Jon")
THINGS = ("tea", "rice", "maps", "rain", "books", "chess", "ships", "clay", "bells", "kites", "诗", "茶")
TUNING = ("pretrain.batch_tokens=512", "sft.batch_tokens=512", "sft.epochs=4", "dpo.epochs=2", "evaluation.answers=10")


def write_world(folder: Path) -> tuple[Path, Path, Path]:
    """Text files, conversations, preference pairs."""
    text = folder / "text"
    text.mkdir(parents=True)
    for person in PEOPLE:
        lines = [f"{person} likes {thing}. {thing} is liked by {person}." for thing in THINGS]
        for number in range(4):
            (text / f"{person}{number}.txt").write_text("\n".join(lines[number * 3 :] + lines), encoding="utf-8")
    chats, pairs = folder / "chats.jsonl", folder / "pairs.jsonl"
    with open(chats, "w", encoding="utf-8") as handle:
        for person in PEOPLE:
            for thing in THINGS:
                ask, reply = f"Who likes {thing}, {person}?", f"{person} likes {thing}."
                turns = [{"role": "user", "content": ask}, {"role": "assistant", "content": reply}]
                handle.write(json.dumps({"messages": turns}, ensure_ascii=False) + "\n")
    with open(pairs, "w", encoding="utf-8") as handle:
        for person in PEOPLE:
            for thing in THINGS[:6]:
                pair = {
                    "prompt": f"Does {person} like {thing}?",
                    "chosen": "Yes.",
                    "rejected": f"{thing} {thing} {thing}",
                }
                handle.write(json.dumps(pair, ensure_ascii=False) + "\n")
    return text, chats, pairs


def small_chain(folder: Path, out: Path, **changes: object) -> Chain:
    """A chain over `write_world` that takes a few seconds."""
    text, chats, pairs = folder / "text", folder / "chats.jsonl", folder / "pairs.jsonl"
    values: dict[str, object] = {
        "text": (str(text),),
        "chats": (str(chats),),
        "preferences": (str(pairs),),
        "size": "100K",
        "vocab_size": 400,
        "length": 64,
        "out": out,
        "set": (*TUNING, "clean.validation_share=0.1"),
        "precision": "fp32",
    }
    return Chain(**values | changes)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `write_world`."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder


@pytest.fixture(scope="session")
def made(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain that has been walked to its end; tests must not change it."""
    from danlu.recipes import chain

    out = tmp_path_factory.mktemp("made") / "run"
    chain.run(small_chain(world, out))
    return out
