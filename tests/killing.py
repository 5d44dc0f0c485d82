"""Killing a training run again and again: `survive` proves that what a run leaves does not depend on having lived.

Shared by the tests, with a few kills, and by ``bench/kill.py``, with a hundred. Everything goes through the real
command in a process group of its own, ended by SIGKILL, which nothing can catch. Some kills come at any moment,
the start of the process included; some at a random moment after the run first changed its directory; some are
aimed at a checkpoint while it is being written.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TAKEN_UP = "taking up at step"
DANLU = (sys.executable, "-m", "danlu")
LOOK_SECONDS = 0.005  # between two looks at a run's directory
START_SHARE, SAVE_SHARE = 0.15, 0.35  # of the kills: at any moment from the start on; during a save
START_SECONDS, SAVE_SECONDS = 3.0, 0.015  # the start of Python and torch; a save of a tiny model, measured 0.019
WORDS = [
    "fire",
    "water",
    "stone",
    "cloud",
    "river",
    "mountain",
    "copper",
    "silver",
    "jade",
    "lamp",
    "door",
    "garden",
    "heron",
    "winter",
    "letter",
    "song",
]


@dataclass(frozen=True)
class Survival:
    """What `survive` saw. ``digests`` has one entry for each run that was completed, and all should be equal."""

    digests: tuple[str, ...]
    kills: int
    in_save: int
    taken_up: int


def digest(out: Path) -> str:
    """The SHA-256 of the one model.safetensors below ``out``; of all their hashes and paths, if there are several."""
    files = sorted(path for path in out.rglob("*.safetensors") if not _hidden(path.relative_to(out)))
    found = [(hashlib.sha256(file.read_bytes()).hexdigest(), str(file.relative_to(out))) for file in files]
    if not found:
        raise AssertionError(f"no weights in {out}")
    lines = "".join(f"{value}  {name}\n" for value, name in found)
    return found[0][0] if len(found) == 1 else hashlib.sha256(lines.encode()).hexdigest()


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def undisturbed(command: Sequence[str], out: Path) -> tuple[str, float]:
    """Run ``command`` once; the digest of what it left in ``out``, and its seconds from its first file to its end."""
    life = Life(command, out)
    life.wait_for_work(60.0)
    began = time.monotonic()
    life.end()
    return digest(out), time.monotonic() - began


def survive(command: Sequence[str], out: Path, kills: int, rng: random.Random, busy: float = 4.0) -> Survival:
    """Kill ``command`` exactly ``kills`` times, starting it again after each, and let the last start reach its end.

    ``command`` writes to ``out``; where a run ends before its kill, ``out`` is emptied and the next run begins.
    ``busy`` is how long an undisturbed run works once it has started (see `undisturbed`): a life lasts up to 0.4 of
    it, so that a run is killed several times on its way and every part of it is reached.
    """
    shutil.rmtree(out, ignore_errors=True)
    digests: list[str] = []
    done = in_save = taken_up = 0
    while done < kills:
        life = Life(command, out)
        if life.wait_for_death_hour(rng, busy):
            in_save += life.kill()
            done += 1
            taken_up += life.taken_up()
            continue
        life.end()
        taken_up += life.taken_up()
        digests.append(digest(out))
        shutil.rmtree(out)
    last = Life(command, out)
    last.end()
    return Survival((*digests, digest(out)), done, in_save, taken_up + last.taken_up())


class Life:
    """One process of the command, from start to end or kill."""

    def __init__(self, command: Sequence[str], out: Path) -> None:
        self.out, self.log = out, out.with_name(f"{out.name}.log")
        self.before = self._state()
        with open(self.log, "wb") as handle:
            self.process = subprocess.Popen(command, stdout=handle, stderr=handle, start_new_session=True)

    def wait_for_death_hour(self, rng: random.Random, busy: float) -> bool:
        """Wait until it is time to kill; False if the process was faster."""
        kind, share = rng.random(), rng.random()
        if kind < START_SHARE:
            return self._last(share * (START_SECONDS + 0.4 * busy))
        if not self.wait_for_work(60.0) or not self._last(share * 0.4 * busy):
            return False
        if kind < START_SHARE + SAVE_SHARE and self._wait(self.saving, 2.0):
            return self._last(rng.random() * SAVE_SECONDS)
        return self.process.poll() is None

    def wait_for_work(self, seconds: float) -> bool:
        """Wait until something in the directory is another than at the start; False if the process ended first."""
        return self._wait(lambda: self._state() != self.before, seconds)

    def _wait(self, happened, seconds: float) -> bool:  # type: ignore[no-untyped-def]
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            if happened():
                return True
            time.sleep(LOOK_SECONDS)
        return False

    def _last(self, seconds: float) -> bool:
        """Let it live for so long; False if it ended by itself."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _state(self) -> dict[str, int]:
        """Path → time of its last change, for all that is in the directory."""
        found: dict[str, int] = {}
        for folder, folders, files in os.walk(self.out):
            for name in (*folders, *files):
                try:
                    found[f"{folder}/{name}"] = os.stat(f"{folder}/{name}").st_mtime_ns
                except OSError:  # it was renamed between the two looks
                    continue
        return found

    def saving(self) -> bool:
        """Is a checkpoint, or any file that is written beside and renamed, half-written?"""
        return any(path.endswith((".writing", ".tmp")) for path in self._state())

    def kill(self) -> bool:
        """SIGKILL the whole group; True if it left something half-written."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return self.saving()

    def end(self) -> None:
        """Wait for the end; an error shows what the process said."""
        if self.process.wait():
            said = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
            raise AssertionError(f"{' '.join(self.process.args)} ended with {self.process.returncode}:\n{said}")

    def taken_up(self) -> bool:
        """Did it say that it went on from a checkpoint?"""
        return TAKEN_UP in self.log.read_text(encoding="utf-8", errors="replace")


def sentence(rng: random.Random, words: int) -> str:
    """So many of the words."""
    return f"{' '.join(rng.choices(WORDS, k=words))}.".capitalize()


def write_material(folder: Path, seed: int = 0) -> None:
    """``text/*.txt``, ``chats.jsonl`` and ``pairs.jsonl`` for a model that trains in seconds."""
    rng = random.Random(seed)
    (folder / "text").mkdir(parents=True, exist_ok=True)
    for number in range(40):
        text = "\n".join(sentence(rng, rng.randint(5, 15)) for _ in range(40))
        (folder / "text" / f"{number:02d}.txt").write_text(text, encoding="utf-8")
    questions = [f"What about the {a} and the {b}?" for a in WORDS for b in WORDS if a != b]
    with open(folder / "chats.jsonl", "w", encoding="utf-8") as handle:
        for question in questions[:160]:
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": sentence(rng, 8)}]
            handle.write(json.dumps({"messages": turns}) + "\n")
    with open(folder / "pairs.jsonl", "w", encoding="utf-8") as handle:
        for question in questions[:160]:
            answer = sentence(rng, 6)
            handle.write(json.dumps({"prompt": question, "chosen": answer, "rejected": f"{answer} {answer}"}) + "\n")


# A shape so small that starting Python takes longer than training it, and a checkpoint every second step.
SHAPE = ["--shape.layers", "2", "--shape.width", "32", "--shape.heads", "2", "--shape.head-width", "16"]
OFTEN = ["--checkpoint-every", "2", "--evaluations", "2"]
CHANGES = [
    "pretrain.shape.layers=2",
    "pretrain.shape.width=32",
    "pretrain.shape.heads=2",
    "pretrain.shape.head_width=16",
    "pretrain.batch_tokens=1024",
    "pretrain.checkpoint_every=2",
    "sft.batch_tokens=512",
    "sft.checkpoint_every=2",
    "dpo.batch_pairs=4",
    "dpo.checkpoint_every=2",
    "evaluation.answers=4",
    "evaluation.max_new_tokens=8",
]


def stages(folder: Path) -> dict[str, list[str]]:
    """Stage → its command but for ``--out``. What comes before each is made in ``folder`` now."""
    write_material(folder)

    def danlu(*words: object) -> list[str]:
        return [*DANLU, *map(str, words)]

    def made(name: str, command: list[str]) -> Path:
        out = folder / name
        done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return out

    clean = made("clean", danlu("clean", folder / "text"))
    words = made("tokenizer", danlu("tokenizer", "train", clean, "--vocab-size", 400))
    tokens = made("tokens", danlu("tokenize", "--data", clean, "--tokenizer", words))
    row = ("--length", 64, "--batch-tokens")
    pretrain = danlu("pretrain", "--data", tokens, "--tokens", "60K", *SHAPE, *row, 512, *OFTEN, "--precision", "bf16")
    base = made("base", pretrain)
    # Three stages of six steps and more, the old documents read again beside the same ones.
    stages = ("--new-rows-from", 280, "--stages.new-rows", 0.3, "--stages.embeddings", 0.3, "--replay", tokens)
    again = danlu("pretrain", "--from", base, "--data", tokens, "--tokens", "30K", *stages, *row, 512, *OFTEN)
    chats, pairs = folder / "chats.jsonl", folder / "pairs.jsonl"
    sft = danlu("sft", "--model", base, "--chats", chats, "--epochs", 8, *row, 512, *OFTEN, "--precision", "fp32")
    chat = made("chat", sft)
    dpo = ("dpo", "--model", chat, "--preferences", pairs, "--epochs", 3, "--length", 64, "--batch-pairs", 8, *OFTEN)
    chain = ("chain", "--text", folder / "text", "--chats", chats, "--preferences", pairs, "--vocab-size", 400)
    rest = ("--length", 64, "--tokens", "40K", "--precision", "fp32", "--set", *CHANGES)
    return {
        "pretrain": pretrain,
        "continued": [*again, "--precision", "bf16"],
        "sft": sft,
        "lora": [*sft, "--method", "lora", "--lora.rank", "4", "--lora.dropout", "0.2"],
        "dpo": danlu(*dpo, "--precision", "bf16"),
        "chain": danlu(*chain, *rest),
    }
