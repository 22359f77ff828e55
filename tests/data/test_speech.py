from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spoken import recordings, tone, wav, write

from torpor.core.errors import DataError
from torpor.core.space import WaveSpace
from torpor.data.scenes import NUMBERS
from torpor.data.sets import SPLITS
from torpor.data.speech import MOST_DIGITS, PEAK, RATE, SECONDS, SpokenDigits


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SpokenDigits:
    return SpokenDigits(recordings(tmp_path_factory.mktemp("spoken")), train=60, held_out=40)


def heard(sound: np.ndarray) -> list[int]:
    """Tell the digits of an utterance of tones by their frequency, which silence parts."""
    loud = np.convolve(np.abs(sound) > 0.05 * np.abs(sound).max(), np.ones(160), "same") > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]]).astype(int)))
    digits = []
    for start, end in edges.reshape(-1, 2):
        spectrum = np.abs(np.fft.rfft(sound[start:end], RATE))
        digits.append(round((int(spectrum.argmax()) - 300) / 150))
    return digits


def test_transcripts_are_what_is_heard(data: SpokenDigits) -> None:
    batch = data.load("test")
    assert batch.inputs.dtype == torch.int16
    assert tuple(batch.inputs.shape) == (40, RATE * SECONDS)
    for sound, transcript in zip(batch.inputs, batch.references, strict=True):
        assert [NUMBERS[digit] for digit in heard(sound.numpy().astype(float))] == transcript.split()
    assert {len(transcript.split()) for transcript in batch.references} == set(range(1, MOST_DIGITS + 1))
    peaks = batch.inputs.abs().amax(1) / 32767
    assert PEAK[0] - 1e-3 < peaks.min() < 0.5 < peaks.max() < PEAK[1] + 1e-3
    space = WaveSpace((RATE * SECONDS,), rate=RATE)
    assert space.to_bytes(space.check(space.from_bytes(batch.inputs))).equal(batch.inputs)


def test_an_utterance_depends_on_its_split_and_number_alone(data: SpokenDigits) -> None:
    again = SpokenDigits(data.folder, train=5, held_out=3)
    for split in SPLITS:
        one, other = data.load(split), again.load(split)
        assert one.inputs[: len(other)].equal(other.inputs)
        assert one.references[: len(other)] == other.references
    sound, _ = data.utterance("train", 10_000)
    assert not any(sound.equal(other) for other in data.load("train").inputs)
    assert data.fingerprint() == "spoken-digits {'train': 240, 'test': 20} 60 40"
    with pytest.raises(DataError, match="expected a split among train, validation, test, got 'dev'"):
        next(data.samples("dev"))


def test_an_utterance_has_one_speaker_and_a_recording_one_split(data: SpokenDigits) -> None:
    own = {split: list(data.recordings(split).values()) for split in SPLITS}
    assert [sum(map(len, own[split])) for split in SPLITS][2] == 20
    assert sum(len(part) for split in ("train", "validation") for part in own[split]) == 240
    assert 5 <= sum(map(len, own["validation"])) <= 24
    assert all(len(speakers) == 2 for speakers in own.values())
    assert len({id(recording) for split in SPLITS for part in own[split] for recording in part}) == 260


def test_long_digits_are_left_out_at_the_end(tmp_path: Path) -> None:
    long = wav(tone(4, 0, milliseconds=1300))
    data = SpokenDigits(write(tmp_path, sounds=[long], labels=[4], speakers=["a"]), held_out=30)
    assert set(data.load("test").references) == {"four", "four four"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [10]}, "expected a digit from 0 to 9, got 10 in row 0 of"),
        ({"labels": [None]}, "expected a digit from 0 to 9, got None in row 0 of"),
        ({"sounds": [None]}, "expected a sound as a struct with bytes, got NoneType in row 0 of"),
        ({"sounds": [b"RIFF no more"]}, "expected a WAV file, got 12 other bytes in row 0 of"),
        ({"sounds": [wav(tone(1, 0), width=1)]}, "expected samples of 16 bits, got 8 in row 0"),
        ({"sounds": [wav(tone(1, 0))[:-100]]}, "expected a whole WAV file, got 1550 of 1600 samples in row 0"),
        ({"sounds": [wav(np.zeros(0))]}, "expected a whole WAV file, got 0 of 0 samples"),
        ({"sounds": [wav(tone(1, 0, 2800))]}, "expected a recording of 2.75 s or less, got 2.80 s in row 0"),
    ],
)
def test_rows_that_are_no_spoken_digit_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    columns: dict[str, Any] = {"sounds": [wav(tone(1, 0))], "labels": [1], "speakers": ["a"], **change}
    with pytest.raises(DataError, match=message):
        SpokenDigits(write(tmp_path, **columns)).load("test")


def test_files_that_are_missing_or_hold_nothing_are_named(tmp_path: Path) -> None:
    data = SpokenDigits(tmp_path)
    with pytest.raises(DataError, match=r"expected recordings in .*test\.parquet, got no such file; pass --data-dir"):
        data.load("test")
    write(tmp_path, split="train", sounds=[wav(tone(1, 0))], labels=[1], speakers=["a"])
    assert data.has("validation")  # row 0 is held out
    with pytest.raises(DataError, match="expected recordings of split train, got none in"):
        data.load("train")
    (tmp_path / "test.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="expected a Parquet file"):
        data.load("test")
    assert data.fingerprint().startswith("spoken-digits {'train': 1, 'test': None}")


def test_silence_is_a_recording_too(tmp_path: Path) -> None:
    data = SpokenDigits(write(tmp_path, sounds=[wav(np.zeros(800))], labels=[0], speakers=["a"]), held_out=2)
    assert not data.load("test").inputs.any()
