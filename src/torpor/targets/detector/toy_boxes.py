"""A detector whose worst case is known in closed form: ground truth for attacks on detection."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torpor.core.budget import whole_levels
from torpor.core.objects import Objects
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.detector.nms import NMS

CELL = 4


class Lamps(nn.Module):
    """Proposes one box for each cell of 4 x 4 pixels; its score is the cell's mean brightness.

    Cells do not overlap, so every candidate is kept, and ``n`` candidates are ``n (n - 1) / 2`` pairs.
    """

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes ``[B, N, 4]`` and scores ``[B, N, 1]`` of images ``[B, 1, H, W]``."""
        mean = torch.full((1, 1, CELL, CELL), 1 / CELL**2).to(images)
        scores = F.conv2d(images, mean, stride=CELL).flatten(1).unsqueeze(2)  # a convolution, whose FLOPs count
        rows, columns = (size // CELL for size in images.shape[2:])
        down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        corner = torch.stack([across, down], -1).flatten(0, 1).to(images) * CELL
        return torch.cat([corner, corner + CELL], 1).expand(len(images), -1, -1), scores


class LampTarget(DetectorTarget):
    """A detector of bright cells.

    Args:
        height: of an image, a multiple of 4.
        width: likewise.
        nms: thresholds and caps.

    >>> target = LampTarget(4, 8)
    >>> image = torch.tensor([0.2] * 4 + [0.6] * 4).expand(1, 1, 4, 8)
    >>> outcome = target.run(image)
    >>> outcome.work.counts.tolist(), outcome.outputs[0].boxes.tolist()
    ([[1, 1, 0]], [[4.0, 0.0, 8.0, 4.0]])
    """

    def __init__(self, height: int = 16, width: int = 24, nms: NMS | None = None) -> None:
        super().__init__(Lamps(), input_shape=(1, height, width), nms=nms, classes=["lamp"], name="toy-lamps")

    def worst_candidates(self, inputs: Tensor, eps: float) -> Tensor:
        """Return how many candidates an input within Linf ``eps`` of 8-bit images can have, int64 ``[B]``."""
        whole = whole_levels(eps, 255) / 255
        bright = F.avg_pool2d((inputs.to(torch.float64) + whole).clamp_max(1), CELL).flatten(1)
        return (bright > self.nms.conf).sum(1)


def lit(count: int, height: int = 16, width: int = 24) -> tuple[Tensor, Objects]:
    """Return an image ``[1, 1, H, W]`` with ``count`` bright cells, the first ones, and its ground truth.

    >>> lit(3)[1].boxes[-1].tolist()
    [8.0, 0.0, 12.0, 4.0]
    """
    cells = torch.zeros(height // CELL * (width // CELL))
    cells[:count] = 0.6
    image = cells.view(1, 1, height // CELL, width // CELL).repeat_interleave(CELL, 2).repeat_interleave(CELL, 3)
    boxes, _ = Lamps()(image)
    return image, Objects(boxes[0, :count].clone(), torch.zeros(count, dtype=torch.int64))
