"""Models for tasks on disk: transformers' class of each family gives the same logits, and what it wrote opens here."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from danlu.base.errors import UserError
from danlu.model.families.tasks import LACKING, SUFFIXES, Shape, class_of, shape_of
from danlu.model.task_files import TaskInfo, fold, new_head, open_task, open_trunk, save_task
from danlu.model.task_heads import Head, attach, head_of, of_types, pooled, strip
from danlu.model.transformer import Transformer
from tests.family_cases import CASES, IDS
from tests.family_cases import class_of as model_class

KINDS: dict[Shape, str] = {"sequence": "classify", "token": "tag", "span": "qa", "none": "embed"}
LABELS = ("a", "b", "c")
NAMES = ("llama2", "llama3", "mistral", "qwen2", "qwen3", "smollm3", "gemma2", "gemma3", "phi3-part", "gpt2",
         "gpt2-wide", "gpt_neox", "bloom", "bert", "roberta")  # fmt: skip
MASK = torch.ones_like(IDS)
MASK[1, 15:] = 0


def info(shape: Shape, *, causal: bool) -> TaskInfo:
    labels = LABELS if shape in ("sequence", "token") else ()
    pooling: Any = "last" if causal else "first"
    return TaskInfo(KINDS[shape], labels, pooling=pooling, length=32, longest_answer=5)


def with_head(path: Path, shape: Shape) -> tuple[Any, TaskInfo]:
    """The trunk of a directory with a head in which nothing is zero."""
    trunk = open_trunk(path)
    task = info(shape, causal=trunk.config.causal)
    head = new_head(trunk, task, 1)
    if head is not None:
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    attach(trunk.model, {} if head is None else {"task": head})
    trunk.model.eval()
    return trunk, task


def outputs(model: Transformer, task: TaskInfo, ids: Tensor = IDS, types: Tensor | None = None) -> Tensor:
    """What the head gives, or the trunk's last states where there is none."""
    segments = MASK.int() - 1
    with torch.no_grad(), of_types(model, types):
        hidden = model.features(ids, segments)
        if task.shape == "none":
            return hidden
        return head_of(model, "task")(pooled(hidden, segments, task.pooling) if task.shape == "sequence" else hidden)


def theirs(network: Any, shape: Shape, **more: Any) -> Tensor:
    ids = IDS.masked_fill(MASK == 0, network.config.pad_token_id)
    with torch.no_grad():
        made = network.eval()(input_ids=ids, attention_mask=MASK, **more)
    if shape == "span":
        return torch.stack([made.start_logits, made.end_logits], -1)
    found: Tensor = made.last_hidden_state if shape == "none" else made.logits
    return found


def close(ours: Tensor, expected: Tensor, shape: Shape) -> None:
    if shape != "sequence":  # padding is nobody's
        ours, expected = ours[MASK == 1], expected[MASK == 1]
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4)


def base(name: str, path: Path) -> Path:
    """A language model of a family, as transformers writes it."""
    kind, values, _ = CASES[name]
    cls = model_class(kind)
    torch.manual_seed(3)
    cls(cls.config_class(**values)).save_pretrained(path)
    return path


AUTO = {"sequence": "AutoModelForSequenceClassification", "token": "AutoModelForTokenClassification",
        "span": "AutoModelForQuestionAnswering", "none": "AutoModel"}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_transformers_opens_what_is_written_and_agrees(name: str, tmp_path: Path) -> None:
    source = base(name, tmp_path / "base")
    for shape in SUFFIXES:
        trunk, task = with_head(source, shape)
        if shape in LACKING.get(trunk.kind, ()):
            continue
        path = tmp_path / shape
        pad = 1 if trunk.kind == "roberta" else 0
        save_task(trunk, task, "task", path, {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": pad})
        network, told = getattr(transformers, AUTO[shape]).from_pretrained(path, output_loading_info=True)
        assert not told["unexpected_keys"]
        assert all("pooler" in key for key in told["missing_keys"])
        assert type(network).__name__ == json.loads((path / "config.json").read_text())["architectures"][0]
        model, again = open_task(path)
        assert again == task
        for ours in (trunk.model, model):
            close(outputs(ours, task), theirs(network, shape), shape)


@pytest.mark.parametrize(
    ("name", "shape"), [("bert", "sequence"), ("roberta", "sequence"), ("llama2", "span"), ("bert", "none")]
)
def test_what_transformers_wrote_is_a_trunk_to_go_on_from(name: str, shape: Shape, tmp_path: Path) -> None:
    """The layer before the labels is kept, the labels' own is not; a plain encoder has its pooler."""
    kind, values, _ = CASES[name]
    cls = getattr(transformers, f"{kind}{SUFFIXES[shape]}")
    torch.manual_seed(4)
    network = cls(cls.config_class(**values, **({"num_labels": 3} if shape == "sequence" else {})))
    network.save_pretrained(tmp_path / "theirs")
    trunk = open_trunk(tmp_path / "theirs")
    trunk.model.eval()
    segments = MASK.int() - 1
    with torch.no_grad():
        hidden = trunk.model.features(IDS, segments)
        trunk_of = getattr(network, cls.base_model_prefix, network).eval()
        ids = IDS.masked_fill(MASK == 0, network.config.pad_token_id)
        expected = trunk_of(input_ids=ids, attention_mask=MASK).last_hidden_state
    close(hidden, expected, "none")
    if name != "llama2":
        head = new_head(trunk, info("sequence", causal=False), 0)
        assert head is not None
        assert head.dense is not None
        known = dict(network.named_parameters())
        dense = known[
            "classifier.dense.weight" if name == "roberta" else next(k for k in known if "pooler.dense.weight" in k)
        ]
        assert torch.equal(head.dense.weight, dense)
        assert head.out.weight.abs().max() < 0.1


def test_kinds_of_tokens_reach_the_embedding(tmp_path: Path) -> None:
    trunk, task = with_head(base("bert", tmp_path / "base"), "sequence")
    save_task(trunk, task, "task", tmp_path / "task", {"pad_token_id": 0})
    types = (torch.arange(IDS.shape[1]) > 8).long().expand_as(IDS)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "task")
    close(outputs(trunk.model, task, types=types), theirs(network, "sequence", token_type_ids=types), "sequence")
    assert not torch.allclose(outputs(trunk.model, task, types=types), outputs(trunk.model, task))


def test_a_head_that_learned_the_same_labels_is_taken_up(tmp_path: Path) -> None:
    trunk, task = with_head(base("bert", tmp_path / "base"), "sequence")
    save_task(trunk, task, "task", tmp_path / "task", {"pad_token_id": 0})
    again = open_trunk(tmp_path / "task")
    head = new_head(again, task, 7)
    assert head is not None
    assert torch.equal(head.out.weight, head_of(trunk.model, "task").out.weight)
    other = new_head(again, TaskInfo("classify", ("a", "b", "x")), 7)
    assert other is not None
    assert not torch.equal(other.out.weight, head.out.weight)


def test_a_shape_that_no_class_expresses_is_read_by_danlu_alone(tmp_path: Path) -> None:
    from tests.task_world import write_model

    trunk, task = with_head(write_model(tmp_path / "base", encoder=False, residual_scalars=True), "token")
    save_task(trunk, task, "task", tmp_path / "task", {})
    values = json.loads((tmp_path / "task" / "config.json").read_text())
    assert (values["model_type"], values["architectures"]) == ("danlu", ["DanluForTokenClassification"])
    model, again = open_task(tmp_path / "task")
    assert again == task
    assert torch.equal(outputs(model, task, IDS % 40), outputs(trunk.model, task, IDS % 40))


def test_stripping_leaves_what_features_needs(tiny: Any) -> None:
    model = tiny(tied=False)
    before = model.features(IDS)
    strip(model)
    assert "head.weight" not in dict(model.named_parameters())
    assert torch.equal(model.features(IDS), before)


def test_folding_is_the_inverse_of_scaling() -> None:
    head, x = Head(8, 1, dense=False, bias=True, dropout=0.0, seed=0), torch.randn(5, 8)
    nn.init.constant_(head.out.bias, 0.3)
    before = head(x)
    fold(head, 20.0, 500.0)
    torch.testing.assert_close(head(x), before * 20 + 500)


def test_pooling() -> None:
    hidden, segments = torch.arange(12.0).view(1, 4, 3), torch.tensor([[0, 0, 0, -1]])
    assert pooled(hidden, segments, "first").tolist() == [[0, 1, 2]]
    assert pooled(hidden, segments, "last").tolist() == [[6, 7, 8]]
    assert pooled(hidden, segments, "mean").tolist() == [[3, 4, 5]]


def test_names_of_classes() -> None:
    assert class_of("GPT2LMHeadModel", "gpt2", "token") == "GPT2ForTokenClassification"
    assert class_of("Gemma3ForCausalLM", "gemma3_text", "sequence") == "Gemma3TextForSequenceClassification"
    assert shape_of("BertForQuestionAnswering") == "span"
    assert shape_of("BertModel") == "none"
    assert shape_of("BertForMaskedLM") is None
    lacking = {
        (f"{stem}{SUFFIXES[shape]}")
        for stem, kind in (("Gemma2", "gemma2"), ("Phi3", "phi3"))
        for shape in LACKING[kind]
    }
    assert not any(hasattr(transformers, name) for name in lacking)


def test_damage_is_named(tmp_path: Path) -> None:
    trunk, task = with_head(base("bert", tmp_path / "base"), "sequence")
    save_task(trunk, task, "task", tmp_path / "task", {"pad_token_id": 0})
    with pytest.raises(UserError, match="is no directory of a task"):
        open_task(tmp_path / "base")
    tensors = load_file(tmp_path / "task" / "model.safetensors")
    save_file({n: v for n, v in tensors.items() if n != "classifier.weight"}, tmp_path / "task" / "model.safetensors")
    with pytest.raises(UserError, match=r"tensor classifier\.weight is missing"):
        open_task(tmp_path / "task")
    save_file({n: v for n, v in tensors.items() if "layer.1" not in n}, tmp_path / "task" / "model.safetensors")
    with pytest.raises(UserError, match=r"tensor bert\.encoder\.layer\.1.* is missing"):
        open_task(tmp_path / "task")
    transformers.DistilBertForMaskedLM(
        transformers.DistilBertConfig(vocab_size=61, dim=32, n_layers=1, n_heads=4, hidden_dim=48)
    ).save_pretrained(tmp_path / "distil")
    with pytest.raises(UserError, match="the classes for tasks of a distilbert model are not known here"):
        open_trunk(tmp_path / "distil")
    with pytest.raises(UserError, match="has no output layer to find hidden tokens with"):
        open_trunk(tmp_path / "task", output=True)
