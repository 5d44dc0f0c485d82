"""What pretraining, SFT and DPO have in common: device, hooks, the loop, and a model directory at the end."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from danlu.base.artifact import Artifact, Draft
from danlu.base.device import keep_memory, peak_memory, pick_device, pick_precision, torch_dtype
from danlu.base.device_names import DeviceName, Precision
from danlu.base.errors import UserError
from danlu.base.progress import count, duration, say
from danlu.base.seed import derive, seed_everything
from danlu.generate.engine import Engine
from danlu.generate.sample import Sampling
from danlu.model.adapters.files import Adapter, save_adapter
from danlu.model.adapters.layers import narrow
from danlu.model.adapters.loading import base_of, merges, open_adapter, open_rounded
from danlu.model.adapters.lora import rate_ratios
from danlu.model.adapters.quantization import Quantize
from danlu.model.config import ModelConfig
from danlu.model.heads import detach
from danlu.model.hub import is_adapter, load_model, save_model
from danlu.model.transformer import Transformer
from danlu.objectives.next_token import NextToken
from danlu.objectives.objective import Objective
from danlu.tokens.batches import Source, sequential
from danlu.tokens.chat import Rendered
from danlu.tokens.pack import ListItems
from danlu.tokens.tokenizer import Tokenizer
from danlu.train.checkpoint import Checkpoints
from danlu.train.hooks import Hook
from danlu.train.hooks.average import Average, trained
from danlu.train.hooks.best import Best
from danlu.train.hooks.evaluation import Periodic
from danlu.train.hooks.metrics import JsonLines, KeepLength, Metrics
from danlu.train.hooks.tracking import Tracking, open_trackers
from danlu.train.loop import Loop
from danlu.train.peak import peak_flops
from danlu.train.settings import TrainSettings

Measure = Callable[[Transformer], list[dict[str, object]]]
SAMPLE_TOKENS = 48


@dataclass
class Machine:
    """Where a run computes, and in which format."""

    device: torch.device
    precision: str


def prepare(draft: Draft, device: DeviceName, precision: Precision, seed: int) -> Machine:
    """Seed everything, let the allocator keep its memory, and settle device and format for this run."""
    keep_memory()
    place = pick_device(device)
    format_ = draft.decide("precision", lambda: pick_precision(precision, place))  # draws, so the seed comes after it
    seed_everything(derive(seed, draft.stage))
    draft.seeds = {"run": seed}
    return Machine(place, format_)


def open_model(path: Path, machine: Machine, quantize: Quantize = "none") -> tuple[Transformer, Tokenizer]:
    """A model directory, or an adapter's, and its tokenizer, which must agree; in four bits if that is asked for.

    To be used: an adapter that cannot be merged into its base stands beside it, and so does any in four bits.
    """
    if quantize != "none":
        model = open_rounded(path)
    else:
        model = open_adapter(path) if is_adapter(path) and not merges(path) else load_model(path)
    tokenizer = Tokenizer.load(tokenizer_home(path))
    check_vocabulary(model, tokenizer, path)
    return model.to(machine.device), tokenizer


def tokenizer_home(path: Path) -> Path:
    """Where the tokenizer of a model lies: an adapter that carries none was trained with its base's."""
    while is_adapter(path) and not (path / "tokenizer.json").is_file():
        path = base_of(path)
    return path


def check_vocabulary(model: Transformer, tokenizer: Tokenizer, where: Path) -> None:
    """Every id of the tokenizer must have a row in the model."""
    if tokenizer.vocab_size > model.config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} tokens and the model {model.config.vocab_size} rows",
            where=where,
            remedy="Use the tokenizer that the model was trained with",
        )


def check_length(length: int, config: ModelConfig) -> None:
    """A row must fit in the model."""
    if length > config.max_length:
        raise UserError(
            f"length {length} is longer than the {config.max_length} tokens that the model allows",
            remedy=f"Use --length {config.max_length}",
        )


def held_out_loss(
    draft: Draft, items: list[Rendered], tokenizer: Tokenizer, length: int, name: str = "held_out_loss"
) -> Measure:
    """The loss of held-out answers, noted in the draft's metrics under ``name`` each time."""
    objective = NextToken()

    @torch.no_grad()
    def measure(model: Transformer) -> list[dict[str, object]]:
        if not items:
            return []
        nats = weight = 0.0
        for batch in sequential(ListItems(items), batch_size=8, length=length, pad_id=tokenizer.pad_id, split=False):
            moved = batch.to(model.embed.weight.device)
            nats += float(objective(model, moved)[0])
            weight += objective.weight(moved)
        draft.metrics[name] = nats / weight
        return [{"loss": nats / weight}]

    return measure


def train(
    draft: Draft,
    model: Transformer,
    tokenizer: Tokenizer,
    objective: Objective,
    source: Source,
    settings: TrainSettings,
    machine: Machine,
    *,
    measure: Measure,
    prompts: list[list[int]],
    adapter: Adapter | None = None,
    at_end: Callable[[Transformer], None] | None = None,
) -> Artifact:
    """Run the loop in ``draft``'s directory and leave a model directory, or an adapter's, with metrics and samples.

    ``at_end`` is given the weights that are about to be written.
    """
    hooks, best = _hooks(draft, model, tokenizer, settings, measure, prompts)
    peak = draft.decide("peak_flops", lambda: f"{peak_flops(machine.device, machine.precision):.4g}")
    checkpoints = Checkpoints(draft.path / ".checkpoints")
    if adapter is not None:
        narrow(model, torch_dtype(machine.precision))
    loop = Loop(model, objective, source, settings, checkpoints, machine.precision, hooks, draft.stage,
                ratios=rate_ratios(model))  # fmt: skip
    loop.skipped, loop.peak = draft.path / "skipped", float(peak)
    totals = loop.run()
    measure_kept(draft, model, measure, best, totals.step)
    if at_end is not None:
        at_end(model)
    model.compute_dtype = torch.float32
    detach(model)
    if adapter is None:
        save_chat_model(model, tokenizer, draft.path)
    else:
        save_adapter(model, adapter, draft.path)
        tokenizer.save(draft.path)
    draft.metrics |= {
        "parameters": model.config.parameters(),
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "steps": totals.step,
        "skipped": totals.skipped,
        "tokens": totals.tokens,
        "tokens_per_second": round(totals.tokens / max(totals.seconds, 1e-9), 1),
        "precision": machine.precision,
        "peak_memory_bytes": peak_memory(),
    }
    say(
        f"  {count(totals.tokens)} tokens in {duration(totals.seconds)} "
        f"({count(draft.metrics['tokens_per_second'])} tokens/s, {machine.precision})"
    )
    return draft.finish()


def _hooks(
    draft: Draft,
    model: Transformer,
    tokenizer: Tokenizer,
    settings: TrainSettings,
    measure: Measure,
    prompts: list[list[int]],
) -> tuple[list[Hook], Best | None]:
    """What happens beside the steps, and of it what looks for the best weights.

    In this order a step's average is what is measured after it, and the best weights are back for the last samples.
    """
    metrics, samples = (JsonLines(draft.path / name) for name in ("metrics.jsonl", "samples.jsonl"))
    average = Average(model, draft.recipe.ema) if draft.recipe.ema else None
    within = nullcontext if average is None else average.in_place
    seen = Periodic(model, measure, metrics, settings.evaluate_every, "eval", settings.evaluate_seconds, within)
    best = looking_for_best(draft, model, seen, average)
    sampler, often = _sampler(tokenizer, prompts), (settings.evaluate_every, "sample", settings.evaluate_seconds)
    hooks = [
        Metrics(metrics),
        *([average] if average else []),
        seen,
        *([best] if best else []),
        Periodic(model, sampler, samples, *often, within),
        KeepLength(metrics),
        KeepLength(samples),
        Tracking(metrics, open_trackers(draft.recipe.track, draft.path, draft.stage)),
    ]
    return hooks, best


def looking_for_best(
    draft: Draft,
    model: Transformer,
    seen: Periodic,
    average: Average | None,
    *,
    name: str = "loss",
    higher: bool = False,
) -> Best | None:
    """What looks for the best weights, where the recipe asks for them or for an end when they are found."""
    recipe = draft.recipe
    if recipe.keep == "last" and not recipe.patience:
        return None
    folder = draft.path / ".best" if recipe.keep == "best" else None
    own = trained(model)
    weights = average.shadow if average else own
    return Best(seen, weights, own, patience=recipe.patience, folder=folder, name=name, higher=higher)


def measure_kept(draft: Draft, model: Transformer, measure: Measure, best: Best | None, steps: int) -> None:
    """Where earlier weights than the last are kept, the manifest's numbers become theirs."""
    if best is None:
        return
    draft.metrics |= {"best_step": best.step, f"best_{best.name}": best.value}
    if best.folder is not None and best.step != steps:
        say(f"  kept: the weights of step {best.step}, whose held-out {best.name} was {best.extreme}, {best.value:.4f}")
        with torch.no_grad():
            measure(model)


def _sampler(tokenizer: Tokenizer, prompts: list[list[int]]) -> Measure:
    """What the model says to fixed prompts."""

    def sample(model: Transformer) -> list[dict[str, object]]:
        engine = Engine(model, tokenizer.stop_ids, dtype=model.embed.weight.dtype)  # as it is: another would be a copy
        answers = engine.generate(prompts, Sampling(max_new_tokens=SAMPLE_TOKENS, temperature=0.7, top_p=0.95))
        pairs = zip(prompts, answers, strict=True)
        return [{"prompt": tokenizer.decode(p), "text": tokenizer.decode(a.ids)} for p, a in pairs]

    return sample


def save_chat_model(model: Transformer, tokenizer: Tokenizer, path: Path) -> None:
    """Weights, configuration, tokenizer: a complete Hugging Face directory."""
    tokens = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    save_model(model, path, tokens, tokenizer.stop_ids)
    tokenizer.save(path)
