"""`danlu instruct`: both methods against a scripted model over real HTTP, a real local model, budgets, kills, bad input."""

import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.base.errors import UserError
from danlu.base.recipe import load
from danlu.cli import main, read
from danlu.generate.address import Connection
from danlu.model.config import ModelConfig
from danlu.model.transformer import Transformer
from danlu.recipes import instruct
from danlu.recipes.chats import chats_from
from danlu.recipes.instruct import Instruct
from danlu.recipes.training import save_chat_model
from danlu.tokens.training.train import train_bpe
from tests.openai_server import Said, Server, reply, serving

VERBS = ("Compare", "Describe", "Explain", "Praise", "Defend", "Retell", "Question", "Outline", "Rank", "Imagine")
THINGS = ("rivers", "bridges", "lamps", "songs", "markets", "gardens", "trains", "winters", "letters", "kitchens")
PLACES = ("Norway", "Peru", "Japan", "Kenya", "Canada", "Italy", "Nepal", "Ghana", "Cuba", "Poland")
HOWS = ("for a child", "with two reasons", "as a rhyme", "in one line", "like a judge", "step by step")
QUICK = Connection(retries=0, pause=0.01, concurrency=4)


def number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def task_of(n: int) -> str:
    """One of six thousand tasks that have few words in common."""
    verb, thing, place, how = (row[n // 10**d % len(row)] for d, row in enumerate((VERBS, THINGS, PLACES, HOWS)))
    return f"{verb} {thing} {place} {how}, thinking of {n % 977}."


def writer(body: dict[str, Any]) -> Said:
    """A model that knows what it is asked: a pure function of the prompt, with some of everything that is dropped."""
    prompt = body["messages"][0]["content"] if "messages" in body else body["prompt"]
    if prompt.startswith("Here is a list"):
        n = number(prompt)
        bad = ("Sort it.", "Describe the picture in words.", "- and so on for ever", "写一首关于春天的诗。")[n % 4]
        tasks = [task_of(n), bad, task_of(n // 7), task_of(n), task_of(n // 11), "This one was"]
        return 200, reply(
            "\n".join(f"{9 + i}. {task}" for i, task in enumerate(tasks)), "length", chat="messages" in body
        )
    if prompt.startswith("Does the task ask"):
        return "Yes" if "Rank" in prompt.split("Task:")[-1] else "No"
    if prompt.startswith("Give "):
        asked = prompt.rsplit("Task: ", 1)[1].removesuffix("\nInput:")
        return f"none\nOutput: An answer to {asked}" if number(asked) % 5 else "I see."
    if prompt.startswith("The last task"):
        return "high\nInput: Peaks.\nLabel: low\nInput: Vales.\nLabel: low\nInput: Vales."
    raise AssertionError(prompt)


def seeds(folder: Path, count: int = 10) -> Path:
    """A file of seed tasks."""
    path = folder / "seeds.jsonl"
    rows = [
        {"id": f"s{n}", "instruction": f"Say what {thing} are good for.", "output": f"{thing} help people."}
        for n, thing in enumerate((*THINGS, *PLACES)[:count])
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(writer) as started:
        yield started


def recipe(server: Server, folder: Path, **changes: Any) -> Instruct:
    """Self-Instruct from a file of seeds, in rounds of three."""
    values: dict[str, Any] = {"seeds": (seeds(folder),), "count": 12, "batch": 3, "connection": QUICK}
    return Instruct(model=server.address, model_name="parrot", **{"out": folder / "out"} | values | changes)


def records(folder: Path, name: str = "instructions.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def funnel(folder: Path) -> dict[str, dict[str, int]]:
    """Step → reason → how many were dropped."""
    found = json.loads((folder / "funnel.json").read_text(encoding="utf-8"))
    return {step["step"]: step["dropped"] for step in found["steps"]}


def test_self_instruct_from_seeds_to_what_sft_reads(server: Server, tmp_path: Path) -> None:
    made = instruct.run(recipe(server, tmp_path))
    kept = records(tmp_path / "out")
    assert len(kept) == made.metrics["records"] == 12
    assert made.metrics["ended"] == "count"
    assert len({record["instruction"] for record in kept}) == 12
    for record in kept:
        assert (record["method"], record["model"], record["language"]) == ("self", "parrot", "en")
        assert (
            record["output"] in ("high", "low")
            if record["classification"]
            else record["output"].endswith(record["instruction"])
        )
        assert len(record["seeds"]) == 8
    dropped = funnel(tmp_path / "out")
    rounds = sum(prompt.startswith("Here is") for prompt in server.prompts()) // 3
    assert dropped["instruction"]["not_ended"] == 3 * rounds  # the last task of every list
    assert dropped["likeness"]["similar"] >= 3 * rounds  # its fourth is its first
    assert dropped["example"]["no_example"] > 0
    reasons = {"too_short", "unfit_for_text", "starts_with_punctuation", "wrong_language", "not_ended"}
    assert set(dropped["instruction"]) <= reasons
    chats = chats_from([str(tmp_path / "out" / "instructions.jsonl")], 0.0)
    assert [chat[0]["content"].split("\n")[0] for chat in chats] == [record["instruction"] for record in kept]
    assert load(Instruct, tmp_path / "out" / "recipe.yaml") == recipe(server, tmp_path)


def test_eight_tasks_are_shown_six_of_them_seeds(server: Server, tmp_path: Path) -> None:
    instruct.run(recipe(server, tmp_path))
    asked = [prompt for prompt in server.prompts() if prompt.startswith("Here is")]
    shown = [re.findall(r"^Task \d+: (.+)$", prompt, re.MULTILINE) for prompt in asked]
    assert {len(tasks) for tasks in shown} == {8}
    own = [sum(not task.startswith("Say what") for task in tasks) for tasks in shown]
    assert own[:3] == [0, 0, 0]  # nothing was made yet
    assert own[-1] == 2
    assert any(tasks != sorted(tasks, key=lambda task: task.startswith("Say what")) for tasks in shown[-3:])  # mixed


def test_labels_first_and_several_examples(server: Server, tmp_path: Path) -> None:
    instruct.run(recipe(server, tmp_path, count=60, instances=2))
    kept = records(tmp_path / "out")
    labelled = [record for record in kept if record["classification"]]
    assert labelled
    assert all("Rank" in record["instruction"] for record in labelled)
    outputs = Counter(record["instruction"] for record in labelled)
    assert set(outputs.values()) <= {1, 2}
    assert 2 in outputs.values()
    assert Counter(record["output"] for record in labelled).keys() == {"high", "low"}
    assert all({"high": "Peaks.", "low": "Vales."}[record["output"]] == record["input"] for record in labelled)
    assert funnel(tmp_path / "out")["example"]["same_input"] > 0


def test_decontamination(server: Server, tmp_path: Path) -> None:
    instruct.run(recipe(server, tmp_path))
    bad = records(tmp_path / "out")[0]
    item = {"question": f"{bad['instruction']}\n\n{bad['output']}", "answer": "42"}
    (tmp_path / "test.jsonl").write_text(json.dumps(item), encoding="utf-8")
    instruct.run(recipe(server, tmp_path, out=tmp_path / "clean", decontaminate=(tmp_path / "test.jsonl",)))
    assert bad["instruction"] not in {record["instruction"] for record in records(tmp_path / "clean")}
    assert funnel(tmp_path / "clean")["decontaminate"] == {"contaminated": 1}


def test_both_languages_are_asked_in_turn_from_the_built_in_seeds(server: Server, tmp_path: Path) -> None:
    def say(body: dict[str, Any]) -> Said:
        prompt = body["messages"][0]["content"]
        if not prompt.startswith(("下面", "这个", "请仿照")):
            return writer(body)
        if prompt.startswith("下面"):
            n = number(prompt)
            things = "河流桥梁灯塔歌谣集市花园火车冬天书信厨房"
            return f"任务9：谈谈{things[n % 20]}{things[n // 20 % 20]}与{chr(0x4E00 + n % 20000)}{chr(0x4E00 + n // 7 % 20000)}的关系。"
        return "否" if prompt.startswith("这个") else "无\n输出：它们相互依存。"

    server.say = say
    instruct.run(recipe(server, tmp_path, seeds=(), batch=4))
    languages = Counter(record["language"] for record in records(tmp_path / "out"))
    assert languages["en"] > 1
    assert languages["zh"] > 1
    both = [prompt.startswith("Here is") for prompt in server.prompts() if prompt.startswith(("Here is", "下面"))]
    assert sum(both[:4]) == 2
    instruct.run(recipe(server, tmp_path, seeds=(), batch=4, languages=("zh",), out=tmp_path / "zh"))
    assert {record["language"] for record in records(tmp_path / "zh")} == {"zh"}
    assert any("zh-" in seed for seed in records(tmp_path / "zh")[0]["seeds"])


EVOLVED = "{0} Mention {1} as well."


def evolver(body: dict[str, Any]) -> Said:
    """Evolves by a sentence more; fails in each way that is eliminated, by the number of what it is asked."""
    prompt = body["messages"][0]["content"]
    n = number(f"{prompt} {body['seed']}")  # asked again, it says another thing
    if prompt.startswith("Rewrite the task"):
        old = prompt.split("\n\nTask: ")[1].split("\n\nNew task:")[0]
        more = " ".join(task_of(n // 5).split()[:4])
        new = task_of(n) if "wholly new" in prompt else EVOLVED.format(old, more)
        return {3: old, 4: f"The given prompt is: {old}"}.get(n % 8, f"New task: {new}")
    if prompt.startswith("Here are two tasks"):
        return "Equal" if n % 6 == 0 else "Different"
    return {0: "Sorry, I cannot do that.", 1: "Yes, it is.", 2: "N/A"}.get(n % 12, f"An answer to number {n}.")


def evolving(server: Server, folder: Path, **changes: Any) -> Instruct:
    server.say = evolver
    return recipe(server, folder, **{"method": "evol", "rounds": 3, "count": 40, "batch": 4} | changes)


def test_evol_instruct_grows_tasks_and_eliminates(server: Server, tmp_path: Path) -> None:
    instruct.run(evolving(server, tmp_path, rounds=5))
    kept = records(tmp_path / "out")
    assert len(kept) == 40
    dropped = funnel(tmp_path / "out")
    assert set(dropped["rewrite"]) == {"prompt_words"}
    assert set(dropped["equal"]) == {"equal"}
    assert set(dropped["answer"]) == {"apology", "only_stop_words", "empty"}
    assert dropped["likeness"]["similar"] > 0  # the old task word for word
    by_id = {record["id"]: record for record in kept}
    depths = Counter(len(record["operations"]) for record in kept)
    assert 3 <= max(depths) <= 5
    for record in kept:
        assert record["seeds"][0].startswith("s")
        if record["parent"] in by_id:  # else it is a seed
            parent = by_id[record["parent"]]
            assert record["operations"][:-1] == parent["operations"]
            if record["operations"][-1] != "breadth":
                assert record["instruction"].startswith(parent["instruction"])
    passes = [(record["id"].split("-")[1], record["parent"]) for record in kept]
    again = [record for record, place in zip(kept, passes, strict=True) if passes.count(place) > 1]
    assert again  # a task that was joined and not replaced was evolved once more in the same pass
    assert any(record["operations"][-1] == "breadth" for record in again)
    assert {record["operations"][-1] for record in kept} == {
        "constraints",
        "deepen",
        "concretise",
        "reasoning",
        "complicate_input",
        "breadth",
    }


def test_rounds_bound_how_far_a_task_is_evolved(server: Server, tmp_path: Path) -> None:
    instruct.run(evolving(server, tmp_path, rounds=1, count=15))
    assert {len(record["operations"]) for record in records(tmp_path / "out")} == {
        1
    }  # a second pass, not a second round
    assert {record["id"].split("-")[1] for record in records(tmp_path / "out")} >= {"000", "001"}


def test_similarity_is_the_limit(server: Server, tmp_path: Path) -> None:
    instruct.run(evolving(server, tmp_path, count=8))
    strict = evolving(server, tmp_path, count=8, similarity=0.5, out=tmp_path / "strict")
    instruct.run(strict)
    operations = [record["operations"][-1] for record in records(tmp_path / "strict")]
    assert set(operations) == {"breadth"}  # whatever grew out of a seed is too much like it


@pytest.mark.parametrize("method", ["self", "evol"])
def test_a_run_that_fails_on_its_way_goes_on_and_asks_nothing_twice(method: str, tmp_path: Path) -> None:
    say: Callable[[dict[str, Any]], Said] = writer if method == "self" else evolver
    with serving(say) as server:
        whole = recipe(server, tmp_path, method=method, out=tmp_path / "whole")
        instruct.run(whole)
        asked = Counter(server.prompts())
        server.asked.clear()
        left = [7, 13, 4, 10**9]

        def failing(body: dict[str, Any]) -> Said:
            with server.lock:
                left[0] -= 1
                return say(body) if left[0] >= 0 else (500, {"error": "down"})

        server.say = failing
        parts = recipe(server, tmp_path, method=method, out=tmp_path / "parts")
        for _ in range(3):
            with pytest.raises(UserError, match="HTTP 500: down"):
                instruct.run(parts)
            left.pop(0)
        made = instruct.run(parts)
        answered = made.metrics["requests"]
    assert (tmp_path / "parts" / "instructions.jsonl").read_bytes() == (
        tmp_path / "whole" / "instructions.jsonl"
    ).read_bytes()
    assert funnel(tmp_path / "parts") == funnel(tmp_path / "whole")
    assert answered == sum(asked.values())


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_kill_costs_what_is_in_flight_at_most(server: Server, tmp_path: Path) -> None:
    instruct.run(recipe(server, tmp_path, out=tmp_path / "whole"))
    asked = len(server.asked)
    server.say = lambda body: time.sleep(0.05) or writer(body)
    out = tmp_path / "killed"
    words = ["--model", server.address, "--model-name", "parrot", "--seeds", str(seeds(tmp_path)), "--count", "12"]
    words += ["--batch", "3", "--connection.concurrency", "4", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "danlu", "instruct", *words], stderr=subprocess.DEVNULL, start_new_session=True
    )
    until, journal = time.monotonic() + 60, out / "journal.jsonl"
    while time.monotonic() < until and not (journal.exists() and journal.read_bytes().count(b"\n") >= 5):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.json").exists()
    server.say = writer
    assert main(["instruct", *words]) == 0
    assert (out / "instructions.jsonl").read_bytes() == (tmp_path / "whole" / "instructions.jsonl").read_bytes()
    assert len(server.asked) <= 2 * asked + 4  # the whole run, this one, and four in flight


def test_budgets_stop_a_run_and_more_takes_it_up(server: Server, tmp_path: Path) -> None:
    whole = instruct.run(recipe(server, tmp_path, out=tmp_path / "whole")).metrics
    asked = len(server.asked)
    first = instruct.run(recipe(server, tmp_path, budget_requests=whole["requests"] // 2)).metrics
    assert first["ended"] == "budget_requests"
    assert first["requests"] == whole["requests"] // 2
    assert 0 < first["records"] < 12
    second = instruct.run(recipe(server, tmp_path, budget_tokens=whole["tokens"] * 2 // 3)).metrics
    assert second["ended"] == "budget_tokens"
    assert second["tokens"] <= whole["tokens"] * 2 // 3
    assert second["requests"] >= first["requests"]
    assert instruct.run(recipe(server, tmp_path, seconds=1e-9)).metrics["ended"] == "seconds"
    last = instruct.run(recipe(server, tmp_path)).metrics
    assert (last["ended"], last["records"], last["requests"]) == ("count", 12, whole["requests"])
    assert len(server.asked) == 2 * asked
    assert (tmp_path / "out" / "instructions.jsonl").read_bytes() == (
        tmp_path / "whole" / "instructions.jsonl"
    ).read_bytes()
    fewer = instruct.run(recipe(server, tmp_path, count=5)).metrics
    assert (fewer["records"], fewer["requests_of_this_start"]) == (5, 0)
    more = instruct.run(recipe(server, tmp_path, count=20)).metrics
    assert (more["records"], more["requests"]) == (20, whole["requests"] + more["requests_of_this_start"])


def test_replies_are_not_thrown_away_by_a_changed_recipe(server: Server, tmp_path: Path) -> None:
    instruct.run(recipe(server, tmp_path))
    asked = len(server.asked)
    with pytest.raises(UserError, match=r"holds the replies of another run \(recipe changed: temperature 0.7 → 0.9\)"):
        instruct.run(recipe(server, tmp_path, temperature=0.9))
    seeds(tmp_path, 12)
    changed = Instruct(**{**vars(recipe(server, tmp_path)), "seeds": (seeds(tmp_path, 12),)})
    with pytest.raises(UserError, match=r"another run \(input changed: seeds-1"):
        instruct.run(changed)
    assert len(server.asked) == asked
    assert instruct.run(changed, fresh=True).metrics["records"] == 12


def test_keys_reach_the_requests(server: Server, tmp_path: Path) -> None:
    instruct.run(recipe(server, tmp_path, temperature=0.3, top_p=0.8, max_new_tokens=77, seed=1))
    tasks = [body for body in server.asked if body["messages"][0]["content"].startswith(("Here is", "Give "))]
    labels = [body for body in server.asked if body["messages"][0]["content"].startswith("Does the task")]
    assert {(body["temperature"], body["top_p"], body["max_tokens"]) for body in tasks} == {(0.3, 0.8, 77)}
    assert {(body["temperature"], body["max_tokens"]) for body in labels} == {(0.0, 16)}
    first = server.prompts()[:3]
    instruct.run(recipe(server, tmp_path, temperature=0.3, out=tmp_path / "two", count=1))
    assert set(first) != set(server.prompts()[-3:])


def test_a_text_to_go_on_with(server: Server, tmp_path: Path) -> None:
    instruct.run(recipe(server, tmp_path, style="complete", count=3))
    assert set(server.paths) == {"/v1/completions"}
    assert len(records(tmp_path / "out")) == 3


def test_a_model_that_writes_nothing_of_use(server: Server, tmp_path: Path) -> None:
    server.say = lambda body: "I would rather not."
    with pytest.raises(UserError, match=r"no record was kept \(.*no_example.*\). See funnel.json") as caught:
        instruct.run(recipe(server, tmp_path, patience=2))
    assert caught.value.where == tmp_path / "out"
    assert len([p for p in server.prompts() if p.startswith("Here is")]) == 6  # two rounds of three
    assert not (tmp_path / "out" / "manifest.json").exists()
    server.say = writer
    assert instruct.run(recipe(server, tmp_path)).metrics["records"] == 12  # patience with the rounds that were lost
    assert len([p for p in server.prompts() if p.startswith("Here is")]) > 6


def test_refused_prompts_are_counted(server: Server, tmp_path: Path) -> None:
    server.say = lambda body: (400, {"error": "too long"}) if number(str(body)) % 4 == 0 else writer(body)
    instruct.run(recipe(server, tmp_path))
    assert sum(reasons.get("refused", 0) for reasons in funnel(tmp_path / "out").values()) > 0
    server.say = lambda body: (400, {"error": "no such model"})
    with pytest.raises(UserError, match="every request is refused: HTTP 400: no such model"):
        instruct.run(recipe(server, tmp_path, out=tmp_path / "none"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model_name": ""}, "model_name: an address needs the model's name there"),
        ({"model": "runs/x"}, "model_name: only an address has models with names"),
        ({"model": "runs/x", "model_name": ""}, "connection: only an address has such keys"),
        ({"device": "cpu"}, "device: an address computes"),
        ({"precision": "fp32"}, "precision: an address computes"),
        ({"rounds": 2}, "rounds: only --method evol"),
        ({"method": "evol", "instances": 2}, "instances: only --method self"),
        ({"languages": ("en", "en")}, "languages: names one twice"),
        ({"count": 0}, "count: must be at least 1"),
        ({"budget_tokens": -1}, "budget_tokens: must not be negative"),
        ({"similarity": 1.5}, "similarity: must be between 0 and 1"),
        ({"batch": 0}, "batch"),
        ({"patience": 0}, "patience"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"bad_share": 1.0}, "bad_share"),
    ],
)
def test_keys_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"model": "http://127.0.0.1:9/v1", "model_name": "parrot", "connection": QUICK}
    with pytest.raises(UserError, match=f"recipe: {message}"):
        Instruct(**values | given)


def test_bad_input_leaves_nothing_behind(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*words: object) -> str:
        capsys.readouterr()
        assert main(["instruct", "--out", str(tmp_path / "out"), *map(str, words)]) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("danlu: ")]
        assert len(said) == 1
        assert not (tmp_path / "out").exists()
        return said[0]

    here = ("--model", server.address, "--model-name", "parrot")
    assert "cannot be reached" in fails("--model", "http://127.0.0.1:9/v1", "--model-name", "parrot")
    assert "is not set" in fails(*here, "--connection.key-env", "NO_SUCH_KEY")
    assert "no such file" in fails(*here, "--seeds", tmp_path / "none.jsonl")
    assert "no such file" in fails("--model", tmp_path / "none")
    assert "config.json" in fails("--model", tmp_path)
    assert "no seed task in 'zh'" in fails(*here, "--seeds", seeds(tmp_path), "--languages", "zh")
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"instruction": "Sort."}\n', encoding="utf-8")
    assert "wrong.jsonl, line 1: no known chat shape" in fails(*here, "--seeds", wrong)
    wrong.write_text('{"instruction": \n{"instruction": "Sort.", "output": "a"}\n[]\n', encoding="utf-8")
    assert "more than bad_share=0.01 allows" in fails(*here, "--seeds", wrong)
    (tmp_path / "test.txt").write_text("", encoding="utf-8")
    assert "holds no test items" in fails(*here, "--decontaminate", tmp_path / "test.txt")
    forgiving = read(Instruct, "instruct", [*here, "--seeds", str(wrong), "--bad-share", "0.7"])
    assert [task.instruction for task in instruct.seed_tasks(forgiving)[0]] == ["Sort."]


WORDS = (" tea", " figs", " rain", " clay", " bells", " ships", " kites", " moss", " salt", " jade")


@pytest.fixture(scope="module")
def mumbler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real chat model whose weights are a table of which token follows which: it says words after 'Input:' and
    'Output:' in any order, and now and then stops. Some of that is a task, and some an example."""
    text = "".join(WORDS) + "\nInput: tea\nOutput: tea"
    tokenizer = train_bpe([text] * 20, 400)
    (line, colon, given, made), words = (
        (tokenizer.encode(mark)[0] for mark in ("\n", ":", "Input", "Output")),
        [tokenizer.encode(word)[0] for word in WORDS],
    )
    assert [tokenizer.decode([token]) for token in (given, made, *words)] == ["Input", "Output", *WORDS]
    after = {line: {given: 1.0, made: 1.0}, given: {colon: 1.0}, made: {colon: 1.0}}
    after |= {token: dict.fromkeys(words, 0.08) | {line: 0.12, tokenizer.end_of_turn_id: 0.08} for token in words}
    after[colon] = dict.fromkeys(words, 1.0)
    shape: dict[str, Any] = {"layers": 1, "width": 16, "heads": 2, "kv_heads": 2, "head_width": 8, "feedforward": 16}
    model = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, max_length=4096, tied=False, **shape))
    with torch.no_grad():
        for parameter in (*model.blocks.parameters(), model.embed.weight):
            parameter.zero_()
        model.embed.weight[:, 15] = 1.0  # a token that is never said
        model.head.weight.fill_(-1e4)
        model.head.weight[tokenizer.end_of_turn_id, 15] = 0.0
        for place, (token, following) in enumerate(after.items()):
            model.embed.weight[token] = torch.eye(16)[place]
            for next_token, likelihood in following.items():
                model.head.weight[next_token, place] = math.log(likelihood) / 4  # the norm makes of 1 the root of 16
    path = tmp_path_factory.mktemp("mumbler")
    save_chat_model(model, tokenizer, path)
    return path


def mumbling(mumbler: Path, folder: Path, **changes: Any) -> Instruct:
    few: dict[str, Any] = {
        "batch": 2,
        "max_new_tokens": 40,
        "count": 3,
        "temperature": 1.5,
        "top_p": 1.0,
        "patience": 20,
    }
    return Instruct(model=str(mumbler), seeds=(seeds(folder),), precision="fp32", **few | changes)


def test_a_local_model_ends_in_the_same_file_however_often_it_stops(mumbler: Path, tmp_path: Path) -> None:
    whole = instruct.run(mumbling(mumbler, tmp_path, out=tmp_path / "whole"))
    assert whole.metrics["records"] == 3
    assert whole.manifest["decisions"]["precision"] == "fp32"
    assert {record["model"] for record in records(tmp_path / "whole")} == {mumbler.name}
    parts = tmp_path / "parts"
    instruct_once = mumbling(mumbler, tmp_path, out=parts, budget_requests=whole.metrics["requests"] // 2)
    assert instruct.run(instruct_once).metrics["ended"] == "budget_requests"
    journal = (parts / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (parts / "journal.jsonl").write_bytes(b"".join(journal[:-2]) + journal[-2][:20])  # in the middle of a batch
    instruct.run(mumbling(mumbler, tmp_path, out=parts))
    for name in ("instructions.jsonl", "journal.jsonl", "funnel.json"):
        assert (parts / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_local_model_evolves_as_well_and_goes_on_with_texts(mumbler: Path, tmp_path: Path) -> None:
    made = instruct.run(mumbling(mumbler, tmp_path, method="evol", style="complete", count=2, out=tmp_path / "out"))
    assert made.metrics["records"] == 2
    assert made.manifest["inputs"]["model"]["sha256"]


def test_a_prompt_that_the_model_has_no_room_for(mumbler: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"refused: a prompt of \d+ tokens and 4000 new ones exceed the model's 4096"):
        instruct.run(mumbling(mumbler, tmp_path, max_new_tokens=4000, out=tmp_path / "out"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device here")
def test_a_device_that_is_not_there(mumbler: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device 'cuda' is not available here"):
        instruct.run(mumbling(mumbler, tmp_path, device="cuda", out=tmp_path / "out"))
