"""`danlu mix`: from five folders or several directories to shares, and a model that trains on them and goes on exactly."""

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from danlu.base import artifact
from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, load, save
from danlu.recipes.mix import Mix, _input_of, open_training, run, short_names
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.pretrain import run as pretrain
from danlu.recipes.tokenize import Tokenize
from danlu.recipes.tokenize import run as tokenize
from danlu.recipes.tokenizer import TrainTokenizer
from danlu.recipes.tokenizer import run as train_tokenizer
from danlu.text.document import Document
from danlu.text.write import Shards as DocumentShards
from danlu.tokens.batches import Batch
from danlu.tokens.mixture import MixedBatches, Mixture
from danlu.tokens.tokenizer import Tokenizer

WORDS = {"books": "the ship sailed out to sea", "web": "click the page and read", "forum": "I think the answer is no"}
COUNTS = {"books": 30, "web": 60, "forum": 10}


@dataclasses.dataclass(frozen=True)
class Given:
    """Stands for the clean stage's recipe: only what it was given matters here."""

    inputs: tuple[str, ...]


def cleaned(path: Path, names: list[str], inputs: tuple[str, ...]) -> Path:
    """Clean documents from two files of each folder, in turns."""
    draft = artifact.begin(path, "clean", Given(inputs))
    for side, share in (("train", 1), ("validation", 5)):
        with DocumentShards(path / side) as shards:
            for i in range(max(COUNTS.values())):
                for name in names:
                    if i < COUNTS[name] // share:
                        source = f"data/{name}/{i % 2}.txt"
                        shards.add(Document(f"{WORDS[name]}, {i} times. " * 3, f"{source}:{i}", source))
    draft.finish()
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens of three folders together (all), of two apart (books, web), and with a tokenizer of their own (odd)."""
    root = tmp_path_factory.mktemp("mix")
    everything = cleaned(root / "clean", list(WORDS), ("data/books/", "data/web", "data/for*/*.txt"))
    words = train_tokenizer(TrainTokenizer((str(everything),), root / "tokenizer", vocab_size=300)).path
    tokenize(Tokenize(everything, words, root / "all"))
    for name in ("books", "web"):
        tokenize(Tokenize(cleaned(root / f"clean-{name}", [name], (f"data/{name}",)), words, root / name))
    other = train_tokenizer(TrainTokenizer((str(root / "clean-web"),), root / "other", vocab_size=290)).path
    tokenize(Tokenize(root / "clean-web", other, root / "odd"))
    return root


def mix(made: Path, out: Path, *folders: str, **settings: Any) -> dict[str, Any]:
    done = run(Mix(tuple(made / folder for folder in folders), out=out, **settings))
    done.verify()
    return {part["name"]: part for part in done.metrics["parts"]}


def test_folders_of_one_clean_run_by_input(made: Path, tmp_path: Path) -> None:
    parts = mix(made, tmp_path / "mix", "all", by="input", temperature=2.0, max_epochs=2, budget="3K")
    assert list(parts) == ["books", "web", "*.txt"]
    assert sum(part["amount"] for part in parts.values()) == 3000
    assert all(part["epochs"] <= 2 for part in parts.values())
    sizes = {name: part["size"] for name, part in parts.items()}
    assert sizes["web"] / sizes["books"] == pytest.approx(2, rel=0.1)
    assert (parts["web"]["wanted"] / parts["books"]["wanted"]) ** 2 == pytest.approx(sizes["web"] / sizes["books"])


def test_each_part_holds_its_own_documents(made: Path, tmp_path: Path) -> None:
    mix(made, tmp_path / "mix", "all", by="input")
    mixture, tokenizer = Mixture.open(tmp_path / "mix"), Tokenizer.load(tmp_path / "mix" / "tokenizer")
    for name, words in (("books", WORDS["books"]), ("web", WORDS["web"])):
        items = mixture.items[name]
        texts = [tokenizer.decode(items[i][0].tolist()) for i in range(len(items))]
        assert len(texts) == COUNTS[name]
        assert all(words in text for text in texts)


def test_every_value_of_the_source_column(made: Path, tmp_path: Path) -> None:
    parts = mix(made, tmp_path / "mix", "all", by="source")
    assert set(parts) == {f"{name}/{n}.txt" for name in WORDS for n in (0, 1)}
    assert all(part["epochs"] == 1 for part in parts.values())


def test_directories_by_weight(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = mix(made, tmp_path / "mix", "books", "web", weights=(2, 1), budget="1500")
    assert {name: part["amount"] for name, part in parts.items()} == {"books": 1000, "web": 500}
    assert "books" in (said := capsys.readouterr().err)
    assert "66.7%" in said
    named = mix(made, tmp_path / "named", "books", "web", weights=("web=1", "books=2"), budget="1500")
    assert named == parts
    assert [row[1] for row in artifact.lineage(tmp_path / "mix")][:3] == ["mix", "tokens", "clean"]


def test_a_budget_of_nothing_is_all_there_is(made: Path, tmp_path: Path) -> None:
    parts = mix(made, tmp_path / "mix", "books", "web")
    assert [part["epochs"] for part in parts.values()] == [1.0, 1.0]
    one = mix(made, tmp_path / "one", "books", "web", weights=(0, 3))
    assert (one["books"]["amount"], one["web"]["epochs"]) == (0, 1.0)


def small(data: Path, out: Path, **settings: Any) -> Pretrain:
    values: dict[str, Any] = {"size": "30K", "length": 32, "batch_tokens": 128, "precision": "fp32", "evaluations": 1}
    return Pretrain(data=data, out=out, **values | settings)


def test_pretraining_on_a_mixture(made: Path, tmp_path: Path) -> None:
    mix(made, tmp_path / "mix", "books", "web", weights=(1, 1), budget="2K")
    trained = pretrain(small(tmp_path / "mix", tmp_path / "model"))
    assert trained.metrics["tokens"] == 2000 // 128 * 128
    rows = [json.loads(line) for line in (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()]
    held_out = {key for row in rows for key in row if key.startswith("bits_per_byte/")}
    assert held_out == {f"bits_per_byte/data/{name}/{n}.txt" for name in ("books", "web") for n in (0, 1)}
    assert list(trained.manifest["inputs"]) == ["data"]


def test_a_stopped_run_ends_where_an_undisturbed_one_does(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mix(made, tmp_path / "mix", "books", "web", weights=(3, 1), budget="2K")
    undisturbed = pretrain(small(tmp_path / "mix", tmp_path / "one", checkpoint_every=4))
    deal, dealt = MixedBatches.__next__, Counter[str]()

    def stop(source: MixedBatches) -> Batch:
        dealt["batches"] += 1
        if dealt["batches"] == 10:
            raise KeyboardInterrupt
        return deal(source)

    with monkeypatch.context() as patched:
        patched.setattr(MixedBatches, "__next__", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain(small(tmp_path / "mix", tmp_path / "two", checkpoint_every=4))
    resumed = pretrain(small(tmp_path / "mix", tmp_path / "two", checkpoint_every=4))
    name = "model.safetensors"
    assert resumed.manifest["outputs"][name] == undisturbed.manifest["outputs"][name]


def test_more_than_was_planned_is_refused(made: Path, tmp_path: Path) -> None:
    mix(made, tmp_path / "mix", "books", "web", budget="2K")
    with pytest.raises(UserError, match="was planned for 2000 tokens, and the run reads 3968"):
        pretrain(small(tmp_path / "mix", tmp_path / "model", tokens="4K"))
    assert not (tmp_path / "model").exists()


def test_a_mixture_of_one_directory_reads_what_the_directory_holds(made: Path, tmp_path: Path) -> None:
    mix(made, tmp_path / "mix", "books")
    found = []
    for path in (made / "books", tmp_path / "mix"):
        data = open_training(path)
        batches, tokens = data.batches(batch_size=4, length=32, pad_id=0, seed=0), Counter[int]()
        while sum(tokens.values()) < 3 * data.tokens:
            tokens.update(next(batches).ids.flatten().tolist())
        found.append({token: round(100 * n / sum(tokens.values())) for token, n in tokens.items() if n > 200})
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("folders", "settings", "message"),
    [
        (("books", "odd"), {}, "odd: has another tokenizer than .*books"),
        (("books", "clean"), {}, "was made by 'clean', and 'tokens' is needed"),
        (("books", "nothing"), {}, "nothing: holds nothing"),
        (("books", "web"), {"weights": (1,)}, r"1 weights for 2 sources \(books, web\)"),
        (("books", "web"), {"weights": ("boks=1", "web=1")}, "no source 'boks'. Did you mean 'books'"),
        (("books", "web"), {"weights": ("books", "web=1")}, "'books' is not a weight"),
        (("books", "web"), {"weights": ("books=x", "web=1")}, "'books=x' is not a weight"),
        (("books", "web"), {"max_epochs": 1, "budget": "1M"}, "raise max_epochs to"),
    ],
)
def test_what_cannot_be_mixed_leaves_nothing(
    made: Path, tmp_path: Path, folders: tuple[str, ...], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        mix(made, tmp_path / "mix", *folders, **settings)
    assert not (tmp_path / "mix").exists()


def test_inputs_that_are_gone(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "books", tmp_path / "books")
    with pytest.raises(UserError, match=r"the documents it was made from are gone.*Use --by source"):
        run(Mix((tmp_path / "books",), out=tmp_path / "mix", by="input"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("tokens", []), ("by", "folder"), ("temperature", 0), ("max_epochs", 0), ("budget", "many")],
)
def test_a_value_that_makes_no_sense_is_named(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=key):
        from_dict(Mix, {"tokens": ["a"]} | {key: value})


def test_two_rules_for_the_shares_are_refused() -> None:
    with pytest.raises(UserError, match="weights and a temperature cannot both decide"):
        from_dict(Mix, {"tokens": ["a", "b"], "weights": [2, "b=1"], "temperature": 2})


@pytest.mark.parametrize(
    ("words", "weights"), [(["2", "1.5"], (2.0, 1.5)), (["a=2", "b/c=1"], ("a=2", "b/c=1")), ([], ())]
)
def test_the_command_line_and_a_file_say_the_same(words: list[str], weights: tuple[Any, ...], tmp_path: Path) -> None:
    from danlu.cli import read

    flags = ["--weights", *words] if words else []
    found = read(Mix, "mix", ["a", "b/c", *flags, "--max-epochs", "4", "--budget", "50M"])
    assert (found.tokens, found.weights, found.max_epochs) == ((Path("a"), Path("b/c")), weights, 4.0)
    save(found, tmp_path / "recipe.yaml")
    assert load(Mix, tmp_path / "recipe.yaml") == found


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("data/books/a/1.txt", "data/books/"),
        ("data/books/new/1.txt", "data/books/new"),
        ("data/bookshelf/1.txt", "."),
        ("data/web/1.html", "data/w*/*.html"),
        ("package:sanguo", "package:sanguo"),
        ("package:tatoeba", "other"),
        ("/elsewhere/1.txt", "other"),
    ],
)
def test_a_source_belongs_to_the_innermost_input(source: str, given: str) -> None:
    inputs = [".", "data/books/", "data/books/new", "data/w*/*.html", "package:sanguo"]
    assert _input_of(source, inputs) == given


def test_names_are_as_short_as_they_can_be() -> None:
    assert short_names(["/x/a/books", "/x/b/web"]) == ["books", "web"]
    assert short_names(["/x/a/tokens", "/x/b/tokens", "/y/c"]) == ["a/tokens", "b/tokens", "c"]
    assert short_names(["/a", "/a", "/"]) == ["a", "a (2)", "/"]
    assert short_names(["/x/tokens/package:sanguo"]) == ["package:sanguo"]
