"""Train a small speech recognizer on utterances of which none is heard twice; see :mod:`torpor.training.teacher`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from torpor.data.speech import SpokenDigits
from torpor.targets.decoder.generation.readers import LogMelReader
from torpor.training.forcing import answer_logits
from torpor.training.loop import Progress, silent
from torpor.training.teacher import Lesson, TeacherRecipe, check_packages, fit, save_pretrained
from torpor.training.trainer import Trainer
from torpor.zoo.language.tokenizer import BYTES_ONLY, train_tokenizer
from torpor.zoo.speech.architectures import feature_extractor
from torpor.zoo.speech.registry import SpeechEntry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, WhisperForConditionalGeneration


@dataclass(frozen=True, kw_only=True)
class SpeechRecipe(TeacherRecipe):
    """How a speech recognizer is taught.

    Attributes:
        batch_size: utterances per step.
        noise: largest standard deviation of the white noise that is added; each utterance draws its own from 0 to this.
    """

    batch_size: int = 32
    noise: float = 0.02


def train_speech(
    entry: SpeechEntry,
    data: SpokenDigits,
    recipe: SpeechRecipe,
    folder: Path,
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> Path:
    """Train ``entry`` on ``data``; write it to ``folder / NAME`` in Hugging Face's layout; return the path of its card.

    Each epoch joins other utterances out of the training recordings. An interrupted training resumes from its
    checkpoint in ``folder``, which is replaced after every epoch, and ends with the same weights.

    Raises:
        DataError: if the data cannot be read.
        UsageError: if the checkpoint is damaged, or a package is missing.
    """
    check_packages(entry.name)
    tokenizer, extractor = train_tokenizer([], BYTES_ONLY, "encoder-decoder"), feature_extractor()
    reader = LogMelReader(extractor, extractor.nb_max_frames)

    def lessons(epoch: int, rng: torch.Generator) -> list[Lesson]:
        count, size = data.sizes["train"], recipe.batch_size
        numbers = range(epoch * count, (epoch + 1) * count)
        return [
            partial(_dictate, data, numbers[start : start + size], reader, tokenizer, recipe.noise)
            for start in range(0, count, size)
        ]

    data.utterance("train", 0)  # fail now if something is wrong with the data
    make, checkpoint = partial(entry.build, tokenizer, recipe.dropout), folder / f"{entry.name}.checkpoint.safetensors"
    model, seconds = fit(make, lessons, data.fingerprint(), recipe, checkpoint, device=device, progress=progress)
    return save_pretrained(entry.name, model, [tokenizer, extractor], data, recipe, folder, seconds)


@dataclass(frozen=True)
class SpeechTrainer(Trainer):
    """Trains a speech recognizer of the zoo."""

    entry: SpeechEntry
    recipe: SpeechRecipe

    @override
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        data = self.entry.data(data_dir)
        return train_speech(self.entry, data, self.recipe, folder, device=device, progress=progress)


def _dictate(
    data: SpokenDigits,
    numbers: Sequence[int],
    reader: LogMelReader,
    tokenizer: PreTrainedTokenizerFast,
    noise: float,
    model: WhisperForConditionalGeneration,
) -> tuple[Tensor, Tensor]:
    """Return the logits ``[N, V]`` of all tokens of some transcripts, the end included, and these ``[N]``."""
    pairs = [data.utterance("train", number) for number in numbers]
    waves = reader.space.from_bytes(torch.stack([sound for sound, _ in pairs]))
    waves = reader.space.clamp(waves + noise * torch.rand(len(waves), 1) * torch.randn_like(waves))
    answers = tokenizer([text for _, text in pairs], add_special_tokens=False).input_ids
    features = reader(waves.to(model.device))["input_features"]
    return answer_logits(model, answers, "decoder_input_ids", input_features=features)
