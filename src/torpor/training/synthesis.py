"""Train a speech synthesizer on recordings of digits, put together anew for every text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import override

from torpor.core.errors import DataError
from torpor.data.scenes import NUMBERS
from torpor.data.speech import SpokenDigits, spoken_digits
from torpor.targets.decoder.synthesis import SynthesisTarget
from torpor.training.card import write_card
from torpor.training.checkpoint import Checkpoint
from torpor.training.decoders import judge
from torpor.training.loop import LoopRecipe, Progress, begin, decayed, run_epochs, silent
from torpor.training.spectrograms import in_steps, spectrogram
from torpor.training.trainer import Trainer
from torpor.zoo.entry import load_half, save_half
from torpor.zoo.language.noise import Draw, typing_errors
from torpor.zoo.speech.digit_strings import DigitStrings
from torpor.zoo.speech.listener import SILENCE
from torpor.zoo.speech.symbols import SYMBOLS
from torpor.zoo.speech.synthesis import SynthesisEntry
from torpor.zoo.speech.synthesizer import BANDS, Synthesizer

PAUSE = (6, 8)
"""Fewest and most frames of silence before a digit."""
END = 3
"""Frames of silence after the last digit."""
AFTER = 3
"""Steps after the end in which the model still learns to stop."""
TYPOS = 3


@dataclass(frozen=True, kw_only=True)
class SynthesisRecipe(LoopRecipe):
    """How a speech synthesizer is trained.

    Attributes:
        speaker: whose voice it learns.
        batch_size: texts per step.
        learning_rate: peak of AdamW's.
        weight_decay: of matrices.
        typos: share of the texts with up to :data:`TYPOS` typing errors, which are spoken as if there were none.
        noise: standard deviation of the noise on what the listener learns from.
    """

    speaker: str = "jackson"
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    typos: float = 0.5
    noise: float = 0.2


@dataclass(frozen=True)
class Utterance:
    """A text and how it is spoken.

    Attributes:
        text: as it is read, typing errors included.
        frames: of its spectrogram, ``[F, BANDS]``.
        classes: what each frame belongs to, int64 ``[F]``: a digit, or silence.
    """

    text: str
    frames: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Voice:
    """One speaker's recordings.

    Attributes:
        data: of all speakers.
        speaker: the one.
        split: of the recordings.
    """

    data: SpokenDigits
    speaker: str
    split: str

    @cached_property
    def spoken(self) -> list[list[Tensor]]:
        """Spectrograms of every digit.

        Raises:
            DataError: if a digit is missing.
        """
        known = self.data.recordings(self.split)
        found: list[list[Tensor]] = [[] for _ in NUMBERS]
        for recording in known.get(self.speaker, ()):
            found[recording.digit].append(spectrogram(recording.wave))
        if not all(found):
            raise DataError(
                f"expected all ten digits by {self.speaker} in split {self.split}, got recordings of "
                f"{sum(map(bool, found))} (speakers: {', '.join(known)}); fetch them again"
            )
        return found

    def say(self, digits: Sequence[int], text: str, rng: torch.Generator) -> Utterance:
        """Join recordings of ``digits``, drawn at random, with silence before each."""
        parts, classes = [], []
        for digit in digits:
            own = self.spoken[digit]
            said = own[int(torch.randint(len(own), (), generator=rng))]
            pause = int(torch.randint(PAUSE[0], PAUSE[1] + 1, (), generator=rng))
            parts += [torch.zeros(pause, BANDS), said]
            classes += [SILENCE] * pause + [digit] * len(said)
        frames = torch.cat([*parts, torch.zeros(END, BANDS)])
        return Utterance(text, frames, torch.tensor(classes + [SILENCE] * END))


def losses(model: Synthesizer, batch: Sequence[Utterance], noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the errors of frames, of stopping, and of what the listener hears.

    The first is the mean of ``|d| + d^2`` over the bands, the others are cross-entropies.
    """
    device = model.embedding.weight.device
    embedded, inside = model.embed(model.ids([model.symbols.encode(one.text) for one in batch]).to(device))
    memory = model.encode(embedded, inside)
    steps = [in_steps(one.frames) for one in batch]
    lengths = torch.tensor([len(one) for one in steps], device=device).unsqueeze(1)
    true = F.pad(pad_sequence(steps, batch_first=True), (0, 0, 0, AFTER)).to(device)
    said, stops = model.teacher(memory, inside, true)
    place = torch.arange(true.shape[1], device=device)
    learned = place < lengths + AFTER
    away = (said - true)[learned]
    stopping = F.binary_cross_entropy_with_logits(stops[learned], (place >= lengths - 1).to(stops)[learned])
    frames = pad_sequence([one.frames for one in batch], batch_first=True).to(device)
    classes = pad_sequence([one.classes for one in batch], batch_first=True, padding_value=SILENCE).to(device)
    heard = model.listener(frames + noise * torch.randn_like(frames))
    listening = F.cross_entropy(heard.flatten(0, 1), classes.flatten())
    return away.abs().mean() + away.square().mean(), stopping, listening


def train_synthesizer(
    build: Callable[[], Synthesizer],
    texts: DigitStrings,
    voice: Voice,
    recipe: SynthesisRecipe,
    checkpoint: Path,
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> tuple[Synthesizer, float]:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe left one.

    Returns:
        The trained model in evaluation mode, and the seconds that all runs took together.

    Raises:
        DataError: if recordings are missing.
        UsageError: if the checkpoint is damaged, or of another training that is not finished.
    """
    voice.spoken  # noqa: B018 - whatever is wrong with the data, it is said now
    model = begin(build, recipe.seed, device)

    def draw(epoch: int, rng: torch.Generator) -> list[list[Utterance]]:
        said = []
        for number, digits in enumerate(texts.digits("train", epoch)):
            key = Draw(f"typos {recipe.seed}/{epoch}/{number}")
            count = (1 + key(TYPOS)) * (key(1000) < 1000 * recipe.typos)
            text = typing_errors(" ".join(NUMBERS[digit] for digit in digits), count, key, SYMBOLS)
            said.append(voice.say(digits, text, rng))
        order = sorted(range(len(said)), key=lambda number: len(said[number].frames))
        size = recipe.batch_size
        batches = [[said[number] for number in order[start : start + size]] for start in range(0, len(order), size)]
        return [batches[number] for number in torch.randperm(len(batches), generator=rng).tolist()]

    def loss(batch: list[Utterance], epoch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        speaking, stopping, listening = losses(model, batch, recipe.noise)
        return speaking + stopping + listening, speaking + stopping

    groups = decayed(model.parameters(), recipe.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    plan = {**asdict(recipe), "texts": texts.fingerprint(), "recordings": voice.data.fingerprint()}
    state = Checkpoint(checkpoint, plan, model.state_dict(), [optimizer])
    return model, run_epochs(model, state, recipe, draw, loss, warmup=0.1, clip=1.0, progress=progress)


def near_share(target: SynthesisTarget, texts: DigitStrings, voice: Voice, split: str) -> float:
    """Return for which share of texts the speech is as long as a joined recording's, by 20 % more or less."""
    rng = torch.Generator().manual_seed(0)
    found = []
    for (text, _), digits in zip(texts.samples(split), texts.digits(split), strict=True):
        steps = int(target.iterations(target.run((text,)).work))
        wanted = len(in_steps(voice.say(digits, text, rng).frames))
        found.append(abs(steps - wanted) <= 0.2 * wanted)
    return round(sum(found) / len(found), 4)


@dataclass(frozen=True)
class SynthesisTrainer(Trainer):
    """Trains a speech synthesizer of the zoo."""

    entry: SynthesisEntry
    recipe: SynthesisRecipe

    @override
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        recordings, texts, name = spoken_digits(data_dir), self.entry.data(None), self.entry.name
        voice = Voice(recordings, self.recipe.speaker, "train")
        model, seconds = train_synthesizer(
            self.entry.build, texts, voice, self.recipe, self.checkpoint(folder), device=device, progress=progress
        )
        weights = folder / f"{name}.safetensors"
        save_half(model, weights)
        target = SynthesisTarget(load_half(copy.deepcopy(model).cpu(), weights, name), name=name)
        scores: dict[str, Any] = {}
        for split in ("test", "validation"):
            near = near_share(target, texts, Voice(recordings, self.recipe.speaker, split), split)
            scores[split] = {**judge(target, texts, split), "near_length": near}
        return write_card(name, model, texts, scores, self.recipe, folder, seconds)
