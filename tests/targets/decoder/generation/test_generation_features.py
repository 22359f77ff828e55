"""Recognizers without their feature extractor do what they do with sounds, and take any spectrogram."""

from __future__ import annotations

from copy import copy
from pathlib import Path

import pytest
import torch
from generation_models import examples, loaded

from torpor.attacks.decoder.slothspeech import SlothSpeech
from torpor.core.errors import DataError, UsageError
from torpor.core.space import FeatureSpace
from torpor.data.sets import Batch, DataSet
from torpor.targets.decoder.generation import reading_features
from torpor.targets.decoder.generation.dense import DenseGenerationTarget
from torpor.targets.decoder.generation.features import Features
from torpor.targets.decoder.generation.readers import LogMelReader


class Sounds(DataSet):
    name = "sounds"

    def samples(self, split: str):  # type: ignore[no-untyped-def] # noqa: ANN201
        stored = whisper().space.to_bytes(examples("whisper", 3))
        yield from ((sound, str(number)) for number, sound in enumerate(stored))


def whisper() -> DenseGenerationTarget:
    target = copy(loaded("whisper"))
    assert isinstance(target, DenseGenerationTarget)
    return target


def features() -> tuple[DenseGenerationTarget, Batch]:
    target = whisper()
    target._data = lambda folder: Sounds()
    reading = reading_features(target)
    return reading, reading.data(None).load("test")


def test_features_of_sounds_say_what_the_sounds_say() -> None:
    target, reading = whisper(), features()
    waves = target.read(Sounds().load("test").inputs)
    spectra = reading[0].read(reading[1].inputs)
    assert reading[0].space == FeatureSpace((16, 100))
    assert reading[0].name == "whisper-features"
    assert reading[1].references == ("0", "1", "2")
    reader = target.reader
    assert isinstance(reader, LogMelReader)
    assert (spectra - reader(waves)["input_features"]).abs().max() <= 0.5 / 8192 + 1e-7
    ours, theirs = reading[0].run(reading[0].space.check(spectra)), target.run(waves)
    assert [output.text for output in ours.outputs] == [output.text for output in theirs.outputs]
    assert torch.equal(ours.work.counts, theirs.work.counts)
    assert reading[0].cap == target.cap


def test_gradients_reach_features() -> None:
    target, batch = features()
    spectra = target.read(batch.inputs).requires_grad_()
    signals = target.signals(spectra)
    (gradient,) = torch.autograd.grad(signals.logits[signals.mask].sum(), spectra)
    assert gradient.shape == spectra.shape
    assert gradient.isfinite().all()
    assert gradient.ne(0).any()


def test_slothspeech_attacks_features_within_eps() -> None:
    target, batch = features()
    spectra = target.read(batch.inputs)
    result = SlothSpeech(eps=0.2, steps=3)(target, spectra, references=None, seed=0)
    assert (result.inputs - spectra).abs().max() <= 0.2 + 1e-6
    assert torch.equal(target.space.snap(result.inputs), result.inputs)
    assert (result.attacked.work.counts >= result.clean.work.counts).all()


def test_data_change_with_the_sounds() -> None:
    target, _ = features()
    data = target.data(None)
    assert isinstance(data, Features)
    assert data.fingerprint() == "features of sounds"
    with pytest.raises(DataError, match="pass --inputs"):
        reading_features(whisper()).data(Path())


def test_targets_of_images_have_no_features() -> None:
    target = loaded("captioner")
    assert isinstance(target, DenseGenerationTarget)
    with pytest.raises(UsageError, match="expected a target that reads sounds"):
        reading_features(target)
