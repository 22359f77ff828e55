from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.core.objects import Objects, box_iou
from torpor.training.detection_loss import GroundTruth, assign, detection_loss, paired_iou
from torpor.zoo.detection.network import PyramidDetector

SIZE = (32, 48)
NOTHING = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def cells() -> Tensor:
    """Return the cells of stride 8 of an image of 32 x 48 pixels."""
    down, across = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    centers = torch.stack([across, down], -1).flatten(0, 1) * 8.0 + 4
    return torch.cat([centers, torch.full((24, 1), 8.0)], 1)


def unsure(batch: int = 1, classes: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return boxes of a cell's size, and logits of nought."""
    grid = cells()
    boxes = torch.cat([grid[:, :2] - 4, grid[:, :2] + 4], 1).expand(batch, -1, -1)
    return boxes.clone(), torch.zeros(batch, 24), torch.zeros(batch, 24, classes), grid


def objects(*boxes: tuple[float, float, float, float]) -> Objects:
    return Objects(torch.tensor(boxes), torch.arange(len(boxes)) % 3)


def test_paired_iou_is_the_diagonal_of_all_pairs() -> None:
    corners = torch.rand(20, 2, 2, generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    assert torch.allclose(paired_iou(boxes, boxes.roll(1, 0)), box_iou(boxes, boxes.roll(1, 0)).diagonal())


def test_an_object_goes_to_the_cells_that_find_it_best() -> None:
    boxes, objectness, classes, grid = unsure()
    truth = GroundTruth.of([objects((8, 8, 24, 24), (32, 16, 40, 24))])
    boxes[0, 7] = torch.tensor([8.0, 8, 24, 24])
    boxes[0, 8] = torch.tensor([8.0, 8, 24, 16])
    found, which = assign(boxes, objectness, classes, grid, truth)
    assert found[0].nonzero().flatten().tolist() == [7, 8, 16]  # IoU 1 + 1/2 + 2 x 1/4: two cells; then 1: one
    assert which[0, [7, 8, 16]].tolist() == [0, 0, 1]


def test_classes_and_objectness_decide_between_equal_boxes() -> None:
    boxes, objectness, classes, grid = unsure()
    truth = GroundTruth.of([objects((8, 8, 24, 24))])
    boxes[0, :] = torch.tensor([8.0, 8, 24, 10])  # IoU 1/8 everywhere: of ten best, one cell
    classes[0, 14] = torch.tensor([4.0, -4, -4])
    assert assign(boxes, objectness, classes, grid, truth)[0][0].nonzero().tolist() == [[14]]
    classes[0, 13], objectness[0, 13] = classes[0, 14], 2
    assert assign(boxes, objectness, classes, grid, truth)[0][0].nonzero().tolist() == [[13]]


def test_a_cell_that_two_objects_want_takes_the_cheaper() -> None:
    boxes, objectness, classes, grid = unsure()
    pair = Objects(torch.tensor([[16.0, 16, 24, 24], [16.0, 16, 24, 25]]), torch.tensor([0, 1]))
    found, which = assign(boxes, objectness, classes, grid, GroundTruth.of([pair]))
    assert found[0, 14]
    assert which[0, 14] == 0


def test_small_objects_between_cells_are_found_by_a_neighbor() -> None:
    found, _ = assign(*unsure(), GroundTruth.of([objects((7, 7, 9, 9))]))
    assert found.sum() == 1
    assert found[0, [0, 1, 6, 7]].any()


def test_empty_images_and_padding_want_no_cell() -> None:
    truth = GroundTruth.of([NOTHING, objects((8, 8, 24, 24), (32, 0, 40, 8)), objects((0, 0, 8, 8))])
    assert truth.there.tolist() == [[False, False], [True, True], [True, False]]
    found, which = assign(*unsure(3), truth)
    assert not found[0].any()
    assert set(which[1, found[1]].tolist()) == {0, 1}
    assert set(which[2, found[2]].tolist()) == {0}
    loss = detection_loss(*unsure(), GroundTruth.of([NOTHING]))
    assert loss.item() == pytest.approx(24 * 0.693147, rel=1e-5)


def test_the_loss_of_known_proposals() -> None:
    boxes, objectness, classes, grid = unsure()
    truth = GroundTruth.of([objects((16, 16, 24, 22))])
    found, _ = assign(boxes, objectness, classes, grid, truth)
    assert found[0].nonzero().tolist() == [[14]]
    iou = 6 / 8
    of_class = F.binary_cross_entropy_with_logits(torch.zeros(3), torch.tensor([iou, 0, 0]), reduction="sum").item()
    expected = 5 * (1 - iou**2) + 24 * 0.693147 + of_class
    assert detection_loss(boxes, objectness, classes, grid, truth).item() == pytest.approx(expected, rel=1e-5)


def test_a_right_answer_costs_nothing() -> None:
    boxes, objectness, classes, grid = unsure()
    objectness[:], classes[:] = -20, -20
    objectness[0, 14] = classes[0, 14, 0] = 20
    assert detection_loss(boxes, objectness, classes, grid, GroundTruth.of([objects((16, 16, 24, 24))])).item() < 1e-3


def test_a_tiny_detector_learns_two_images_by_heart() -> None:
    torch.manual_seed(0)
    model = PyramidDetector(2, (4, 4, 8, 8, 8), 8).train()
    images = torch.zeros(2, 3, *SIZE)
    images[0, 0, 4:20, 6:26] = 1
    images[1, 1, 10:28, 20:36] = 1
    boxes = torch.tensor([[[6.0, 4, 26, 20]], [[20.0, 10, 36, 28]]])
    truth = GroundTruth(boxes, torch.tensor([[0], [1]]), torch.ones(2, 1, dtype=torch.bool))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(120):
        loss = detection_loss(*model.propose(images), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    found, scores = model(images)
    for row in range(2):
        best = scores[row].amax(1).argmax()
        assert scores[row, best].argmax() == row
        assert paired_iou(found[row, best], boxes[row, 0]) > 0.7
