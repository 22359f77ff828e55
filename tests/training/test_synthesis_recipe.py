from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupted_training import InterruptionError
from spoken import recordings
from torch.nn import functional as F
from typing_extensions import override

from torpor.core.errors import DataError, UsageError
from torpor.data.speech import RATE, SpokenDigits
from torpor.training.decoders import judge
from torpor.training.loop import Progress, silent
from torpor.training.spectrograms import LOWEST, in_steps, mel_filters, spectrogram
from torpor.training.synthesis import AFTER, END, PAUSE, SynthesisRecipe, SynthesisTrainer, Voice, losses
from torpor.zoo.speech.digit_strings import DigitStrings
from torpor.zoo.speech.listener import SILENCE, spelled
from torpor.zoo.speech.synthesis import SynthesisEntry
from torpor.zoo.speech.synthesizer import BANDS, FRAMES, Synthesizer

RECIPE = SynthesisRecipe(epochs=3, batch_size=4, speaker="speaker 0", seed=7)


@dataclass(frozen=True)
class TinyEntry(SynthesisEntry):
    @override
    def build(self) -> Synthesizer:
        return Synthesizer(embedding=8, width=8, hidden=12, bells=2)

    @override
    def data(self, folder: Path | None) -> DigitStrings:
        return DigitStrings(train=10, held_out=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings(tmp_path_factory.mktemp("spoken"), copies=23)  # some are held out for validation


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(folder, tmp_path_factory.mktemp("trained")).parent


def train(data: Path, out: Path, recipe: SynthesisRecipe = RECIPE, progress: Progress = silent) -> Path:
    trainer = SynthesisTrainer(TinyEntry("tiny"), recipe)
    return trainer.train(data, out, seed=recipe.seed, progress=progress)


def voice(folder: Path, split: str = "train") -> Voice:
    return Voice(SpokenDigits(folder), "speaker 0", split)


def test_an_interrupted_training_ends_with_the_same_bits(folder: Path, trained: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, loss: float) -> None:
        assert total == 3 * 3  # a last batch of two texts
        if done > 3:
            raise InterruptionError

    torch.manual_seed(123)  # the state of the global generator must not matter
    with pytest.raises(InterruptionError):
        train(folder, tmp_path, progress=stop)
    assert not (tmp_path / "tiny.json").exists()
    train(folder, tmp_path)
    entry = TinyEntry("tiny")
    assert entry.card(tmp_path)["sha256"] == entry.card(trained)["sha256"]


def test_the_card_has_scores_and_all_that_made_them(trained: Path) -> None:
    entry = TinyEntry("tiny")
    told, data = json.loads((trained / "tiny.json").read_text(encoding="utf-8")), entry.data(None)
    assert told["recipe"] == asdict(RECIPE)
    near = told["test"].pop("near_length")
    assert near in (0, 0.3333, 0.6667, 1)
    assert told["test"] == judge(entry.load(trained), data, "test")
    assert told["parameters"] == sum(value.numel() for value in entry.build().parameters())


def test_another_recipe_gives_other_weights_and_a_damaged_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    first = json.loads(train(folder, tmp_path, replace(RECIPE, epochs=1)).read_text(encoding="utf-8"))
    other = json.loads(train(folder, tmp_path, replace(RECIPE, epochs=1, typos=0)).read_text(encoding="utf-8"))
    assert first["sha256"] != other["sha256"]
    (tmp_path / "tiny.checkpoint.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(UsageError, match="expected a training checkpoint, got a damaged file"):
        train(folder, tmp_path)


def test_recordings_are_joined_as_they_are(folder: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    said = voice(folder).say((3, 7), "threw seven", rng)
    assert len(said.frames) == len(said.classes)
    assert spelled(said.classes.tolist()) == "three seven"
    own = voice(folder).spoken
    for digit in (3, 7):
        frames = said.frames[said.classes == digit]
        assert any(frames.shape == one.shape and frames.equal(one) for one in own[digit])
    silence = (said.classes == SILENCE).sum().item() - END
    assert 2 * PAUSE[0] <= silence <= 2 * PAUSE[1]
    assert not said.frames[said.classes == SILENCE].any()


def test_a_speaker_without_recordings_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected all ten digits by nobody .* recordings of 0 .speakers: speaker 0"):
        train(folder, tmp_path, replace(RECIPE, speaker="nobody"))


def test_the_loss_ignores_what_comes_after_a_text_and_asks_to_stop_at_its_end(folder: Path) -> None:
    torch.manual_seed(0)
    model, rng = Synthesizer(embedding=8, width=8, hidden=12, bells=2, dropout=0).eval(), torch.Generator()
    short, long = (voice(folder).say(digits, "one", rng) for digits in ((1,), (1, 2, 3, 4)))
    alone, both = losses(model, [short], 0), losses(model, [short, long], 0)
    other = losses(model, [long], 0)
    sizes = [len(in_steps(one.frames)) + AFTER for one in (short, long)]
    for mixed, first, second in zip(both[:2], alone[:2], other[:2], strict=True):
        wanted = (sizes[0] * first + sizes[1] * second) / sum(sizes)
        torch.testing.assert_close(mixed, wanted)
    with torch.no_grad():
        model.to_stop.weight.zero_()
        model.to_stop.bias.fill_(1.0)
    goes_on = len(in_steps(short.frames)) - 1
    minus, plus = F.softplus(torch.tensor([-1.0, 1.0]))
    wanted = (goes_on * plus + (1 + AFTER) * minus) / sizes[0]
    torch.testing.assert_close(losses(model, [short], 0)[1], wanted)


def test_a_tone_is_in_its_band_and_loudness_in_decibels() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    frames, quiet = spectrogram(tone)[5:-5], spectrogram(0.1 * tone)[5:-5]
    peaks = mel_filters()[1000 * (mel_filters().shape[0] - 1) // (RATE // 2)]
    assert (frames.argmax(1) == peaks.argmax()).all()
    torch.testing.assert_close((frames - quiet).amax(1), torch.full((len(frames),), 0.5))  # 20 dB of 40
    assert mel_filters()[: int(LOWEST * 500 / RATE)].sum() == 0
    assert len(spectrogram(tone)) == 51
    assert in_steps(torch.ones(51, BANDS)).shape == (26, FRAMES * BANDS)


def test_splits_of_texts_are_disjoint_and_epochs_differ() -> None:
    data = DigitStrings(train=400, held_out=100)
    splits = {split: {text for text, _ in data.samples(split)} for split in ("train", "validation", "test")}
    assert len(splits["test"]) == len(splits["validation"]) == 100
    assert not splits["train"] & splits["test"]
    assert not splits["train"] & splits["validation"]
    assert not splits["test"] & splits["validation"]
    assert list(data.digits("train", 1)) != list(data.digits("train", 0)) == list(data.digits("train", 0))
    with pytest.raises(UsageError, match="expected one of train, validation, test, got split 'nope'"):
        next(data.samples("nope"))
