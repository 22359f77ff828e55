"""Where the training of a network that skips layers starts, and who teaches it then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from torpor.data.images import ImageSet
from torpor.training.registry import TRAINERS
from torpor.training.skipping import SkipRecipe, TaughtSkipRecipe, TaughtSkipTrainer, cost_penalty, taught
from torpor.zoo.early_exits import EARLY_EXITS
from torpor.zoo.networks.skipnet import SkipNetwork


class Noise(ImageSet):
    """Eight images of noise in each split."""

    name, classes = "noise", tuple("0123456789")

    def samples(self, split: str) -> Iterator[tuple[Tensor, int]]:
        pixels = torch.randint(256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(len(split)))
        yield from ((image.to(torch.uint8), label) for label, image in enumerate(pixels))


@pytest.fixture
def trainer() -> TaughtSkipTrainer:
    found = TRAINERS["skipnet-cifar10"]
    assert isinstance(found, TaughtSkipTrainer)
    return found


def network(trainer: TaughtSkipTrainer) -> SkipNetwork:
    model = trainer.start()
    assert isinstance(model, SkipNetwork)
    return model


def test_training_starts_from_the_residual_network_that_ships(trainer: TaughtSkipTrainer) -> None:
    base = load_file(EARLY_EXITS["sdn-resnet56-cifar10"].folder() / "sdn-resnet56-cifar10.safetensors")
    ours = network(trainer).state_dict()
    pairs = {  # of 9 blocks of each width, 6 are taken
        "stem.1.weight": "stages.0.conv.weight",
        "blocks.0.branch.0.weight": "stages.0.block1.conv1.weight",
        "blocks.5.branch.3.weight": "stages.1.block8.conv2.weight",
        "blocks.6.shortcut.0.weight": "stages.2.block10.shortcut.0.weight",
        "blocks.17.branch.4.running_var": "stages.6.block26.bn2.running_var",
        "head.2.bias": "stages.6.linear.bias",
    }
    for mine, theirs in pairs.items():
        assert torch.equal(ours[mine], base[theirs].float()), mine
    assert (ours["blocks.17.gate.3.bias"] == 2).all()  # gates start open


def test_it_learns_by_itself_and_is_then_taught(trainer: TaughtSkipTrainer, tmp_path: Path) -> None:
    assert isinstance(trainer.recipe, TaughtSkipRecipe)
    recipe = replace(trainer.recipe, batch_size=4, untaught=replace(trainer.recipe.untaught, batch_size=4))
    steps: list[int] = []
    trainer = replace(trainer, recipe=recipe, entry=replace(trainer.entry, source=lambda folder: Noise()))
    written = trainer.train(None, tmp_path, epochs=1, seed=3, progress=lambda *at: steps.append(at[1]))
    card = json.loads(written.read_text())
    assert steps == [2, 2, 2, 2]  # two trainings of two steps: the first of each is shown, and the end
    assert card["recipe"]["epochs"] == card["recipe"]["untaught"]["epochs"] == 1
    assert card["recipe"]["seed"] == card["recipe"]["untaught"]["seed"] == 3
    alone, then = (load_file(folder / "skipnet-cifar10.safetensors") for folder in (tmp_path / "untaught", tmp_path))
    count = "stem.2.num_batches_tracked"
    assert then[count] == alone[count] + 2


def test_the_lesson_is_the_mean_of_the_teachers_and_the_class(trainer: TaughtSkipTrainer) -> None:
    assert isinstance(trainer.recipe, TaughtSkipRecipe)
    model, labels = network(trainer).eval(), torch.tensor([3, 1])
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    says = [torch.randn(2, 10, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    recipe = replace(trainer.recipe, temperature=2.0, teaching=0.75, cost_weight=0.0, scatter_weight=0.0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores = model(images)[0].float()
    mean = ((says[0] / 2).softmax(1) + (says[1] / 2).softmax(1)) / 2
    pupil = (scores / 2).softmax(1)
    alike = (mean * (mean / pupil).log()).sum(1).mean() * 4
    right = F.cross_entropy(scores, labels)
    loss, shown = taught([lambda _: says[0], lambda _: says[1]])(model, images, labels, recipe, 0)
    assert shown.item() == pytest.approx(right.item(), rel=1e-5)
    assert loss.item() == pytest.approx((0.75 * alike + 0.25 * right).item(), rel=1e-4)


def test_a_block_that_few_samples_skip_is_opened_and_one_that_half_of_them_skip_is_not() -> None:
    runs = torch.tensor([[1.0, 1, 1, 1]] * 4 + [[1, 1, 1, 0]] * 3 + [[1, 1, 0, 0]] + [[1, 0, 0, 0]] * 2)
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1])  # they run for 10, 8, 7 and 4 of 10 samples
    shares = (runs * weights).requires_grad_()
    recipe = SkipRecipe(epochs=1, goal=1.0, scatter_weight=2.0)
    loss = cost_penalty(shares, recipe, 0)
    assert loss.item() == pytest.approx(2 * (0.3 * 0.3 * 0.2 + 0.2 * 0.2 * 0.3))
    (slope,) = torch.autograd.grad(loss, shares)
    assert torch.allclose(slope, torch.tensor([-0.1, -0.02, 0.02, 0]).expand(10, 4), atol=1e-6)


def test_flops_above_the_free_share_cost() -> None:
    shares = torch.tensor([[0.5, 0.5], [0.5, 0]])
    assert cost_penalty(shares, SkipRecipe(epochs=1, goal=0.5, ramp=(-2, -1)), 0).item() == pytest.approx(4 * 0.25)
