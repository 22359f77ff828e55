"""Train a small language model: teacher-forced, resumable, the same weights for the same seed; save and judge it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from torpor.core.errors import UsageError
from torpor.data.sets import Batch, DataSet
from torpor.zoo.language.architectures import decode, teacher_forced
from torpor.zoo.language.tokenizer import Pair, encode, train_tokenizer, whole
from torpor.zoo.recipes.training import Progress, one_cycle

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from torpor.zoo.language.architectures import LanguageModel
    from torpor.zoo.language.registry import LanguageEntry

Builder = Callable[["PreTrainedTokenizerFast", float], "LanguageModel"]


@dataclass(frozen=True)
class LanguageRecipe:
    """How a language model is trained: AdamW, one cycle of learning rates.

    Attributes:
        epochs: passes over the training split.
        vocab_size: tokens of the byte-level vocabulary.
        batch_tokens: most tokens of a batch, sources, targets and padding counted.
        learning_rate: peak.
        warmup: share of the training over which the learning rate rises; then it falls to 0 as a cosine.
        weight_decay: of matrices.
        dropout: of embeddings and of what each block adds.
        label_smoothing: of every target but the end token, so that models end sharply.
        clip: largest norm of the gradient.
        bfloat16: compute in half the bits; for very narrow models, converting costs more than it saves.
        seed: of initialization, order and dropout.
    """

    epochs: int
    vocab_size: int
    batch_tokens: int = 4096
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    label_smoothing: float = 0.1
    clip: float = 1.0
    bfloat16: bool = True
    seed: int = 0


def train_language(
    entry: LanguageEntry,
    data: DataSet,
    folder: Path,
    checkpoint: Path,
    *,
    progress: Progress = lambda done, total, loss: None,
) -> Path:
    """Train ``entry`` on ``data``, write it to ``folder`` in Hugging Face's layout, and return the path of its card.

    Tokens are learned from the training split; the test split is only reported. An interrupted training goes on from
    ``checkpoint``, which is replaced after every epoch, and ends with the same weights.

    Raises:
        DataError: if the data cannot be read or have no references.
        UsageError: if the checkpoint is damaged, or a package is missing.
    """
    for package in ("transformers", "tokenizers", *(["sacrebleu"] if entry.metric == "bleu" else [])):
        if find_spec(package) is None:
            raise UsageError(f"expected {package} to train {entry.name}, got none; pip install 'torpor[language]'")
    samples = data.load("train")
    joined = [*samples.inputs, *samples.references] if entry.kind == "encoder-decoder" else whole(samples)
    tokenizer = train_tokenizer(joined, entry.recipe.vocab_size, entry.kind)
    pairs = encode(tokenizer, samples, entry.kind == "encoder-decoder")
    model, seconds = fit(entry.build, tokenizer, pairs, entry.recipe, checkpoint, progress=progress)
    return save_language(entry, model, tokenizer, data, folder, seconds)


def batches(pairs: Sequence[Pair], budget: int, chance: torch.Generator) -> list[list[int]]:
    """Group pairs of like length into batches of at most ``budget`` tokens, padding counted, in a random order.

    >>> pairs = [([1] * n, [2] * n) for n in (1, 9, 2, 8)]
    >>> sorted(sorted(batch) for batch in batches(pairs, 40, torch.Generator()))
    [[0, 2], [1, 3]]
    """
    order = torch.randperm(len(pairs), generator=chance).tolist()
    order.sort(key=lambda row: (len(pairs[row][1]), len(pairs[row][0])))  # stable: equal lengths stay shuffled
    groups: list[list[int]] = []
    source = target = 0
    for row in order:
        source, target = max(source, len(pairs[row][0])), max(target, len(pairs[row][1]) + 1)
        if not groups or (len(groups[-1]) + 1) * (source + target) > budget:
            groups.append([])
            source, target = len(pairs[row][0]), len(pairs[row][1]) + 1
        groups[-1].append(row)
    return [groups[place] for place in torch.randperm(len(groups), generator=chance).tolist()]


def smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float, eos: int) -> Tensor:
    """Return the mean cross-entropy, smoothed where the label is not the end token."""
    scores = logits.log_softmax(-1)
    right = -scores.gather(1, labels.unsqueeze(1)).squeeze(1)
    share = smoothing * (labels != eos)
    return (right * (1 - share) - scores.mean(-1) * share).mean()


def fit(
    build: Builder,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[Pair],
    recipe: LanguageRecipe,
    checkpoint: Path,
    *,
    progress: Progress = lambda done, total, loss: None,
) -> tuple[LanguageModel, float]:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe on the same data left one.

    Returns:
        The trained model in evaluation mode, and the seconds that its training took.
    """
    torch.manual_seed(recipe.seed)
    model = build(tokenizer, recipe.dropout).train()
    deployed = model.config._attn_implementation
    model.set_attn_implementation("eager")  # for short texts on a CPU a training step takes a quarter less
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    groups = [
        {"params": [value for value in weights.values() if value.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [value for value in weights.values() if value.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
    plan = hashlib.sha256(repr((recipe, model.config.to_json_string(), list(pairs))).encode()).hexdigest()
    first, seconds = _restore(checkpoint, plan, weights, optimizer)
    total = 0
    for epoch in range(first, recipe.epochs):
        started = time.perf_counter()
        chance = torch.Generator().manual_seed((recipe.seed * 100_003 + epoch) % 2**63)
        torch.manual_seed(chance.initial_seed())  # of dropout
        order = batches(pairs, recipe.batch_tokens, chance)
        total = len(order) * recipe.epochs
        for step, rows in enumerate(order):
            done = epoch * len(order) + step
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * one_cycle(done / total, recipe.warmup)
            with torch.autocast(model.device.type, torch.bfloat16, recipe.bfloat16):
                logits, labels = teacher_forced(model, [pairs[row] for row in rows])
            loss = smoothed_loss(logits, labels, recipe.label_smoothing, int(tokenizer.eos_token_id))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights.values(), recipe.clip)
            optimizer.step()
            if done % 10 == 0:
                progress(done + 1, total, loss.item())
        seconds += time.perf_counter() - started
        _save(checkpoint, {"plan": plan, "epoch": str(epoch + 1), "seconds": str(seconds)}, weights, optimizer)
    progress(total, total, math.nan)
    model.set_attn_implementation(deployed)
    return model.train(False), seconds


def _save(
    path: Path, metadata: dict[str, str], weights: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    tensors = {f"model.{name}": value.detach().contiguous() for name, value in weights.items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{slot}": value.contiguous() for slot, value in slots.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata=metadata)
    os.replace(partial, path)


def _restore(
    path: Path, plan: str, weights: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Load a checkpoint of the same plan; return the epochs done and the seconds they took, else zeros."""
    if not path.is_file():
        return 0, 0.0
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            if metadata.get("plan") != plan:
                return 0, 0.0
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not iterable itself
    except SafetensorError as error:
        raise UsageError(f"expected a training checkpoint, got a damaged file: {error}; delete {path}") from error
    slots: dict[int, dict[str, Any]] = {}
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(tensors.pop(f"model.{name}"))
    for name, tensor in tensors.items():
        number, slot = name.split(".")[1:]
        slots.setdefault(int(number), {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["epoch"]), float(metadata["seconds"])


def save_language(
    entry: LanguageEntry,
    model: LanguageModel,
    tokenizer: PreTrainedTokenizerFast,
    data: DataSet,
    folder: Path,
    seconds: float,
) -> Path:
    """Write model, decoding configuration and tokenizer to ``folder``, weights in half precision, and a card beside it.

    The scores on the test split are those of the rounded weights. The configuration asks for single precision, so that
    whoever loads the folder computes in it.

    Returns:
        The path of the card, ``NAME.json`` in the folder's parent.
    """
    card = folder.parent / f"{folder.name}.json"
    card.unlink(missing_ok=True)  # it is written last: where it lies, the folder is whole
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    halves = {name: value.detach().half().contiguous() for name, value in weights.items()}
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(halves[name])
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures, model.config.dtype = [type(model).__name__], "float32"
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    test = data.load("test")
    answers, lengths, capped = decode(model, tokenizer, test.inputs)
    content = {
        "name": entry.name,
        "kind": entry.kind,
        "parameters": sum(value.numel() for value in weights.values()),
        "vocabulary": len(tokenizer),
        "data": data.fingerprint(),
        "test": scores(entry.metric, model, tokenizer, test, answers)
        | {
            "texts": len(test),
            "output_tokens_mean": round(lengths.double().mean().item(), 3),
            "output_tokens_std": round(lengths.double().std(correction=0).item(), 3),
            "output_tokens_max": int(lengths.max()),
            "cap_hit_rate": capped.double().mean().item(),
        },
        "decoding": model.generation_config.to_diff_dict(),
        "recipe": asdict(entry.recipe),
        "seconds": round(seconds, 1),
        "torch": torch.__version__,
        "transformers": model.config.transformers_version,
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    }
    card.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return card


def scores(
    metric: str, model: LanguageModel, tokenizer: PreTrainedTokenizerFast, test: Batch, answers: list[str]
) -> dict[str, object]:
    """Return BLEU and chrF, or the share of answers that equal their references, or the perplexity of whole texts."""
    if metric == "perplexity":
        return {"perplexity_per_token": round(perplexity(model, tokenizer, test), 3)}
    if metric == "exact_match":
        right = sum(answer == reference for answer, reference in zip(answers, test.references, strict=True))
        return {"exact_match": round(right / len(answers), 4)}
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    bleu, chrf, references = BLEU(), CHRF(), [list(test.references)]
    return {
        "bleu": round(bleu.corpus_score(answers, references).score, 2),
        "bleu_signature": str(bleu.get_signature()),
        "chrf": round(chrf.corpus_score(answers, references).score, 2),
        "chrf_signature": str(chrf.get_signature()),
    }


@torch.inference_mode()
def perplexity(model: LanguageModel, tokenizer: PreTrainedTokenizerFast, test: Batch) -> float:
    """Return exp of the mean negative log-likelihood of all tokens of the texts, end tokens counted, no smoothing."""
    pairs = encode(tokenizer, test, bool(model.config.is_encoder_decoder))
    losses = []
    for start in range(0, len(pairs), 100):
        logits, labels = teacher_forced(model, pairs[start : start + 100])
        losses.append(cross_entropy(logits, labels, reduction="none").double())
    return torch.cat(losses).mean().exp().item()
