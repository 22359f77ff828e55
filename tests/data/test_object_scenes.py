from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from torpor.core.errors import DataError, UsageError
from torpor.core.objects import to_json
from torpor.data import photos
from torpor.data.images import Digits
from torpor.data.object_scenes import ObjectScenes
from torpor.data.photos import PHOTOS, View
from torpor.data.sets import SPLITS
from torpor.data.sprite_sets import HEIGHT, WIDTH
from torpor.data.sprites import INK
from torpor.data.tensors import TensorImages

SAMPLES = 150


def test_a_scene_is_a_function_of_split_and_number() -> None:
    batch = ObjectScenes(held_out=20).load("test")
    assert batch.inputs.dtype == torch.uint8
    assert tuple(batch.inputs.shape) == (20, 3, HEIGHT, WIDTH)
    again = ObjectScenes(train=3)
    image, objects = again.sample("test", 7)  # without the ones before it
    assert image.equal(batch.inputs[7])
    assert to_json(objects) == to_json(batch.references[7])
    assert len(list(again.samples("train"))) == 3
    assert not again.sample("validation", 7)[0].equal(image)
    assert not again.sample("train", 7)[0].equal(image)


def test_splits_share_neither_photos_nor_handwriting() -> None:
    assert len({name for names in PHOTOS.values() for name in names}) == sum(map(len, PHOTOS.values()))
    seen = [np.asarray(photo).tobytes() for split in SPLITS for photo in photos.photos(split)]
    assert len(set(seen)) == len(seen)
    shown = {}
    for split in SPLITS:
        sprites = [sprite for i in range(SAMPLES) for sprite in ObjectScenes().paint(split, i).sprites]
        digits = Digits().load(split).inputs
        shown[split] = {digits[sprite.source].numpy().tobytes() for sprite in sprites}
        assert len(shown[split]) > 150
    assert not shown["train"] & (shown["validation"] | shown["test"])
    assert not shown["validation"] & shown["test"]


def test_every_object_is_seen_where_its_box_says() -> None:
    scenes = ObjectScenes()
    counts = []
    for number in range(SAMPLES):
        painting = scenes.paint("train", number)
        objects = scenes.sample("train", number)[1]
        counts.append(len(objects))
        for left, top, right, bottom in objects.boxes.int().tolist():
            assert 0 <= left < right <= WIDTH
            assert 0 <= top < bottom <= HEIGHT
            assert right - left <= 44
            assert bottom - top <= 44
        kept = painting.objects(ids=True).ids
        assert kept is not None
        for number_of, box in zip(kept.tolist(), objects.boxes.int().tolist(), strict=True):
            inside = painting.owner[box[1] : box[3], box[0] : box[2]] == number_of
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()  # noqa: PT018
            assert inside.sum() == (painting.owner == number_of).sum()
    assert set(counts) == set(range(7))
    assert 2.4 < np.mean(counts) < 3.2


def test_ink_is_painted_in_the_color_of_its_sprite() -> None:
    painting = next(made for made in (ObjectScenes().paint("test", i) for i in range(9)) if made.sprites)
    last = len(painting.sprites) - 1
    mine = painting.owner == last
    sprite = painting.sprites[last]
    assert np.abs(painting.pixels[:, mine].mean(1) - sprite.pixels[:, 0, 0]).max() < 255 - INK
    assert painting.pixels[:, mine].max() >= 0.9 * sprite.pixels.max()


def test_photos_of_objects_join_the_digits() -> None:
    images = torch.full((4, 3, 32, 32), 77, dtype=torch.uint8)
    data = ObjectScenes(TensorImages({"test": (images, torch.tensor([0, 3, 5, 9]))}, name="gray"), held_out=40)
    labels = torch.cat([objects.labels for objects in data.load("test").references])
    assert 0.3 < (labels >= 10).double().mean() < 0.7
    assert set(labels[labels >= 10].tolist()) == {10, 13, 15, 19}
    assert data.name == "object-scenes with gray"
    assert data.fingerprint() != ObjectScenes(held_out=40).fingerprint() != ObjectScenes(held_out=41).fingerprint()


def test_a_view_pans_over_its_photo() -> None:
    rng = np.random.default_rng(3)
    view = View("train", 20, 30, rng, pan=8)
    first, last = view.at(0), view.at(1)
    assert first.shape == (3, 20, 30)
    assert not np.array_equal(first, last)
    assert np.array_equal(view.at(0), first)
    assert (np.abs(view.last - view.first) <= 8 * 2.5).all()
    for corner in (view.first, view.last):
        assert (corner >= 0).all()
        assert (corner + view.crop <= np.array(view.photo.size) + 1e-6).all()
    still = View("train", 20, 30, np.random.default_rng(3))
    assert np.array_equal(still.at(0), still.at(1))


def test_bad_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="expected 1 sample or more"):
        ObjectScenes(train=0)
    with pytest.raises(DataError, match="got 'dev'"):
        next(ObjectScenes().samples("dev"))
    with pytest.raises(DataError, match="expected a sample number of 0 or more, got -1"):
        ObjectScenes().sample("test", -1)
    monkeypatch.setitem(sys.modules, "skimage", None)
    photos.photos.cache_clear()
    with pytest.raises(
        UsageError, match=r"expected scikit-image for photos, got none; pip install 'torpor\[tracking\]'"
    ):
        ObjectScenes().sample("test", 0)
