from __future__ import annotations

import numpy as np
import pytest
from spoken import tone, wav

from torpor.core.errors import DataError
from torpor.data.waves import read_wav


def test_samples_are_read_as_they_are() -> None:
    samples = np.array([0, 1, -1, 32767, -32768])
    sound = read_wav(wav(samples), 8000, "here")
    assert sound.dtype == np.float32
    assert sound.tolist() == samples.tolist()


def test_channels_are_averaged() -> None:
    assert read_wav(wav(np.array([10, 20, -4, 4]), channels=2), 8000, "here").tolist() == [15, 0]


@pytest.mark.parametrize("rate", [16_000, 11_025])
def test_other_rates_are_converted(rate: int) -> None:
    sound = read_wav(wav(tone(2, 4), rate=8000), rate, "here")
    assert len(sound) == pytest.approx(0.2 * rate, abs=1)
    inner = slice(len(sound) // 10, -len(sound) // 10)  # filters ring at the ends
    expected = 5000 * np.sin(2 * np.pi * 600 * np.arange(len(sound)) / rate)
    np.testing.assert_allclose(sound[inner], expected[inner], atol=30)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a WAV file, got 0 other bytes in here"),
        (b"RIFF no more", "expected a WAV file, got 12 other bytes in here"),
        (wav(tone(1, 0), width=1), "expected samples of 16 bits, got 8 in here; convert it"),
        (wav(tone(1, 0))[:-100], "expected a whole WAV file, got 1550 of 1600 samples in here"),
        (wav(np.zeros(0)), "expected a whole WAV file, got 0 of 0 samples in here"),
    ],
)
def test_other_files_are_data_errors(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_wav(content, 8000, "here")
