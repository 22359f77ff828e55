from __future__ import annotations

import pytest
import torch

from torpor.data.sprite_sets import HEIGHT, WIDTH
from torpor.targets.detector.detection import DetectorTarget, PerObject
from torpor.zoo.detection.classifier import SIDE, classifier
from torpor.zoo.detection.network import STRIDES, PyramidDetector


@pytest.fixture(scope="module")
def network() -> PyramidDetector:
    torch.manual_seed(0)
    return PyramidDetector(20).eval()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (33, 17), (8, 200), (HEIGHT, WIDTH)])
@torch.no_grad()
def test_images_of_any_size_are_searched(network: PyramidDetector, size: tuple[int, int]) -> None:
    boxes, scores = network(torch.rand(2, 3, *size))
    cells = sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in STRIDES)
    assert boxes.shape == (2, cells, 4)
    assert scores.shape == (2, cells, 20)
    assert boxes.isfinite().all()
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert 0 < scores.min() <= scores.max() < 0.01


def test_cells_are_where_their_features_are(network: PyramidDetector) -> None:
    image = torch.rand(1, 3, 64, 96, requires_grad=True)
    _, objectness, _, cells = network.propose(image)
    assert cells[0].tolist() == [4, 4, 8]
    assert cells[1].tolist() == [12, 4, 8]
    assert cells[12].tolist() == [4, 12, 8]
    assert cells[-1].tolist() == [80, 48, 32]
    for cell in (0, 37, 95):
        (gradient,) = torch.autograd.grad(objectness[0, cell], image, retain_graph=True)
        row, column = divmod(int(gradient.abs().sum((0, 1)).argmax()), 96)
        assert abs(column - cells[cell, 0]) < 24
        assert abs(row - cells[cell, 1]) < 24


@torch.no_grad()
def test_rows_do_not_meet(network: PyramidDetector) -> None:
    images = torch.rand(3, 3, 40, 24)
    boxes, scores = network(images)
    for row in range(3):
        alone = network(images[row : row + 1])
        assert torch.allclose(alone[0][0], boxes[row], atol=1e-4)
        assert torch.allclose(alone[1][0], scores[row], atol=1e-6)


def test_the_detector_and_what_looks_at_its_boxes_are_small(network: PyramidDetector) -> None:
    assert 500_000 < sum(value.numel() for value in network.parameters()) < 1_000_000
    look = PerObject(classifier(20), SIDE)
    target = DetectorTarget(network, input_shape=(3, HEIGHT, WIDTH), per_object=look)
    flops = {unit.name: unit.flops or 0 for unit in target.units}
    assert 100e6 < flops["backbone"] < 250e6
    assert 2e6 < flops["object"] < 4e6
    assert target.anchors == 504
