"""Audit a detector of your own. In this folder, run: ``torpor audit own_detector:build --attacks daedalus --limit 16``.

torpor needs one thing of your network: called on images ``[B, C, H, W]`` in [0, 1], it returns every box that it
proposes, ``[B, N, 4]`` as left, top, right, bottom in pixels, and the scores of each box, ``[B, N, L]`` from 0 to 1,
before any threshold. Thresholds, suppression and caps are the deployment's: state them with ``NMS``. The rest of this
file is data and training.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.core.objects import Objects
from torpor.data.sets import SPLITS, DataSet
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS

SIDE = 32
CELL = 4
CLASSES = ("dark", "light")
SIZES = {"train": 512, "validation": 64, "test": 64}


class Squares(DataSet):
    """One to three dark or light squares on gray noise; each image is a function of its split and number alone."""

    name = "squares"

    def samples(self, split: str) -> Iterator[tuple[Tensor, Objects]]:
        """Yield ``(image uint8 [1, 32, 32], what is in it)``."""
        for number in range(SIZES[split]):
            rng = torch.Generator().manual_seed(1000 * SPLITS.index(split) + number)
            image = torch.randint(90, 166, (1, SIDE, SIDE), generator=rng, dtype=torch.uint8)
            count = int(torch.randint(1, 4, (), generator=rng))
            quarters = torch.randperm(4, generator=rng)[:count]  # of the image: objects do not overlap
            sides = torch.randint(6, 11, (count, 1), generator=rng)
            corners = torch.stack([quarters % 2, quarters // 2], 1) * (SIDE // 2)
            corners += torch.randint(0, SIDE // 2 - 10, (count, 2), generator=rng)
            labels = torch.randint(0, 2, (count,), generator=rng)
            for (left, top), side, label in zip(
                corners.tolist(), sides.flatten().tolist(), labels.tolist(), strict=True
            ):
                image[:, top : top + side, left : left + side] = 30 + 195 * label
            yield image, Objects(torch.cat([corners, corners + sides], 1).to(torch.float32), labels)


class OwnDetector(nn.Module):
    """Proposes one box for each cell of 4 x 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 4 + len(CLASSES), 3, 1, 1)),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes ``[B, N, 4]`` and scores ``[B, N, 2]``; this is all that torpor calls."""
        boxes, logits = self.look(images)
        return boxes, logits.sigmoid()

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and logits."""
        found = self.body(images)
        rows, columns = (torch.arange(size, device=found.device) * CELL + CELL / 2 for size in found.shape[2:])
        middle = torch.cartesian_prod(rows, columns).flip(1)
        found = found.flatten(2).transpose(1, 2)
        reach = found[..., :4].clamp(-4, 4).exp() * CELL
        return torch.cat([middle - reach[..., :2], middle + reach[..., 2:]], 2), found[..., 4:]


def train(epochs: int = 20, seed: int = 0) -> OwnDetector:
    """Train the cell in which the middle of an object is to find it; the same seed gives the same network."""
    batch = Squares().load("train")
    images = batch.inputs.to(torch.float32) / 255
    wanted = torch.zeros(len(images), (SIDE // CELL) ** 2, len(CLASSES))
    places = torch.zeros(len(images), (SIDE // CELL) ** 2, 4)
    for number, objects in enumerate(batch.references):
        columns, rows = ((objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2 // CELL).long().unbind(1)
        cells = rows * (SIDE // CELL) + columns
        wanted[number, cells, objects.labels] = 1
        places[number, cells] = objects.boxes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OwnDetector()
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(32):
                boxes, logits = network.look(images[rows])
                here = wanted[rows].amax(2) > 0
                loss = F.binary_cross_entropy_with_logits(logits, wanted[rows], reduction="sum") / len(rows)
                loss = loss + F.l1_loss(boxes[here], places[rows][here])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return network.eval()


def build() -> DetectorTarget:
    """Return the trained network as a target, with the thresholds and caps that it is deployed with."""
    return DetectorTarget(
        train(),
        input_shape=(1, SIDE, SIDE),
        classes=CLASSES,
        nms=NMS(conf=0.3, iou=0.45, max_det=20),
        name="own-detector",
        data=lambda folder: Squares(),
    )
