"""Train a captioner: the word before is given, resumable, the same weights for the same seed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.data.images import to_unit
from torpor.data.scenes import WORDS
from torpor.data.sets import Batch, DataSet
from torpor.targets.decoder.captioner import CaptionerTarget
from torpor.training.card import write_card
from torpor.training.checkpoint import Checkpoint
from torpor.training.crafting import BatchAttack, unattacked
from torpor.training.decoders import judge
from torpor.training.image_recipe import ImageRecipe, with_noise
from torpor.training.loop import Progress, begin, decayed, run_epochs, shuffled, silent
from torpor.training.trainer import Trainer
from torpor.zoo.captioning.captioner import Captioner
from torpor.zoo.captioning.registry import IMAGE_SHAPE, CaptionEntry
from torpor.zoo.captioning.vocabulary import Vocabulary
from torpor.zoo.entry import load_half, save_half


@dataclass(frozen=True, kw_only=True)
class CaptionRecipe(ImageRecipe):
    """How a captioner is trained.

    Attributes:
        even_attention: weight alpha_c of the loss that asks the decoder to look at every position about once (Xu et
            al., "Show, Attend and Tell", section 4.2.1, "doubly stochastic attention").
    """

    batch_size: int = 128
    noise: float = 0.1
    even_attention: float = 1.0


def train_captioner(
    build: Callable[[Vocabulary], Captioner],
    vocabulary: Vocabulary,
    data: Batch,
    recipe: CaptionRecipe,
    checkpoint: Path,
    *,
    attack: BatchAttack[Captioner] = unattacked,
    device: str = "cpu",
    progress: Progress = silent,
) -> tuple[Captioner, float]:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe left one.

    The checkpoint is replaced after every epoch. ``attack`` changes each batch before it is learned from.

    Returns:
        The trained captioner on ``device``, in evaluation mode, and the seconds that all runs took together.

    Raises:
        UsageError: if there are fewer samples than a batch holds, or the checkpoint is damaged.
    """
    model = begin(partial(build, vocabulary), recipe.seed, device)
    images, ids = data.inputs.to(device), to_ids(data.references, vocabulary).to(device)

    def draw(epoch: int, rng: torch.Generator) -> list[Tensor]:
        return shuffled(len(data), recipe.batch_size, rng)

    def loss(rows: Tensor, epoch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        pick = rows.to(device)
        batch = with_noise(to_unit(images[pick]), recipe.noise, rng)
        batch = attack(model, batch, ids[pick], rng)
        words, attention = losses(model, batch, ids[pick], autocast=recipe.autocast)
        return words + recipe.even_attention * attention, words

    optimizer = torch.optim.AdamW(decayed(model.parameters(), recipe.weight_decay), lr=recipe.learning_rate)
    plan = {**asdict(recipe), "samples": len(data), "words": vocabulary.words}
    state = Checkpoint(checkpoint, plan, model.state_dict(), [optimizer])
    return model, run_epochs(model, state, recipe, draw, loss, progress=progress)


def losses(model: Captioner, images: Tensor, ids: Tensor, *, autocast: bool, parts: int = 4) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy of the words, and how unevenly the decoder looked at the positions.

    Images are encoded together, and decoded in ``parts`` by length, so that little work goes into padding.

    Args:
        model: in training mode.
        images: images in [0, 1], ``[B, 3, H, W]``.
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
    target = CaptionerTarget(stored, input_shape=IMAGE_SHAPE, name=name)
    scores: dict[str, Any] = {split: judge(target, data, split) for split in ("test", "validation")}
    scores["vocabulary"] = model.vocabulary.words
    return write_card(name, model, data, scores, recipe, folder, seconds)


@dataclass(frozen=True)
class CaptionTrainer(Trainer):
    """Trains a captioner of the zoo."""

    entry: CaptionEntry
    recipe: CaptionRecipe

    def start(self, vocabulary: Vocabulary) -> Captioner:
        """Build the captioner that training starts from."""
        return self.entry.build(vocabulary)

    def attack(self) -> BatchAttack[Captioner]:
        """Return what changes each batch before it is learned from."""
        return unattacked

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Trainer.fit`; the data are generated, so ``data_dir`` is not read."""
        data, words = self.entry.data(), Vocabulary.of(WORDS)
        samples, checkpoint = data.load("train"), self.checkpoint(folder)
        model, seconds = train_captioner(
            self.start,
            words,
            samples,
            self.recipe,
            checkpoint,
            attack=self.attack(),
            device=device,
            progress=progress,
        )
        return save_captioner(self.entry.name, model, data, self.recipe, folder, seconds)
