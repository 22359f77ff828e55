from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupted_training import InterruptionError, stop_after
from safetensors.torch import save_file
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.data.images import Digits
from torpor.data.sets import Batch
from torpor.targets.early_exit.sdn import ShallowDeepNetwork, build_sdn
from torpor.training.classifiers import augment
from torpor.training.early_exit import Recipe, train
from torpor.training.loop import one_cycle

RECIPE = Recipe(epochs=3, batch_size=8, pad=1, flip=True, seed=7)
SAMPLES = 100  # 12 steps an epoch; the last 4 images of each order are left out


def tiny() -> ShallowDeepNetwork:
    body = nn.Sequential(
        nn.Conv2d(1, 3, 3, 4), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3, 2), nn.Flatten(), nn.Linear(36, 10)
    )
    return build_sdn(body, ["2"], num_classes=10, input_shape=(1, 32, 32))


@pytest.fixture(scope="module")
def data() -> Batch:
    return Digits().load("train", SAMPLES)


@pytest.fixture(scope="module")
def whole(data: Batch, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return train(tiny, data, RECIPE, tmp_path_factory.mktemp("whole") / "c.safetensors").state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())


def interrupted(data: Batch, recipe: Recipe, checkpoint: Path, *, steps: int) -> None:
    with pytest.raises(InterruptionError):
        train(tiny, data, recipe, checkpoint, progress=stop_after(steps))


@pytest.mark.parametrize("epochs_done", [0, 1, 2])
def test_an_interrupted_training_ends_with_the_same_bits(
    data: Batch, whole: dict[str, Tensor], tmp_path: Path, epochs_done: int
) -> None:
    checkpoint = tmp_path / "folder" / "c.safetensors"
    interrupted(data, RECIPE, checkpoint, steps=12 * epochs_done + 5)
    assert checkpoint.is_file() is (epochs_done > 0)
    started: list[int] = []
    torch.manual_seed(123)  # the state of the global generator must not matter
    model = train(tiny, data, RECIPE, checkpoint, progress=lambda done, total, loss: started.append(done))
    assert started[0] > 12 * epochs_done
    assert same(model.state_dict(), whole)
    assert not model.training


def test_training_is_deterministic_and_the_seed_matters(data: Batch, whole: dict[str, Tensor], tmp_path: Path) -> None:
    assert same(train(tiny, data, RECIPE, tmp_path / "a.safetensors").state_dict(), whole)
    other = train(tiny, data, replace(RECIPE, seed=8), tmp_path / "b.safetensors")
    assert not same(other.state_dict(), whole)


def test_an_unfinished_training_with_another_recipe_is_not_lost(data: Batch, tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    interrupted(data, replace(RECIPE, learning_rate=1e-3), checkpoint, steps=29)
    before = checkpoint.read_bytes()
    with pytest.raises(UsageError, match=r"after 2 epochs of another in .* \(other learning_rate\)"):
        train(tiny, data, RECIPE, checkpoint)
    assert checkpoint.read_bytes() == before


def test_a_finished_training_with_another_recipe_gives_way(
    data: Batch, whole: dict[str, Tensor], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "c.safetensors"
    train(tiny, data, replace(RECIPE, epochs=1), checkpoint)
    assert same(train(tiny, data, RECIPE, checkpoint).state_dict(), whole)


def test_a_checkpoint_that_says_nothing_of_itself_is_refused(data: Batch, tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    save_file({"model.x": torch.zeros(1)}, checkpoint, metadata={"epoch": "1"})
    with pytest.raises(UsageError, match="got a damaged file"):
        train(tiny, data, RECIPE, checkpoint)


def test_training_lowers_the_loss(data: Batch, tmp_path: Path) -> None:
    losses: list[float] = []
    recipe = Recipe(epochs=8, batch_size=10, pad=0, flip=False)
    train(tiny, data, recipe, tmp_path / "c.safetensors", progress=lambda done, total, loss: losses.append(loss))
    assert losses[-2] < 0.8 * losses[0]


def test_augmentation_only_moves_and_mirrors() -> None:
    images = torch.arange(1.0, 13).view(1, 1, 3, 4).expand(50, 1, 3, 4)
    moved = augment(images, Recipe(epochs=1, pad=1, flip=True), torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert set(moved.flatten().tolist()) <= {0.0, *images[0].flatten().tolist()}
    assert len({tuple(image.flatten().tolist()) for image in moved}) > 10  # of 18
    still = augment(images, Recipe(epochs=1, pad=0, flip=False), torch.Generator())
    assert still.equal(images)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [one_cycle(step / 100) for step in range(101)]
    assert max(rates) == rates[20] == 1
    assert rates[0] == 0
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_cutout_hides_one_square_of_each_image_and_nothing_else() -> None:
    images = torch.rand(16, 3, 12, 12)
    recipe = Recipe(epochs=1, pad=0, flip=False, cutout=4)
    changed = (augment(images, recipe, torch.Generator().manual_seed(0)) != images).any(1)
    rows, columns = changed.any(2).sum(1), changed.any(1).sum(1)
    assert torch.equal(changed.flatten(1).sum(1), rows * columns)
    assert rows.min() >= 2
    assert rows.max() == columns.max() == 4
