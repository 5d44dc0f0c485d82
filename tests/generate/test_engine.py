"""Answers: transformers' own when greedy, the same in any company, with the model's log-probabilities."""

import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import Tiny
from transformers import AutoModelForCausalLM

import danlu.model.hf
from danlu.base.errors import UserError
from danlu.generate.engine import Completion, Engine
from danlu.generate.sample import Sampling
from danlu.model.hub import save_model
from danlu.model.transformer import Transformer

GREEDY = Sampling(max_new_tokens=12, temperature=0)


def test_no_stop_before_its_time(tiny: Tiny) -> None:
    """With every token but one a stop token, an answer stops at once, or as soon as it may."""
    engine = Engine(tiny(), range(1, 61))
    assert [len(c.ids) for c in engine.generate([[3, 4]] * 2, Sampling(9, seed=1))] == [1, 1]
    asked = [Sampling(9, seed=1, min_new_tokens=4), Sampling(9, seed=1, min_new_tokens=1)]
    found = engine.generate([[3, 4]] * 2, asked)
    assert [len(c.ids) >= how.min_new_tokens + 1 or not c.stopped for c, how in zip(found, asked, strict=True)] == [
        True,
        True,
    ]
    assert found[0].ids[:4] == [0] * 4


LENGTHS = (1, 9, 4, 9, 30, 2)


def prompts() -> list[list[int]]:
    draw = torch.Generator().manual_seed(3)
    return [torch.randint(1, 61, (n,), generator=draw).tolist() for n in LENGTHS]


def ids(answers: list[Completion]) -> list[list[int]]:
    return [answer.ids for answer in answers]


@pytest.mark.parametrize("changes", [{}, {"kv_heads": 4, "tied": False}, {"positions": "alibi"}], ids=str)
def test_greedy_is_transformers_greedy(tiny: Tiny, changes: dict[str, object], tmp_path: Path) -> None:
    model = tiny(**changes)
    save_model(model, tmp_path, {"pad_token_id": 0})
    kinds = danlu.model.hf.DanluForCausalLM.__name__, "LlamaForCausalLM"
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(theirs).__name__ in kinds
    answers = Engine(model, []).generate(prompts(), GREEDY)
    for prompt, answer in zip(prompts(), answers, strict=True):
        given = torch.tensor([prompt])
        whole = theirs.generate(given, attention_mask=given * 0 + 1, do_sample=False, max_new_tokens=12)
        assert answer.ids == whole[0, len(prompt) :].tolist()
        assert not answer.stopped
    assert len({tuple(answer.ids) for answer in answers}) > 3  # they do answer their own prompts


def test_a_penalty_on_repetition_is_transformers_greedy_with_it(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny()
    save_model(model, tmp_path, {"pad_token_id": 0})
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="eager").eval()
    how = dataclasses.replace(GREEDY, repetition_penalty=1.3)
    found = ids(Engine(model, ()).generate(prompts(), how))
    for prompt, answer in zip(prompts(), found, strict=True):
        wanted = theirs.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, repetition_penalty=1.3)
        assert answer == wanted[0, len(prompt) :].tolist()
    assert found != ids(Engine(model, ()).generate(prompts(), GREEDY))


def test_a_stop_token_in_the_prompt_is_not_penalised(tiny: Tiny) -> None:
    """A template ends every turn with it, and an answer would never end."""
    model, heavy = tiny(), dataclasses.replace(GREEDY, repetition_penalty=50.0)
    rows = torch.randint(1, 61, (40, 12), generator=torch.Generator().manual_seed(0)).tolist()
    firsts = [answer.ids[0] for answer in Engine(model, ()).generate(rows, GREEDY)]
    row, token = next((row, first) for row, first in zip(rows, firsts, strict=True) if first in row)
    assert Engine(model, ()).generate([row], heavy)[0].ids[0] != token
    assert Engine(model, [token]).generate([row], heavy)[0].ids == [token]


def mixed() -> list[Sampling]:
    """Every request another way."""
    return [
        Sampling(max_new_tokens=4 + 3 * i, temperature=(0, 0.8, 1.5)[i % 3], top_k=(0, 20)[i % 2], top_p=0.95, seed=i)
        for i in range(len(LENGTHS))
    ]


@pytest.mark.parametrize("positions", ["rope", "alibi", "learned", "sinusoidal"])
def test_company_changes_no_answer(tiny: Tiny, positions: str) -> None:
    """Alone, all together, in twos, and in another order; lengths, settings and stops differ."""
    model, asked, how = tiny(positions=positions), prompts(), mixed()
    stop = [7, 23, 40]
    together = Engine(model, stop).generate(asked, how)
    alone = [Engine(model, stop).generate([p], s)[0] for p, s in zip(asked, how)]
    in_twos = Engine(model, stop, rows=2).generate(asked, how)
    turned = Engine(model, stop).generate(asked[::-1], how[::-1])[::-1]
    assert ids(together) == ids(alone) == ids(in_twos) == ids(turned)
    for a, b in zip(together, alone):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
        assert a.stopped == b.stopped
    assert len({len(answer.ids) for answer in alone}) > 3


def test_a_long_neighbour_shortens_no_answer(tiny: Tiny) -> None:
    """Near the model's limit the long prompt has room for two tokens, the short one for all it asked."""
    model, long = tiny(max_length=32), list(range(1, 31))
    short, cut = Engine(model, []).generate([[5, 6], long], GREEDY)
    assert (len(short.ids), len(cut.ids)) == (12, 2)
    assert short.ids == Engine(model, []).generate([[5, 6]], GREEDY)[0].ids
    assert cut.ids == Engine(model, []).generate([long], GREEDY)[0].ids


def test_the_seed_decides(tiny: Tiny) -> None:
    engine, asked = Engine(tiny(), []), prompts()[:1] * 4
    how = [Sampling(max_new_tokens=10, temperature=1.0, seed=seed) for seed in (1, 1, 2, 3)]
    torch.manual_seed(0)
    first = ids(engine.generate(asked, how))
    torch.manual_seed(1)
    assert ids(engine.generate(asked, how)) == first
    assert first[0] == first[1]
    assert len(set(map(tuple, first))) == 3


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_log_probabilities_are_the_models(tiny: Tiny, temperature: float) -> None:
    model, how = tiny(), Sampling(max_new_tokens=9, temperature=temperature, top_k=30, top_p=0.9)
    for prompt, answer in zip(prompts(), Engine(model, [7]).generate(prompts(), how), strict=True):
        with torch.no_grad():
            logp = torch.log_softmax(model(torch.tensor([prompt + answer.ids])), dim=-1)[0, len(prompt) - 1 : -1]
        expected = logp.gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
        assert answer.logprobs == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_stop_token_ends_an_answer_and_is_its_last_id(tiny: Tiny) -> None:
    model = tiny()
    free = Engine(model, []).generate(prompts(), GREEDY)
    stop = [answer.ids[5] for answer in free[:2]]
    for before, answer in zip(free, Engine(model, stop).generate(prompts(), GREEDY), strict=True):
        places = [i for i, token in enumerate(before.ids) if token in stop]
        assert answer.stopped == bool(places)
        assert answer.ids == before.ids[: places[0] + 1 if places else None]
        assert len(answer.logprobs) == len(answer.ids)


@pytest.mark.parametrize("most", [1, 5])
def test_no_more_tokens_than_asked_for(tiny: Tiny, most: int) -> None:
    answers = Engine(tiny(), []).generate(prompts(), dataclasses.replace(GREEDY, max_new_tokens=most))
    assert [len(answer.ids) for answer in answers] == [most] * len(LENGTHS)


def test_a_stop_on_the_last_token_is_a_stop(tiny: Tiny) -> None:
    model, one = tiny(), dataclasses.replace(GREEDY, max_new_tokens=1)
    token = Engine(model, []).generate([[3]], one)[0].ids[0]
    answer = Engine(model, [token]).generate([[3]], one)[0]
    assert (answer.ids, answer.stopped) == ([token], True)


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ([], r"prompt 1: the prompt is empty\. Give at least one token"),
        ([3, 61, 4], r"prompt 1: token 61 is outside the model's vocabulary of 61"),
        ([3, -1], r"prompt 1: token -1 is outside"),
        ([3] * 64, r"prompt 1: 64 tokens leave no room in the model's 64"),
    ],
)
def test_a_bad_prompt_is_named_before_anything_is_computed(tiny: Tiny, prompt: list[int], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        Engine(tiny(), []).generate([[1, 2], prompt], GREEDY)


def test_as_many_settings_as_prompts(tiny: Tiny) -> None:
    with pytest.raises(UserError, match="2 prompts, but 1 sampling settings"):
        Engine(tiny(), []).generate([[1], [2]], [GREEDY])
    assert Engine(tiny(), []).generate([], GREEDY) == []


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(tiny: Tiny, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Transformer = tiny().train(training)
    model.compute_dtype = torch.bfloat16
    before = [p.clone() for p in model.parameters()]
    engine = Engine(model, [])
    assert engine.model is model  # float32 answers need no copy
    engine.generate([[1, 2, 3]], GREEDY)
    assert (model.training, model.compute_dtype) == (training, torch.bfloat16)
    monkeypatch.setattr(Engine, "_last", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.generate([[1, 2, 3]], GREEDY)
    assert (model.training, model.compute_dtype) == (training, torch.bfloat16)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_bf16_answers_come_from_a_copy(tiny: Tiny) -> None:
    model = tiny()
    engine = Engine(model, [], dtype=torch.bfloat16)
    answer = engine.generate([[1, 2, 3]], GREEDY)[0]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.dtype for p in engine.model.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        logp = torch.log_softmax(model(torch.tensor([[1, 2, 3, *answer.ids]])), dim=-1)[0, 2:-1]
    expected = logp.gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
    assert answer.logprobs == pytest.approx(expected.tolist(), abs=0.1)
