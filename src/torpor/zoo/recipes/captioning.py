"""Train a captioner: the word before is given, resumable, the same weights for the same seed."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.core.errors import UsageError
from torpor.data.images import to_unit
from torpor.data.scenes import SIDE
from torpor.data.sets import Batch, DataSet
from torpor.targets.captioner import CaptionerTarget
from torpor.zoo.captioning.captioner import Captioner
from torpor.zoo.captioning.vocabulary import Vocabulary
from torpor.zoo.entry import Progress, silent
from torpor.zoo.recipes.checkpoint import Checkpoint
from torpor.zoo.recipes.decoders import judge
from torpor.zoo.recipes.training import one_cycle
from torpor.zoo.storage import load_half, save_half

PICTURE = (3, SIDE, SIDE)


@dataclass(frozen=True)
class CaptionRecipe:
    """How a captioner is trained: AdamW with one-cycle learning rates and gradients of at most norm 5.

    Attributes:
        epochs: passes over the training split.
        batch_size: pictures per step.
        learning_rate: peak.
        weight_decay: of matrices and kernels.
        even_attention: weight alpha_c of the loss that asks the decoder to look at every position about once (Xu et
            al., "Show, Attend and Tell", section 4.2.1, "doubly stochastic attention").
        noise: largest standard deviation of the normal noise on each picture, in pixels of [0, 1]; drawn for each.
        autocast: whether to compute in bfloat16; convolutions per channel are slower in it on a CPU.
        seed: of initialization and order.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    even_attention: float = 1.0
    noise: float = 0.1
    autocast: bool = True
    seed: int = 0


def train_captioner(
    build: Callable[[Vocabulary], Captioner],
    vocabulary: Vocabulary,
    data: Batch,
    recipe: CaptionRecipe,
    checkpoint: Path,
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> tuple[Captioner, float]:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe left one.

    The checkpoint is replaced after every epoch.

    Returns:
        The trained captioner on ``device``, in evaluation mode, and the seconds that all runs took together.

    Raises:
        UsageError: if there are fewer samples than a batch holds, or the checkpoint is damaged.
    """
    if len(data) < recipe.batch_size:
        raise UsageError(f"expected {recipe.batch_size} samples or more, got {len(data)}; use a smaller batch size")
    torch.manual_seed(recipe.seed)
    model = build(vocabulary).to(device).train()
    for kernel in model.parameters():
        if kernel.ndim == 4:
            kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    optimizer = _optimizer(model, recipe)
    images, ids = data.inputs.to(device), to_ids(data.references, vocabulary).to(device)
    per_epoch = len(data) // recipe.batch_size
    total = per_epoch * recipe.epochs
    plan = {**asdict(recipe), "samples": len(data), "words": vocabulary.words}
    state = Checkpoint(checkpoint, plan, model.state_dict(), [optimizer])
    first, seconds = state.restore()
    for epoch in range(first, recipe.epochs):
        began = time.perf_counter()
        chance = torch.Generator().manual_seed((recipe.seed * 100_003 + epoch) % 2**63)
        order = torch.randperm(len(data), generator=chance).to(device)
        for step in range(per_epoch):
            done = epoch * per_epoch + step
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * one_cycle(done / total)
            pick = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            pictures = with_noise(to_unit(images[pick]), recipe.noise, chance)
            words, attention = losses(model, pictures, ids[pick], autocast=recipe.autocast)
            optimizer.zero_grad()
            (words + recipe.even_attention * attention).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            if done % 10 == 0:
                progress(done + 1, total, words.item())
        seconds += time.perf_counter() - began
        state.save(epoch + 1, seconds)
    progress(total, total, math.nan)
    return model.eval(), seconds


def with_noise(pictures: Tensor, most: float, chance: torch.Generator) -> Tensor:
    """Add normal noise of a strength from 0 to ``most`` to each picture ``[B, C, H, W]`` in [0, 1]."""
    if not most:
        return pictures
    strength = most * torch.rand(len(pictures), 1, 1, 1, generator=chance)
    noise = strength * torch.randn(pictures.shape, generator=chance)
    return (pictures + noise.to(pictures.device)).clamp(0, 1)


def losses(model: Captioner, images: Tensor, ids: Tensor, *, autocast: bool, parts: int = 4) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of the words, and how unevenly the decoder looked at the positions.

    Pictures are encoded together, and decoded in ``parts`` by length, so that little work goes into padding.

    Args:
        model: in training mode.
        images: pictures in [0, 1], ``[B, 3, H, W]``.
        ids: words and end of each caption, padded, int64 ``[B, T]``.
        autocast: compute in bfloat16.
        parts: into which the batch is cut.
    """
    pad = model.vocabulary.pad
    order = (ids != pad).sum(1).argsort(stable=True)
    words = attention = torch.zeros((), device=images.device)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
        features = model.encode(images.contiguous(memory_format=torch.channels_last))
        for rows in order.chunk(parts):
            said = ids[rows]
            said = said[:, : int((said != pad).sum(1).max())]
            logits, weights = model.unroll(features[rows], said)
            words = words + F.cross_entropy(
                logits.float().flatten(0, 1), said.flatten(), ignore_index=pad, reduction="sum"
            )
            looked = (weights.float() * (said != pad).unsqueeze(-1)).sum(1)
            attention = attention + (1 - looked).square().mean(1).sum()
    return words / (ids != pad).sum(), attention / len(ids)


def to_ids(captions: Sequence[str], vocabulary: Vocabulary) -> Tensor:
    """Return the words and the end of each caption, padded to the longest, int64 ``[B, T]``.

    >>> to_ids(["a", "a a"], Vocabulary.of(["a"])).tolist()
    [[4, 2, 0], [4, 4, 2]]
    """
    rows = [torch.tensor(vocabulary.encode(caption)) for caption in captions]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=vocabulary.pad)


def save_captioner(
    name: str, model: Captioner, data: DataSet, recipe: CaptionRecipe, folder: Path, seconds: float
) -> Path:
    """Write ``NAME.safetensors`` (matrices and kernels in half precision) and ``NAME.json``; return the card's path."""
    weights = folder / f"{name}.safetensors"
    save_half(model, weights)
    stored = load_half(copy.deepcopy(model).cpu(), weights, name)
    target = CaptionerTarget(stored, input_shape=PICTURE, name=name)
    card = {
        "name": name,
        "parameters": sum(value.numel() for value in model.parameters()),
        "data": data.fingerprint(),
        "test": judge(target, data, "test"),
        "validation": judge(target, data, "validation"),
        "vocabulary": model.vocabulary.words,
        "recipe": asdict(recipe),
        "seconds": round(seconds, 1),
        "torch": torch.__version__,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return path


def _optimizer(model: Captioner, recipe: CaptionRecipe) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)
