"""Train a small language model on texts, batches of like length; see :mod:`torpor.training.teacher`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from typing_extensions import override

from torpor.data.sets import Batch, DataSet
from torpor.targets.decoder.generation import GenerationTarget
from torpor.training.forcing import teacher_forced
from torpor.training.loop import Progress, silent
from torpor.training.slips import Slips
from torpor.training.teacher import Lesson, TeacherRecipe, check_packages, fit, save_pretrained
from torpor.training.trainer import Trainer
from torpor.zoo.language.architectures import Builder
from torpor.zoo.language.noise import Draw, roughen
from torpor.zoo.language.registry import LanguageEntry
from torpor.zoo.language.tokenizer import Pair, encode, train_tokenizer, whole

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from torpor.zoo.language.architectures import LanguageModel


@dataclass(frozen=True, kw_only=True)
class LanguageRecipe(TeacherRecipe):
    """How a language model is taught.

    Attributes:
        vocab_size: tokens of the byte-level vocabulary.
        batch_tokens: most tokens of a batch, sources, targets and padding counted.
        rough_epochs: passes that follow, at ``rough_rate``, with random tokens in what the decoder is given; a
            translator's sources then have typing errors, and sources and targets made-up names
            (:mod:`torpor.zoo.language.noise`).
        rough_rate: peak learning rate of these.
        wrong: share of the random tokens.
        repeated: share of tokens given again instead of the next; see :class:`torpor.training.slips.Slips`.
    """

    vocab_size: int
    batch_tokens: int = 4096
    rough_epochs: int = 0
    rough_rate: float = 3e-4
    wrong: float = 0.0
    repeated: float = 0.0


def train_language(
    entry: LanguageEntry,
    data: DataSet,
    recipe: LanguageRecipe,
    folder: Path,
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> Path:
    """Train ``entry`` on ``data``; write it to ``folder / NAME`` in Hugging Face's layout; return the path of its card.

    Tokens are learned from the training split; the test split is only reported. An interrupted training resumes from
    its checkpoint in ``folder``, which is replaced after every epoch, and ends with the same weights.

    Raises:
        DataError: if the data cannot be read or have no references.
        UsageError: if the checkpoint is damaged, or a package is missing.
    """
    check_packages(entry.name)
    samples = data.load("train")
    both = entry.kind == "encoder-decoder"
    joined = [*samples.inputs, *samples.references] if both else whole(samples)
    tokenizer = train_tokenizer(joined, recipe.vocab_size, entry.kind)
    run = partial(teach, tokenizer=tokenizer, device=device, progress=progress)
    smooth = replace(recipe, rough_epochs=0, wrong=0.0, repeated=0.0)
    pairs = encode(tokenizer, samples, both)
    checkpoint = folder / f"{entry.name}.checkpoint.safetensors"
    model, seconds = run(entry.build, pairs=lambda epoch: pairs, recipe=smooth, checkpoint=checkpoint)
    if recipe.rough_epochs:
        rough = replace(recipe, epochs=recipe.rough_epochs, learning_rate=recipe.rough_rate)

        def roughened(epoch: int) -> Sequence[Pair]:
            if not both:
                return pairs
            keys = (Draw(f"{rough.seed}/{epoch}/{row}") for row in range(len(samples)))
            drawn = [roughen(*pair) for pair in zip(samples.inputs, samples.references, keys, strict=True)]
            inputs, references = zip(*drawn, strict=True)
            return encode(tokenizer, Batch(samples.index, inputs, references), both)

        trained = model
        checkpoint = folder / f"{entry.name}.rough.checkpoint.safetensors"
        model, more = run(lambda tokenizer, dropout: trained, pairs=roughened, recipe=rough, checkpoint=checkpoint)
        seconds += more

    def further(target: GenerationTarget) -> dict[str, float]:
        if both:
            return {}
        return {"perplexity_per_token": round(perplexity(target.model, tokenizer, data.load("test")), 3)}

    return save_pretrained(entry.name, model, [tokenizer], data, recipe, folder, seconds, further)


@dataclass(frozen=True)
class LanguageTrainer(Trainer):
    """Trains a language model of the zoo."""

    entry: LanguageEntry
    recipe: LanguageRecipe

    @override
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        data = self.entry.data(data_dir)
        return train_language(self.entry, data, self.recipe, folder, device=device, progress=progress)


def teach(
    build: Builder,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Callable[[int], Sequence[Pair]],
    recipe: LanguageRecipe,
    checkpoint: Path,
    *,
    device: str = "cpu",
    progress: Progress = silent,
    further: Callable[[LanguageModel], Tensor] | None = None,
) -> tuple[LanguageModel, float]:
    """Train on the ``pairs`` of each epoch; see :func:`torpor.training.teacher.fit`."""

    def lessons(epoch: int, rng: torch.Generator) -> list[Lesson]:
        drawn = pairs(epoch)
        groups = batches(drawn, recipe.batch_tokens, rng)
        return [partial(teacher_forced, pairs=[drawn[row] for row in rows], slips=slips) for rows in groups]

    slips = Slips(recipe.wrong, recipe.repeated)
    digest = hashlib.sha256(repr(list(pairs(0))).encode()).hexdigest()
    make = partial(build, tokenizer, recipe.dropout)
    return fit(make, lessons, digest, recipe, checkpoint, device=device, progress=progress, further=further)


def batches(pairs: Sequence[Pair], budget: int, rng: torch.Generator) -> list[list[int]]:
    """Group pairs of like length into batches of at most ``budget`` tokens, padding counted, in a random order.

    >>> pairs = [([1] * n, [2] * n) for n in (1, 9, 2, 8)]
    >>> sorted(sorted(batch) for batch in batches(pairs, 40, torch.Generator()))
    [[0, 2], [1, 3]]
    """
    order = torch.randperm(len(pairs), generator=rng).tolist()
    order.sort(key=lambda row: (len(pairs[row][1]), len(pairs[row][0])))  # stable: equal lengths stay shuffled
    groups: list[list[int]] = []
    source = target = 0
    for row in order:
        source, target = max(source, len(pairs[row][0])), max(target, len(pairs[row][1]) + 1)
        if not groups or (len(groups[-1]) + 1) * (source + target) > budget:
            groups.append([])
            source, target = len(pairs[row][0]), len(pairs[row][1]) + 1
        groups[-1].append(row)
    return [groups[place] for place in torch.randperm(len(groups), generator=rng).tolist()]


@torch.inference_mode()
def perplexity(model: LanguageModel, tokenizer: PreTrainedTokenizerFast, test: Batch) -> float:
    """Return exp of the mean negative log-likelihood of all tokens of the texts, end tokens counted, no smoothing."""
    pairs = encode(tokenizer, test, bool(model.config.is_encoder_decoder))
    losses = []
    for start in range(0, len(pairs), 100):
        logits, labels = teacher_forced(model, pairs[start : start + 100])
        losses.append(cross_entropy(logits, labels, reduction="none").double())
    return torch.cat(losses).mean().exp().item()
