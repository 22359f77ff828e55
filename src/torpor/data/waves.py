"""WAV files."""

from __future__ import annotations

import io
import math
import struct
import wave

import numpy as np
from numpy.typing import NDArray

from torpor.core.errors import DataError

RATES = (1000, 384_000)
"""Samples per second of a file, least and most."""


def read_wav(content: bytes, rate: int, where: str) -> NDArray[np.float32]:
    """Return the samples of a WAV file of 16 bits, float32 ``[T]`` from about -32768 to 32767.

    Channels are averaged, and another rate is converted.

    Args:
        content: of the file.
        rate: samples per second wanted.
        where: it comes from, for messages.

    Raises:
        DataError: if it is not a WAV file, or holds no samples.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, bits, own = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            count, samples = file.getnframes(), file.readframes(file.getnframes())
    except (wave.Error, EOFError, struct.error, ValueError, RuntimeError, OSError, MemoryError) as error:
        reason = str(error) or "it ends too early"
        raise DataError(
            f"expected a WAV file, got {len(content)} other bytes in {where}: {reason}; convert it"
        ) from error
    if bits != 16:
        raise DataError(f"expected samples of 16 bits, got {bits} in {where}; convert it")
    if not RATES[0] <= own <= RATES[1]:
        raise DataError(f"expected {RATES[0]:,} to {RATES[1]:,} samples per second, got {own:,} in {where}; convert it")
    whole = len(samples) // (2 * channels)
    if whole < max(count, 1):
        raise DataError(f"expected a whole WAV file, got {whole} of {count} samples in {where}")
    sound: NDArray[np.float32] = np.frombuffer(samples, "<i2").astype(np.float32).reshape(-1, channels).mean(1)
    if own != rate:
        from scipy.signal import resample_poly

        common = math.gcd(own, rate)
        sound = resample_poly(sound, rate // common, own // common)
    return sound


def write_wav(samples: NDArray[np.int16], rate: int) -> bytes:
    """Return a WAV file of one channel of 16 bits.

    Args:
        samples: int16 ``[T]``.
        rate: samples per second.

    >>> read_wav(write_wav(np.array([-32768, 7], np.int16), 8000), 8000, "here").tolist()
    [-32768.0, 7.0]
    """
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()
