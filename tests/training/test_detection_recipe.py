from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from interrupted_training import InterruptionError, stop_after
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.core.objects import Objects
from torpor.data.images import to_unit
from torpor.data.object_scenes import ObjectScenes
from torpor.data.sprite_sets import HEIGHT, WIDTH
from torpor.targets.detector.detection import PerObject
from torpor.training.detection import JITTER, DetectionRecipe, DetectorTrainer, box_loss, crop_loss, train
from torpor.training.loop import silent
from torpor.zoo.detection.classifier import SIDE, classifier
from torpor.zoo.detection.network import PyramidDetector
from torpor.zoo.detection.registry import DetectorEntry

RECIPE = DetectionRecipe(epochs=2, batch_size=2, autocast=False, seed=7)
DATA = ObjectScenes(train=8, held_out=3)  # 4 steps an epoch


def tiny() -> PyramidDetector:
    return PyramidDetector(20, (16, 16, 16, 16, 16), 16)


class TinyEntry(DetectorEntry):
    def build(self) -> PyramidDetector:
        return tiny()

    def data(self, folder: Path | None) -> ObjectScenes:
        return DATA


ENTRY = TinyEntry("tiny")
TRAINER = DetectorTrainer(ENTRY, RECIPE)


def fit(checkpoint: Path, recipe: DetectionRecipe = RECIPE, stop: int | None = None) -> dict[str, Tensor]:
    progress = silent if stop is None else stop_after(stop)
    model, seconds = train(tiny, box_loss, DATA, recipe, checkpoint, progress=progress)
    assert seconds > 0
    assert not model.training
    return model.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return fit(tmp_path_factory.mktemp("whole") / "c.safetensors")


def test_an_interrupted_training_ends_with_the_same_bits(
    whole: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "folder" / "c.safetensors"
    sample, seen = ObjectScenes.sample, []

    def interrupted(self: ObjectScenes, split: str, number: int) -> tuple[Tensor, Objects]:
        seen.append(number)
        if len(seen) == 12:
            raise InterruptionError
        return sample(self, split, number)

    monkeypatch.setattr(ObjectScenes, "sample", interrupted)
    with pytest.raises(InterruptionError):
        fit(checkpoint)
    monkeypatch.undo()
    assert seen == list(range(12))  # the second epoch has scenes of its own
    assert checkpoint.is_file()
    torch.manual_seed(123)  # the state of the global generator must not matter
    assert same(fit(checkpoint), whole)


def test_the_seed_and_noise_matter(whole: dict[str, Tensor], tmp_path: Path) -> None:
    assert not same(fit(tmp_path / "c", replace(RECIPE, seed=8)), whole)
    assert not same(fit(tmp_path / "d", replace(RECIPE, noise=0.0)), whole)


def test_another_recipe_does_not_overwrite_an_unfinished_training(tmp_path: Path) -> None:
    with pytest.raises(InterruptionError):
        fit(tmp_path / "c", replace(RECIPE, epochs=4), stop=10)
    with pytest.raises(UsageError, match="expected a checkpoint of this recipe"):
        fit(tmp_path / "c")


def test_crops_are_jittered_and_classified() -> None:
    torch.manual_seed(0)
    model = classifier(20).train()
    stored, objects = zip(*(DATA.sample("train", number) for number in range(8)), strict=True)
    images = to_unit(torch.stack(stored))
    assert sum(map(len, objects)) > 10
    loss = partial(crop_loss, model, images, objects)
    rng = torch.Generator().manual_seed(0)
    assert loss(rng).item() != loss(rng).item()
    assert loss(rng).item() == pytest.approx(3, abs=0.5)  # log 20
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, crops: Tensor) -> Tensor:
            seen.append(crops)
            return crops.mean((1, 2, 3))[:, None].expand(-1, 20)

    ramp = torch.arange(float(WIDTH)).expand(1, 3, HEIGHT, WIDTH) / WIDTH
    box = Objects(torch.tensor([[60.0, 40, 100, 80]]), torch.tensor([2]))
    for _ in range(20):
        crop_loss(Spy(), ramp, [box], rng)
    left = torch.cat(seen)[:, 0, :, 0].mean(1) * WIDTH
    exact = PerObject(Spy(), SIDE).crops(ramp[0], box.boxes)[0, 0, 0, 0] * WIDTH
    assert (left - exact).abs().max() <= 1.1 * JITTER * 40
    assert (left - exact).std() > 0.3 * JITTER * 40


def test_scenes_without_objects_teach_a_classifier_nothing() -> None:
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    loss = crop_loss(classifier(20).eval(), torch.zeros(1, 3, 16, 16), [nothing], torch.Generator())
    assert loss.item() == 0
    loss.backward()


def test_train_save_and_load(whole: dict[str, Tensor], tmp_path: Path) -> None:
    path = TRAINER.train(None, tmp_path, seed=7)
    card = json.loads(path.read_text())
    assert card == ENTRY.card(tmp_path)
    assert card["recipe"]["seed"] == 7
    assert card["test"]["samples"] == card["validation"]["samples"] == 3
    assert 0 <= card["test"]["mAP@[.5:.95]"] <= card["test"]["mAP@.5"] <= 1
    assert "test with cifar10" not in card
    target = ENTRY.load(tmp_path)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in target.network.modules())
    trained = tiny()
    trained.load_state_dict(whole)
    images = to_unit(DATA.load("test").inputs)
    with torch.no_grad():
        for found, expected in zip(target.network(images), trained.eval()(images), strict=True):
            assert torch.allclose(found, expected, rtol=0.02, atol=0.05)
    target.signals(images.requires_grad_()).scores.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_missing_and_broken_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORPOR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="expected trained weights of tiny, got none"):
        ENTRY.load()
    (tmp_path / "tiny.json").write_text("{}")
    with pytest.raises(UsageError, match=r"expected weights of tiny in .* train it again"):
        ENTRY.load(tmp_path)
