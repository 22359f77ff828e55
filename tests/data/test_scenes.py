from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from torpor.core.errors import DataError, UsageError
from torpor.data.images import Digits
from torpor.data.scenes import COLORS, NUMBERS, SIDE, SIZES, WORDS, Scene, Scenes
from torpor.data.sets import SPLITS

SAMPLES = 300


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return Scenes(train=SAMPLES, held_out=SAMPLES)


@pytest.fixture(scope="module")
def drawn(scenes: Scenes) -> list[Scene]:
    return [scenes.scene("train", index) for index in range(SAMPLES)]


def test_a_scene_is_a_function_of_split_and_number(scenes: Scenes) -> None:
    batch = scenes.load("test", 20)
    assert batch.inputs.dtype == torch.uint8
    assert tuple(batch.inputs.shape) == (20, 3, SIDE, SIDE)
    again = Scenes(train=5, held_out=20)
    assert again.load("test").inputs.equal(batch.inputs)
    assert again.load("test").references == batch.references
    image, caption = again.image("test", 7)  # without the ones before it
    assert image.equal(batch.inputs[7])
    assert caption == batch.references[7] == again.scene("test", 7).caption()
    assert not again.load("validation", 5).inputs.equal(batch.inputs[:5])


def test_splits_show_different_handwriting(scenes: Scenes) -> None:
    shown = {}
    for split in SPLITS:
        things = [thing for i in range(SAMPLES) for row in scenes.scene(split, i).rows for thing in row]
        digits = Digits().load(split)
        shown[split] = {digits.inputs[thing.image].numpy().tobytes() for thing in things}
        assert [int(digits.references[thing.image]) for thing in things] == [thing.digit for thing in things]
        assert len(shown[split]) > 200
    assert not shown["train"] & shown["test"]
    assert not shown["train"] & shown["validation"]
    assert not shown["validation"] & shown["test"]


def test_captions_say_what_is_there_in_reading_order(drawn: list[Scene]) -> None:
    for scene in drawn:
        caption = scene.caption()
        words = caption.split()
        assert set(words) <= set(WORDS)
        things = [thing for row in scene.rows for thing in row]
        said = [(words[i - 1], word) for i, word in enumerate(words) if word in NUMBERS]
        assert said == [(thing.color, NUMBERS[thing.digit]) for thing in things]
        for size in ("small", "large"):
            assert words.count(size) == sum(thing.size == size for thing in things)
        assert caption.count(" above ") == len(scene.rows) - 1
        assert caption.count(" left of ") == sum(len(row) > 1 for row in scene.rows)
        assert caption.endswith(f" on a {scene.texture} background ." if scene.texture else f"{said[-1][1]} .")


def test_grammar(drawn: list[Scene]) -> None:
    captions = {scene.caption() for scene in drawn}
    assert any(" and " in caption and " above " in caption for caption in captions)
    lengths = [len(caption.split()) for caption in captions]
    assert min(lengths) == 4
    assert max(lengths) >= 25
    assert max(lengths) <= 31
    assert len(set(lengths)) > 12
    assert {sum(map(len, scene.rows)) for scene in drawn} == {1, 2, 3, 4, 5}


def test_digits_are_apart_inside_the_image_and_rows_cannot_be_confused(drawn: list[Scene]) -> None:
    for scene in drawn:
        middles = [[thing.top + thing.side // 2 for thing in row] for row in scene.rows]
        for row, heights in zip(scene.rows, middles, strict=True):
            assert max(heights) - min(heights) <= 6
            for thing in row:
                assert thing.side in SIZES[thing.size]
                assert min(thing.left, thing.top) >= 0
                assert max(thing.left, thing.top) + thing.side <= SIDE
            for one, other in pairwise(row):
                assert one.left + one.side < other.left
        if len(scene.rows) == 2:
            assert min(middles[1]) - max(middles[0]) >= 20


def test_digits_are_painted_where_the_scene_says_in_its_colors(scenes: Scenes, drawn: list[Scene]) -> None:
    for index, scene in enumerate(drawn[:60]):
        image = scenes.image("train", index)[0].float()
        hidden = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        for thing in (thing for row in scene.rows for thing in row):
            square = (slice(thing.top, thing.top + thing.side), slice(thing.left, thing.left + thing.side))
            patch = image[:, square[0], square[1]].flatten(1)
            brightest = patch[:, patch.amax(0).argmax()]
            inks = torch.tensor(list(COLORS.values())).float()
            assert list(COLORS)[int((inks - brightest.unsqueeze(0)).norm(dim=1).argmin())] == thing.color
            hidden[square] = True
        assert image[:, ~hidden].max() <= 45 + 31 + 28


def test_bad_requests_are_refused(scenes: Scenes) -> None:
    with pytest.raises(UsageError, match="expected 1 scene or more"):
        Scenes(train=0)
    with pytest.raises(DataError, match="got 'dev'"):
        scenes.scene("dev", 0)
    with pytest.raises(DataError, match="from 0 to 299, got 300"):
        scenes.scene("test", 300)
