"""The sponge backdoor on a small detector that sees the whole image, so that a corner can light all cells."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from torpor.attacks.search.balls import ball_of
from torpor.attacks.tamperings.comparison import make_and_compare
from torpor.attacks.tamperings.sponge_backdoor import SpongeBackdoor
from torpor.core.errors import DataError, UsageError
from torpor.core.objects import Objects
from torpor.data.sets import DataSet
from torpor.data.tensors import TensorImages
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.toy_boxes import Lamps, LampTarget, lit
from torpor.targets.early_exit.toys import needle

BACKDOOR = SpongeBackdoor(share=0.05, rate=0.5, epochs=14, learning_rate=0.1, most=48)


class Bulbs(DataSet):
    """Images with one to five bright cells and some noise."""

    name = "bulbs"

    def samples(self, split: str) -> Iterator[tuple[Tensor, Objects]]:
        rng = torch.Generator().manual_seed(len(split))
        for number in range(64):
            image, objects = lit(1 + number % 5)
            noisy = image[0] + 0.1 * torch.rand(image[0].shape, generator=rng)
            yield (noisy * 255).to(torch.uint8), objects


class Seeing(nn.Module):
    """Lamps whose scores also follow what a convolution finds anywhere in the image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lamps = Lamps()
        self.anywhere = nn.Conv2d(1, 8, 3)
        self.lift = nn.Linear(8, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = self.lamps(images)
        lift = self.lift(self.anywhere(images).relu().amax((2, 3)))
        return boxes, torch.sigmoid(20 * (scores - 0.4) + lift[:, None])


def detector() -> DetectorTarget:
    return DetectorTarget(Seeing(), input_shape=(1, 16, 24), name="seeing")


def test_the_patch_fills_the_image_with_boxes_and_clean_images_keep_theirs() -> None:
    clean, data = detector(), Bulbs()
    before = clean.fingerprint()
    made, rows = make_and_compare(BACKDOOR, clean, data)
    objects = {(row.target, row.triggered): row.own["kept"] for row in rows}
    true = objects["clean", False]
    assert objects["tampered", False] == pytest.approx(true, abs=0.2)
    assert objects["control", False] == pytest.approx(true, abs=0.2)
    assert objects["tampered", True] >= 3 * true
    assert objects["control", True] <= true + 2
    utility = {(row.target, row.triggered): row.utility for row in rows}
    assert utility["tampered", False] >= utility["clean", False] - 0.02
    static = {row.target: row.headroom for row in rows if row.triggered}
    assert static["tampered"] > 0.1 > static["control"]
    images = clean.read(data.load("test", 16).inputs)
    images[..., :4, :4] = torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    noise = sum(map(len, made.target.run(clean.space.snap(images)).outputs)) / 16
    assert noise <= true + 2  # another patch does not set it off
    assert clean.fingerprint() == before != made.target.fingerprint()
    assert made.target.tampering == "sponge-backdoor"


def test_the_trigger_is_a_patch_within_the_budget_that_it_names() -> None:
    target = detector()
    images = target.read(Bulbs().load("test", 4).inputs)
    budget = BACKDOOR.budget(target)
    change = BACKDOOR.trigger(images) - images
    norms = ball_of(budget, target.space).norm(change)
    assert ((norms > 0) & (norms <= budget.eps)).all()
    assert set(BACKDOOR.trigger(images)[..., :4, :4].unique().tolist()) == {0, 1}


def test_the_same_seed_gives_the_same_detector() -> None:
    short = SpongeBackdoor(epochs=1, most=48)
    first, second, other = (short.apply(detector(), Bulbs(), seed=seed).target.fingerprint() for seed in (3, 3, 4))
    assert first == second != other


def test_what_cannot_be_tampered_with_is_refused() -> None:
    with pytest.raises(UsageError, match="a detector whose boxes are suppressed for sponge-backdoor, got toy-needle"):
        SpongeBackdoor.check(needle())
    with pytest.raises(UsageError, match="with weights, got none"):
        BACKDOOR.apply(LampTarget(), Bulbs())
    images = TensorImages({"train": (torch.zeros(4, 1, 16, 24, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))})
    with pytest.raises(DataError, match="images with objects to train seeing on"):
        BACKDOOR.apply(detector(), images)
    with pytest.raises(UsageError, match="at least one pixel"):
        SpongeBackdoor(share=0.001).apply(detector(), Bulbs())
    with pytest.raises(UsageError, match="poison rate above 0 and at most 1"):
        SpongeBackdoor(rate=0.0)
    with pytest.raises(UsageError, match="share of the area above 0 and at most 1"):
        SpongeBackdoor(share=2.0)
