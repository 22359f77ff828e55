"""How classifiers of texts learn: batches of texts with as many tokens each, so that nothing is padded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.data.sets import Batch, DataSet
from torpor.targets.early_exit.exit_rules import Entropy
from torpor.targets.early_exit.thresholds import choose_threshold, threshold_table
from torpor.targets.text.base import TextClassifier
from torpor.targets.text.exits import TextExitTarget
from torpor.targets.text.skimmed import skimmed
from torpor.training.checkpoint import Checkpoint
from torpor.training.loop import LoopRecipe, Progress, begin, decayed, run_epochs, silent
from torpor.training.teacher import check_packages
from torpor.training.trainer import Trainer
from torpor.zoo.entry import save_card, save_half
from torpor.zoo.language.tokenizer import train_tokenizer
from torpor.zoo.text.encoder import ExitEncoder, SkimEncoder
from torpor.zoo.text.registry import TextClassifierEntry, read_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DROPS = (0.01, 0.05)
"""Shares of accuracy that named rules may lose."""


@dataclass(frozen=True, kw_only=True)
class TextRecipe(LoopRecipe):
    """How an encoder learns from texts: AdamW, one cycle of learning rates.

    Attributes:
        vocab_size: tokens of the byte-level vocabulary.
        batch_size: texts per step at most; fewer where there are not as many of one length.
        learning_rate: peak.
        weight_decay: of matrices.
        label_smoothing: of the loss.
    """

    vocab_size: int = 2000
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.02


@dataclass(frozen=True, kw_only=True)
class TextExitRecipe(TextRecipe):
    """How an encoder learns with a classifier after each layer.

    Attributes:
        entropy: threshold of the deployed rule, as a share of the largest entropy; SAME's for DeeBERT is near.
    """

    entropy: float = 0.2


@dataclass(frozen=True, kw_only=True)
class SkimmingRecipe(TextRecipe):
    """How an encoder learns to skim as well.

    Attributes:
        kept: weight of the share of tokens that run, over all layers.
        free: share of the training in which tokens cost nothing.
        noise: width of the logistic noise on logits.
    """

    kept: float = 0.3
    free: float = 0.3
    noise: float = 0.5


Losses = Callable[[Any, Tensor, Tensor, Any, int], tuple[Tensor, Tensor]]
"""Return the loss to descend and the part of it to show, of a network, ids ``[B, N]``, classes, a recipe, an epoch."""


def every_exit(
    model: ExitEncoder, ids: Tensor, labels: Tensor, recipe: TextRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the losses of all exits, later ones with more weight (PABEE), and of certainties; and the last exit's.

    A certainty learns whether its exit is right (BERxiT), without an effect on the layers.
    """
    logits, sure = model(ids)
    exits = logits.shape[1]
    wanted, smoothing = labels[:, None].expand(-1, exits), recipe.label_smoothing
    each = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none", label_smoothing=smoothing).mean(0)
    weights = torch.arange(1, exits + 1, dtype=each.dtype, device=each.device)
    right = (logits.detach().argmax(-1) == labels[:, None]).to(sure)
    certainty = F.binary_cross_entropy_with_logits(sure, right)
    return (weights * each).sum() / weights.sum() + 0.1 * certainty, each[-1]


def kept_tokens(
    model: SkimEncoder, ids: Tensor, labels: Tensor, recipe: SkimmingRecipe, epoch: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy with the share of tokens that run, and without."""

    def noise(logits: Tensor) -> Tensor:
        return logits + recipe.noise * torch.rand_like(logits).clamp(1e-4, 1 - 1e-4).logit()

    found = skimmed(model, model.words(ids), noise)
    loss = F.cross_entropy(found.scores, labels, label_smoothing=recipe.label_smoothing)
    weight = recipe.kept if epoch >= recipe.free * recipe.epochs else 0.0
    return loss + weight * found.alive[..., 1:].mean(), loss


def of_one_length(lengths: Sequence[int], size: int, rng: torch.Generator) -> list[Tensor]:
    """Group rows of one length into batches of at most ``size``, in a random order; always as many batches.

    >>> groups = of_one_length([3, 5, 3, 3], 2, torch.Generator())
    >>> sorted(len(group) for group in groups)
    [1, 1, 2]
    """
    order = torch.randperm(len(lengths), generator=rng)
    known = torch.tensor(lengths)
    groups = [part for length in known.unique() for part in order[known[order] == length].split(size)]
    return [groups[place] for place in torch.randperm(len(groups), generator=rng).tolist()]


def teach(
    build: Callable[[], nn.Module],
    ids: Sequence[Sequence[int]],
    labels: Tensor,
    recipe: TextRecipe,
    checkpoint: Path,
    losses: Losses,
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> tuple[nn.Module, float]:
    """Train what ``build`` returns, or go on from ``checkpoint``; return it in evaluation mode, and the seconds.

    Raises:
        UsageError: if the checkpoint is damaged, or of another training that is not finished.
    """
    model = begin(build, recipe.seed, device)
    lengths = [len(own) for own in ids]

    def draw(epoch: int, rng: torch.Generator) -> list[Tensor]:
        return of_one_length(lengths, recipe.batch_size, rng)

    def loss(rows: Tensor, epoch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        batch = torch.tensor([ids[row] for row in rows.tolist()], device=device)
        return losses(model, batch, labels[rows].to(device), recipe, epoch)

    optimizer = torch.optim.AdamW(decayed(model.parameters(), recipe.weight_decay), lr=recipe.learning_rate)
    digest = hashlib.sha256(repr((list(ids), labels.tolist())).encode()).hexdigest()
    state = Checkpoint(checkpoint, {**asdict(recipe), "data": digest}, model.state_dict(), [optimizer])
    return model, run_epochs(model, state, recipe, draw, loss, warmup=0.1, clip=1.0, progress=progress)


@dataclass(frozen=True)
class TextTrainer(Trainer):
    """Trains a classifier of texts of the zoo.

    Attributes:
        losses: what is descended.
    """

    entry: TextClassifierEntry
    recipe: TextRecipe
    losses: Losses

    @override
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Trainer.fit`; thresholds are chosen on validation data, never on test data."""
        check_packages(self.entry.name)
        data = self.entry.data(data_dir)
        samples, home = data.load("train"), folder / self.entry.name
        tokenizer = self._tokenizer(home, samples)
        ids = tokenizer(list(samples.inputs)).input_ids
        model, seconds = teach(
            lambda: self.entry.build(len(tokenizer)),
            ids,
            samples.references,
            self.recipe,
            self.checkpoint(folder),
            self.losses,
            device=device,
            progress=progress,
        )
        save_half(model, home / "model.safetensors")
        return self.finish(model, len(tokenizer), data, folder, seconds)

    def finish(self, model: nn.Module, vocabulary: int, data: DataSet, folder: Path, seconds: float) -> Path:
        """Judge the weights in ``folder``, write the card, and return its path."""
        home = folder / self.entry.name
        facts = judged(self.entry, home, data, self.recipe)
        card = {
            "name": self.entry.name,
            "parameters": sum(value.numel() for value in model.parameters()),
            "vocabulary": vocabulary,
            "data": data.fingerprint(),
            **facts,
            "recipe": asdict(self.recipe),
            "seconds": round(seconds, 1),
            "torch": torch.__version__,
            "sha256": hashlib.sha256((home / "model.safetensors").read_bytes()).hexdigest(),
        }
        return save_card(folder / f"{self.entry.name}.json", card)

    def _tokenizer(self, home: Path, samples: Batch) -> PreTrainedTokenizerFast:
        """Learn tokens from the training split and write them to ``home``; the same texts always give the same ones."""
        home.mkdir(parents=True, exist_ok=True)
        train_tokenizer(samples.inputs, self.recipe.vocab_size, "decoder-only").save_pretrained(home)
        return read_tokenizer(home, self.entry.name)


def judged(entry: TextClassifierEntry, home: Path, data: DataSet, recipe: TextRecipe) -> dict[str, Any]:
    """Return what a classifier is worth on validation and test data: of exits, each one's accuracy and thresholds."""
    if isinstance(recipe, TextExitRecipe):
        target = entry.open(home, {"entropy": recipe.entropy, "thresholds": {}})
        assert isinstance(target, TextExitTarget)
        facts = {"entropy": recipe.entropy, **judged_exits(target, data)}
    else:
        target = entry.open(home, {})
        facts = {"flops_per_unit": {unit.name: unit.flops for unit in target.units}}
    return {**facts, **{split: deployed(target, data, split) for split in ("test", "validation")}}


def judged_exits(target: TextExitTarget, data: DataSet) -> dict[str, Any]:
    """Return accuracy and cost of each exit, and thresholds of entropy chosen on validation data."""
    accuracy: dict[str, list[float]] = {}
    logits = labels = torch.empty(0)
    for split in ("test", "validation"):
        parts = [(_exit_logits(target, batch.inputs), batch.references) for batch in data.batches(split, 250)]
        logits, labels = (torch.cat(each) for each in zip(*parts, strict=True))
        right = (logits.argmax(-1) == labels.unsqueeze(1)).to(torch.float64).mean(0)
        accuracy[split] = [round(value, 4) for value in right.tolist()]
    table = threshold_table(logits, labels, target.exit_costs, Entropy)
    chosen = {str(drop): choose_threshold(table, accuracy["validation"][-1], drop).threshold for drop in DROPS}
    return {
        "rule": "entropy",
        "accuracy_per_exit": accuracy,
        "flops_per_unit": {unit.name: unit.flops for unit in target.units},
        "cost_per_exit": [round(value, 4) for value in target.exit_costs.tolist()],
        "thresholds": chosen,
        "threshold_table": [asdict(row) for row in table],
        "threshold_split": "validation",
    }


@torch.no_grad()
def _exit_logits(target: TextExitTarget, texts: Sequence[str]) -> Tensor:
    return target.signals(texts).exit_logits


def deployed(target: TextClassifier, data: DataSet, split: str) -> Mapping[str, float]:
    """Return the accuracy on a split as deployed, and the mean cost as a share of the static bound."""
    right, share = [], []
    for batch in data.batches(split, 250):
        outcome = target.run(batch.inputs)
        right.append(target.utility(outcome.outputs, batch.references))
        share.append(target.prices.cost(outcome.work) / target.prices.cost(target.max_work(batch.inputs)))
    return {
        "accuracy": round(torch.cat(right).mean().item(), 4),
        "cost_share": round(torch.cat(share).mean().item(), 4),
    }
