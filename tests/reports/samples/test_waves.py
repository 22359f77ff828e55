from __future__ import annotations

import base64
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from torpor.reports.samples.waves import HEIGHT, WIDTH, wave_uri, wave_views


def points(uri: str) -> np.ndarray:
    """Return the corners of a drawn envelope."""
    root = ET.fromstring(base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")))
    outline = root.find("{http://www.w3.org/2000/svg}polygon")
    assert outline is not None
    return np.array([[float(value) for value in pair.split(",")] for pair in outline.attrib["points"].split()])


@pytest.mark.parametrize("length", [1, 7, WIDTH, 8001])
def test_waves_of_any_length_fill_the_drawing(length: int) -> None:
    wave = np.full(length, -32_768, np.int16)
    wave[0] = 32_767
    drawn = points(wave_uri(wave, 32_768, "#000"))
    assert drawn.min() >= 0
    assert (drawn.max(0) <= [WIDTH, HEIGHT]).all()
    assert drawn[:, 1].min() == pytest.approx(2, abs=0.2)


def test_silence_is_a_line() -> None:
    assert set(points(wave_uri(np.zeros(50, np.int16), 1, "#000"))[:, 1]) == {HEIGHT / 2}


def test_the_difference_is_amplified_up_to_half_the_height() -> None:
    clean = np.array([0, 20_000, -20_000], np.int16)
    views = dict(wave_views(clean, clean + np.array([0, 100, -50], np.int16)))
    assert list(views) == ["clean", "attacked", "difference x100"]
    drawn = points(views["difference x100"])[:, 1]
    assert drawn.min() == pytest.approx(HEIGHT / 2 - (HEIGHT / 2 - 2) / 2, abs=0.5)
    assert drawn.max() - HEIGHT / 2 == pytest.approx((HEIGHT / 2 - 2) / 4, abs=0.5)


def test_extremes_do_not_wrap_around() -> None:
    low, high = np.full(4, -32_768, np.int16), np.full(4, 32_767, np.int16)
    assert [name for name, _ in wave_views(low, high)][2] == "difference x1"
