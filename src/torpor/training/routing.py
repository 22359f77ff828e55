"""Teach the small parts of a router: a cheap reader, and a gate that foresees where the models will not agree."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.data.sets import DataSet
from torpor.targets.text.routed import RoutedTarget
from torpor.training.loop import Progress
from torpor.training.teacher import check_packages
from torpor.training.texts import TextRecipe, deployed, teach
from torpor.training.trainer import Trainer
from torpor.zoo.entry import save_card, save_half
from torpor.zoo.text.router import SmallParts
from torpor.zoo.text.routers import RouterEntry

AT_ONCE = 250


@dataclass(frozen=True, kw_only=True)
class RouterRecipe(TextRecipe):
    """How the small parts of a router learn.

    Attributes:
        expensive: share of validation texts that the threshold sends to the expensive model.
        more: words of other texts that the gate meets after each text a second time, at most.
    """

    expensive: float = 0.25
    more: int = 6


def classes(model: nn.Module, ids: Tensor, labels: Tensor, recipe: TextRecipe, epoch: int) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of a cheap reader, twice."""
    loss = F.cross_entropy(model(ids), labels, label_smoothing=recipe.label_smoothing)
    return loss, loss


def hardness(model: nn.Module, ids: Tensor, labels: Tensor, recipe: TextRecipe, epoch: int) -> tuple[Tensor, Tensor]:
    """Return the binary cross-entropy of a gate, twice."""
    loss = F.binary_cross_entropy_with_logits(model(ids).squeeze(-1), labels.to(torch.float32))
    return loss, loss


@dataclass(frozen=True)
class RouterTrainer(Trainer):
    """Trains the cheap reader on the task, then the gate on where both models answer differently.

    The gate sees each text twice, once with random words of other texts after it, so that it does not take everything
    that is new for hard.
    """

    entry: RouterEntry
    recipe: RouterRecipe

    @override
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Trainer.fit`; the threshold is chosen on validation data, never on test data."""
        name, recipe = self.entry.name, self.recipe
        check_packages(name)
        data, large = self.entry.data(data_dir), self.entry.large()
        samples = data.load("train")
        ids = large.tokenized(samples.inputs)
        small, seconds = SmallParts(large.codec.size), 0.0
        open_target = self.entry.open(small, 0.0)
        labels = samples.references
        for part, losses in (("cheap", classes), ("gate", hardness)):
            if part == "gate":
                texts = (*samples.inputs, *longer(samples.inputs, recipe))
                ids = large.tokenized(texts)
                cheap, expensive = (answers(open_target, each, texts) for each in ("cheap", "large"))
                labels = (cheap != expensive).to(torch.int64)
            taught, took = teach(
                partial(untrained, part, large.codec.size),
                ids,
                labels,
                recipe,
                folder / f"{name}.{part}.checkpoint.safetensors",
                losses,
                device=device,
                progress=progress,
            )
            getattr(small, part).load_state_dict(taught.cpu().state_dict())
            small.eval()
            seconds += took
        path = folder / f"{name}.safetensors"
        save_half(small, path)
        threshold = chosen(self.entry.open(small, 0.0), data, recipe.expensive)
        target = self.entry.open(small, threshold)
        card = {
            "name": name,
            "weights": self.entry.of.name,
            "parameters": sum(value.numel() for value in small.parameters()),
            "data": data.fingerprint(),
            "threshold": threshold,
            **{split: judged_router(target, data, split) for split in ("test", "validation")},
            "recipe": asdict(recipe),
            "seconds": round(seconds, 1),
            "torch": torch.__version__,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        return save_card(folder / f"{name}.json", card)


def longer(texts: Sequence[str], recipe: RouterRecipe) -> list[str]:
    """Return texts with one to ``recipe.more`` words of other texts after them."""
    rng = torch.Generator().manual_seed(recipe.seed)
    words = sorted({word for text in texts for word in text.split()})
    counts = torch.randint(1, recipe.more + 1, (len(texts),), generator=rng).tolist()
    drawn = torch.randint(len(words), (len(texts), recipe.more), generator=rng).tolist()
    return [
        " ".join([text, *(words[place] for place in row[:count])])
        for text, count, row in zip(texts, counts, drawn, strict=True)
    ]


def untrained(part: str, vocabulary: int) -> nn.Module:
    """Build a small part of a router, ``"cheap"`` or ``"gate"``."""
    found: nn.Module = getattr(SmallParts(vocabulary), part)
    return found


@torch.no_grad()
def asked(target: RoutedTarget, part: str, texts: tuple[str, ...]) -> Tensor:
    """Return what a part of a router says to texts, ``[B, ...]``."""
    found = list[tuple[Tensor, Tensor]]()
    for start in range(0, len(texts), AT_ONCE):
        found += [(rows + start, target.parts[part](ids)) for rows, ids in target.alike(texts[start : start + AT_ONCE])]
    order = torch.cat([rows for rows, _ in found]).argsort()
    return torch.cat([said for _, said in found]).cpu()[order]


def answers(target: RoutedTarget, part: str, texts: tuple[str, ...]) -> Tensor:
    """Return the class that a model of a router answers with, int64 ``[B]``."""
    return asked(target, part, texts).argmax(-1)


def chosen(target: RoutedTarget, data: DataSet, share: float) -> float:
    """Return the threshold of the gate that sends a share of validation texts to the expensive model."""
    logits = asked(target, "gate", data.load("validation").inputs)
    return round(logits.quantile(1 - share).item(), 4)


def judged_router(target: RoutedTarget, data: DataSet, split: str) -> Mapping[str, Any]:
    """Return accuracy, cost and routing on a split, and the accuracy of each model alone."""
    batch = data.load(split)
    sent = target.expensive(target.run(batch.inputs).work)
    alone = {
        f"accuracy_{part}": round((answers(target, part, batch.inputs) == batch.references).double().mean().item(), 4)
        for part in ("cheap", "large")
    }
    return {**deployed(target, data, split), "expensive_share": round(sent.double().mean().item(), 4), **alone}
