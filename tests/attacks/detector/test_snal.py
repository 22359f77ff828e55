from __future__ import annotations

import pytest
import torch
from candidate_targets import BoxTracker, inputs_of, random_detector

from torpor.attacks.detector.snal import PATCHES, SIDE, SNAL, Tiles, cut_out, matched
from torpor.core.errors import UsageError
from torpor.core.objects import Objects
from torpor.core.threat import Access, Stage
from torpor.targets.detector.toy_boxes import LampTarget, lit


def test_patches_are_what_was_found() -> None:
    target = LampTarget()
    image = torch.zeros(1, 1, 16, 24)
    image[..., 4:8, 8:12] = 0.6
    learned = SNAL().fit(target, target.space.snap(image)).learned
    assert learned is not None
    assert learned.perturbations.shape == (1, 1, SIDE, SIDE)
    assert torch.allclose(learned.perturbations, torch.tensor(0.6), atol=1e-5)
    assert (learned.forwards, learned.backwards) == (1, 0)


def test_patches_of_many_images_are_spread_evenly() -> None:
    images = lit(24)[0].expand(20, -1, -1, -1)
    learned = SNAL().fit(LampTarget(), LampTarget().space.snap(images)).learned
    assert learned is not None
    assert PATCHES / 2 < len(learned.perturbations) <= PATCHES


def test_boxes_that_stick_out_are_cut_and_those_outside_give_nothing() -> None:
    image = torch.arange(64.0).view(1, 8, 8)
    boxes = torch.tensor([[-3.0, -3, 1, 1], [7, 7, 99, 99], [9, 9, 12, 12], [-5, 0, -1, 4], [3, 3, 3, 5]])
    patches = cut_out(image, Objects(boxes, torch.zeros(5, dtype=torch.int64)))
    assert [patch.mean().item() for patch in patches] == [0, 63]


@pytest.mark.parametrize(("height", "width"), [(16, 24), (7, 31), (1, 1)])
def test_tiles_lie_where_their_cell_is(height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    tiles = Tiles(torch.rand(4, 3, SIDE, SIDE), images, 3)
    assert tiles.image(tiles.clean).equal(images)


def test_cells_get_tiles_of_their_own() -> None:
    patches = torch.rand(50, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    tiles = Tiles(patches, torch.rand(1, 1, 20, 30, generator=torch.Generator().manual_seed(1)), 5)
    uniform = torch.rand(1, 25, 8, generator=torch.Generator().manual_seed(2))
    drawn = tiles.draw(uniform)[0]
    distances = (drawn.unsqueeze(0) - drawn.unsqueeze(1)).abs().flatten(2).amax(2)
    assert (distances + torch.eye(25) > 0.01).all()


def test_objects_are_counted_in_their_cell() -> None:
    tiles = Tiles(torch.rand(1, 1, SIDE, SIDE), torch.rand(1, 1, 20, 40), 2)
    boxes = torch.tensor([[30.0, 1, 38, 5], [31, 2, 33, 4], [0, 16, 4, 40]])
    assert tiles.count(Objects(boxes, torch.zeros(3, dtype=torch.int64))).tolist() == [0, 2, 1, 0]


def test_matched_tiles_have_the_mean_and_contrast_of_what_they_cover() -> None:
    rng = torch.Generator().manual_seed(0)
    tiles, ground = torch.rand(2, 3, 5, 6, generator=rng), 0.4 + 0.1 * torch.rand(2, 3, 5, 6, generator=rng)
    found = matched(tiles, ground)
    assert torch.allclose(found.mean((2, 3)), ground.mean((2, 3)), atol=1e-5)
    assert torch.allclose(found.std((2, 3)), ground.std((2, 3)), atol=1e-4)
    flat = matched(torch.ones(1, 1, 2, 2), torch.tensor([[[[0.2, 0.4], [0.2, 0.4]]]]))
    assert torch.allclose(flat, torch.tensor(0.3))


def test_more_queries_find_no_less() -> None:
    target = random_detector()
    inputs, known = inputs_of(target), inputs_of(target, other=True)
    few, many = (SNAL(eps=0.1, queries=count).fit(target, known) for count in (2, 30))
    once, often = (target.prices.cost(attack(target, inputs).attacked.work) for attack in (few, many))
    assert (often >= once).all()
    assert (often > once).any()


def test_it_asks_for_no_gradients_and_charges_every_query() -> None:
    target = BoxTracker(LampTarget(), frames=3, buffer=2)
    attack = SNAL(queries=7).fit(target, inputs_of(target, other=True))
    found = attack(target, inputs_of(target)).candidates
    assert found.forwards.tolist() == [7] * 4
    assert not found.backwards.any()
    assert (attack.access, attack.stage) == (Access.DECISION, Stage.EVASION)


def test_images_in_which_nothing_is_found_are_refused() -> None:
    with pytest.raises(UsageError, match="expected objects in the 2 images"):
        SNAL().fit(LampTarget(), torch.zeros(2, 1, 16, 24))
    with pytest.raises(UsageError, match="before fit"):
        SNAL()(LampTarget(), torch.zeros(1, 1, 16, 24))
    with pytest.raises(UsageError, match="1 query"):
        SNAL(queries=0)
