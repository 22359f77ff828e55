"""Train a small speech recognizer on utterances of which none is heard twice; see :mod:`torpor.zoo.recipes.teacher`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torpor.data.speech import SpokenDigits
from torpor.targets.generation.readers import LogMelReader
from torpor.zoo.entry import Progress, silent
from torpor.zoo.language.architectures import answer_logits
from torpor.zoo.language.tokenizer import BYTES_ONLY, train_tokenizer
from torpor.zoo.recipes.teacher import Lesson, TeacherRecipe, check_packages, fit, save_pretrained
from torpor.zoo.speech.architectures import feature_extractor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, WhisperForConditionalGeneration

    from torpor.zoo.speech.registry import SpeechEntry

Builder = Callable[["PreTrainedTokenizerFast", float], "WhisperForConditionalGeneration"]


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
    folder: Path,
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> Path:
    """Train ``entry`` on ``data``, write it to ``folder / NAME`` in Hugging Face's layout; return the path of its card.

    Each epoch joins other utterances out of the training recordings. An interrupted training goes on from its
    checkpoint in ``folder``, which is replaced after every epoch, and ends with the same weights.

    Raises:
        DataError: if the data cannot be read.
        UsageError: if the checkpoint is damaged, or a package is missing.
    """
    check_packages(entry.name)
    tokenizer, extractor, recipe = train_tokenizer([], BYTES_ONLY, "encoder-decoder"), feature_extractor(), entry.recipe
    reader = LogMelReader(extractor, extractor.nb_max_frames)

    def lessons(epoch: int, chance: torch.Generator) -> list[Lesson]:
        count, size = data.sizes["train"], recipe.batch_size
        numbers = range(epoch * count, (epoch + 1) * count)
        return [
            partial(_dictate, data, numbers[start : start + size], reader, tokenizer, recipe.noise)
            for start in range(0, count, size)
        ]

    data.utterance("train", 0)  # whatever is wrong with the data, it is said now
    make, checkpoint = partial(entry.build, tokenizer, recipe.dropout), folder / f"{entry.name}.checkpoint.safetensors"
    model, seconds = fit(make, lessons, data.fingerprint(), recipe, checkpoint, device=device, progress=progress)
    return save_pretrained(entry.name, model, [tokenizer, extractor], data, recipe, folder, seconds)


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
