from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from torpor.data.images import Digits
from torpor.data.sprites import (
    CLASSES,
    DIGIT_SIDES,
    INK,
    PHOTO_SIDES,
    VISIBLE,
    Painting,
    Sprite,
    draw_sprite,
)
from torpor.data.tensors import TensorImages

HEIGHT, WIDTH = 12, 16
PHOTOS = TensorImages(
    {"test": (torch.arange(3 * 3 * 32 * 32).view(3, 3, 32, 32).remainder(256).to(torch.uint8), torch.tensor([1, 4, 9]))}
)


def sprite(opacity: NDArray[np.uint8], label: int = 0) -> Sprite:
    return Sprite(label, 0, np.full((3, *opacity.shape), 200, np.uint8), opacity)


def square(side: int, label: int = 0) -> Sprite:
    return sprite(np.full((side, side), 255, np.uint8), label)


def painting() -> Painting:
    return Painting(np.zeros((3, HEIGHT, WIDTH), np.uint8))


def test_a_box_is_what_is_seen_of_a_sprite() -> None:
    made = painting()
    made.put(square(6, label=3), -2, 8)  # two thirds across and two thirds down are inside
    made.put(square(4, label=5), 10, 2)
    made.put(square(4, label=7), 12, 2)  # covers half of the one before
    found = made.objects(ids=True)
    assert found.boxes.tolist() == [[0, 8, 4, 12], [10, 2, 12, 6], [12, 2, 16, 6]]
    assert found.labels.tolist() == [3, 5, 7]
    assert found.ids is not None
    assert found.ids.tolist() == [0, 1, 2]
    assert found.scores is None
    assert made.objects().ids is None


def test_what_is_nearly_hidden_is_not_there() -> None:
    made = painting()
    made.put(square(4, label=1), 0, 0)
    made.put(square(4, label=2), 1, 0)  # leaves a quarter
    made.put(square(4, label=3), 14, 10)  # a quarter is inside
    made.put(square(4, label=4), 40, -9)
    found = made.objects(ids=True)
    assert found.labels.tolist() == [2]
    assert found.ids is not None
    assert found.ids.tolist() == [1]


def test_faint_edges_are_painted_but_not_counted() -> None:
    opacity = np.zeros((4, 4), np.uint8)
    opacity[1:3, 1:3] = 255
    opacity[0] = INK - 1
    made = painting()
    made.put(sprite(opacity), 0, 0)
    assert made.objects().boxes.tolist() == [[1, 1, 3, 3]]
    assert made.pixels[0, 0, 0] == 200 * (INK - 1) // 255
    assert made.pixels[:, 1, 1].tolist() == [200] * 3


def test_an_empty_image_has_no_objects() -> None:
    assert painting().objects().boxes.shape == (0, 4)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(-12, 20), st.integers(-12, 20), st.integers(0, 99)), max_size=6)
)
def test_boxes_agree_with_sets_of_pixels(placed: list[tuple[int, int, int, int]]) -> None:
    made = painting()
    inks: list[set[tuple[int, int]]] = []
    totals = []
    for side, left, top, seed in placed:
        opacity = np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.uint8)
        made.put(sprite(opacity), left, top)
        dots = {(top + y, left + x) for y in range(side) for x in range(side) if opacity[y, x] >= INK}
        totals.append(len(dots))
        inks = [ink - dots for ink in inks] + [dots]
    seen = [{(y, x) for y, x in ink if 0 <= y < HEIGHT and 0 <= x < WIDTH} for ink in inks]
    expected = [
        [min(x for _, x in ink), min(y for y, _ in ink), max(x for _, x in ink) + 1, max(y for y, _ in ink) + 1]
        for ink, total in zip(seen, totals, strict=True)
        if ink and len(ink) >= VISIBLE * total
    ]
    assert made.objects().boxes.tolist() == expected


def test_digits_are_legible_ink_in_color() -> None:
    rng, digits = np.random.default_rng(0), Digits().load("test")
    for _ in range(50):
        drawn = draw_sprite("test", None, rng)
        side = len(drawn.opacity)
        assert DIGIT_SIDES[0] <= side <= DIGIT_SIDES[1]
        assert drawn.label == digits.references[drawn.source]
        assert 0.05 < drawn.ink.mean() < 0.7
        rows = np.nonzero(drawn.ink.any(1))[0]
        assert rows[-1] + 1 - rows[0] >= 0.8 * side
        assert drawn.pixels.reshape(3, -1).max(1).max() >= 170


def test_photos_keep_their_pixels_and_come_after_the_digits() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw_sprite("test", PHOTOS, rng) for _ in range(60)]
    photos = [each for each in drawn if each.label >= 10]
    assert 15 < len(photos) < 45
    assert {each.label for each in photos} == {11, 14, 19}
    for each in photos:
        assert PHOTO_SIDES[0] <= len(each.opacity) <= PHOTO_SIDES[1]
        assert each.ink.all()
        original = PHOTOS.splits["test"][0][each.source].double().mean((1, 2)).numpy()
        assert np.allclose(each.pixels.mean((1, 2)), original, atol=8)


def test_there_are_twenty_classes() -> None:
    assert len(set(CLASSES)) == 20
    assert CLASSES[:10] == ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    with pytest.raises(AttributeError):
        square(1).label = 2  # type: ignore[misc]
