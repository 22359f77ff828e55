"""Train a small language model: teacher-forced, resumable, the same weights for the same seed; save and judge it."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from torpor.core.errors import UsageError
from torpor.data.sets import Batch, DataSet
from torpor.targets.generation import from_transformers
from torpor.zoo.entry import Progress, silent
from torpor.zoo.language.architectures import teacher_forced
from torpor.zoo.language.tokenizer import Pair, encode, train_tokenizer, whole
from torpor.zoo.recipes.checkpoint import Checkpoint
from torpor.zoo.recipes.decoders import judge
from torpor.zoo.recipes.training import one_cycle

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
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> Path:
    """Train ``entry`` on ``data``, write it to ``folder / NAME`` in Hugging Face's layout; return the path of its card.

    Tokens are learned from the training split; the test split is only reported. An interrupted training goes on from
    its checkpoint in ``folder``, which is replaced after every epoch, and ends with the same weights.

    Raises:
        DataError: if the data cannot be read or have no references.
        UsageError: if the checkpoint is damaged, or a package is missing.
    """
    for package in ("transformers", "tokenizers", "sacrebleu"):
        if find_spec(package) is None:
            raise UsageError(f"expected {package} to train {entry.name}, got none; pip install 'torpor[language]'")
    samples = data.load("train")
    joined = [*samples.inputs, *samples.references] if entry.kind == "encoder-decoder" else whole(samples)
    tokenizer = train_tokenizer(joined, entry.recipe.vocab_size, entry.kind)
    pairs = encode(tokenizer, samples, entry.kind == "encoder-decoder")
    checkpoint = folder / f"{entry.name}.checkpoint.safetensors"
    model, seconds = fit(entry.build, tokenizer, pairs, entry.recipe, checkpoint, device=device, progress=progress)
    return save_language(entry, model.cpu(), tokenizer, data, folder, seconds)


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
    device: str = "cpu",
    progress: Progress = silent,
) -> tuple[LanguageModel, float]:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe on the same data left one.

    Returns:
        The trained model in evaluation mode, and the seconds that its training took.
    """
    torch.manual_seed(recipe.seed)
    model = build(tokenizer, recipe.dropout).train()
    torch.nn.Module.to(model, torch.device(device))  # what transformers wraps around it has no types
    deployed = model.config._attn_implementation
    model.set_attn_implementation("eager")  # for short texts on a CPU a training step takes a quarter less
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    groups = [
        {"params": [value for value in weights.values() if value.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [value for value in weights.values() if value.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
    data = hashlib.sha256(repr(list(pairs)).encode()).hexdigest()
    plan = {**asdict(recipe), "model": json.loads(model.config.to_json_string()), "data": data}
    state = Checkpoint(checkpoint, plan, weights, [optimizer])
    first, seconds = state.restore()
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
        state.save(epoch + 1, seconds)
    progress(total, total, math.nan)
    model.set_attn_implementation(deployed)
    return model.train(False), seconds


def save_language(
    entry: LanguageEntry,
    model: LanguageModel,
    tokenizer: PreTrainedTokenizerFast,
    data: DataSet,
    folder: Path,
    seconds: float,
) -> Path:
    """Write model, decoding configuration and tokenizer, weights in half precision, and a card beside them.

    The scores on the test split are those of the rounded weights. The configuration asks for single precision, so that
    whoever loads the folder computes in it.

    Returns:
        The path of the card, ``NAME.json`` in ``folder``.
    """
    from transformers import __version__ as transformers_version

    home, card = folder / entry.name, folder / f"{entry.name}.json"
    card.unlink(missing_ok=True)  # it is written last: where it lies, the model is whole
    home.mkdir(parents=True, exist_ok=True)
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    halves = {name: value.detach().half().contiguous() for name, value in weights.items()}
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(halves[name])
    save_file(halves, home / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures, model.config.dtype = [type(model).__name__], "float32"
    model.config.save_pretrained(home)
    model.generation_config.save_pretrained(home)
    tokenizer.save_pretrained(home)
    test = judge(from_transformers(model, tokenizer, name=entry.name), data, "test")
    if entry.kind == "decoder-only":
        test = {"perplexity_per_token": round(perplexity(model, tokenizer, data.load("test")), 3)} | test
    content = {
        "name": entry.name,
        "parameters": sum(value.numel() for value in weights.values()),
        "vocabulary": len(tokenizer),
        "data": data.fingerprint(),
        "test": test,
        "recipe": asdict(entry.recipe),
        "seconds": round(seconds, 1),
        "torch": torch.__version__,
        "transformers": transformers_version,
        "sha256": hashlib.sha256((home / "model.safetensors").read_bytes()).hexdigest(),
    }
    card.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return card


@torch.inference_mode()
def perplexity(model: LanguageModel, tokenizer: PreTrainedTokenizerFast, test: Batch) -> float:
    """Return exp of the mean negative log-likelihood of all tokens of the texts, end tokens counted, no smoothing."""
    pairs = encode(tokenizer, test, bool(model.config.is_encoder_decoder))
    losses = []
    for start in range(0, len(pairs), 100):
        logits, labels = teacher_forced(model, pairs[start : start + 100])
        losses.append(cross_entropy(logits, labels, reduction="none").double())
    return torch.cat(losses).mean().exp().item()
