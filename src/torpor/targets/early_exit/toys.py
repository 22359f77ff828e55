"""Two early-exit targets whose worst case is known in closed form: ground truth for attacks and bounds.

Both look only at the mean pixel ``s``. Exit ``k`` stays closed exactly while ``|s - center_k| < width_k``, and its
logits are linear in ``s``, so gradients are honest. The means that a budget reaches form an interval, so the worst case
is the longest prefix of windows that meet in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from torpor.core.budget import whole_levels
from torpor.core.errors import UsageError
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget

THRESHOLD = 0.9


class WindowTarget(EarlyExitTarget):
    """An early-exit target whose exit ``k`` is closed inside a window of mean pixel values.

    Args:
        centers: middle of each window; one per exit but the last.
        widths: half its width.
        side: images are ``[1, side, side]``.
        name: shown in reports.

    >>> target = WindowTarget([0.5], [0.1], side=2)
    >>> target.run(torch.tensor([0.5, 0.7]).view(2, 1, 1, 1).expand(2, 1, 2, 2)).work.counts.tolist()
    [[1, 1], [1, 0]]
    """

    def __init__(
        self, centers: Sequence[float], widths: Sequence[float], *, side: int = 4, name: str = "window"
    ) -> None:
        if len(centers) != len(widths) or not all(width > 0 for width in widths):
            raise UsageError(f"expected one positive width per center, got {list(centers)} and {list(widths)}")
        self.centers, self.widths = tuple(centers), tuple(widths)
        pixels = side * side
        edge = math.log(THRESHOLD / (1 - THRESHOLD)) / 2  # logits (a, -a) are THRESHOLD-confident at |a| = edge
        heads: list[nn.Module] = []
        for center, width in zip([*centers, 0.5], [*widths, 1.0], strict=True):
            head = nn.Linear(pixels, 2)
            gain = edge / width
            sign = torch.tensor([1.0, -1.0])
            with torch.no_grad():
                head.weight.copy_((sign * gain / pixels).unsqueeze(1).expand(2, pixels))
                head.bias.copy_(-sign * gain * center)
            heads.append(head)
        stages: list[nn.Module] = [nn.Flatten(), *(nn.Identity() for _ in centers)]
        super().__init__(
            ShallowDeepNetwork(stages, heads), Confidence(THRESHOLD), input_shape=(1, side, side), name=name
        )

    def reach(self, inputs: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Return the least and the largest mean pixel ``[B]`` within Linf ``eps`` of 8-bit images ``inputs``."""
        whole = whole_levels(eps, 255) / 255
        flat = inputs.flatten(1).to(torch.float64)
        return (flat - whole).clamp_min(0).mean(1), (flat + whole).clamp_max(1).mean(1)

    def worst_depth(self, inputs: Tensor, eps: float) -> Tensor:
        """Return how many units the costliest input within Linf ``eps`` runs, int64 ``[B]``, up to one pixel level.

        The depth is the longest prefix of windows that share a point with the interval of reachable means.
        """
        low, high = self.reach(inputs, eps)
        depth = torch.ones(len(inputs), dtype=torch.int64)
        alive = torch.ones(len(inputs), dtype=torch.bool)
        for center, width in zip(self.centers, self.widths, strict=True):
            low = low.clamp_min(center - width)
            high = high.clamp_max(center + width)
            alive &= low < high
            depth += alive
        return depth


def needle(side: int = 4) -> WindowTarget:
    """Build nested windows around 0.5: each exit is harder to keep closed than the last, and all can be.

    >>> needle().worst_depth(torch.full((1, 1, 4, 4), 0.8), 0.35).tolist()
    [4]
    """
    return WindowTarget([0.5, 0.5, 0.5], [0.2, 0.1, 0.04], side=side, name="toy-needle")


def tug(side: int = 4) -> WindowTarget:
    """Build windows around 0.4 and 0.7 that do not meet: no input reaches the static bound.

    >>> tug().worst_depth(torch.full((1, 1, 4, 4), 0.5), 1.0).tolist(), len(tug().units)
    ([2], 3)
    """
    return WindowTarget([0.4, 0.7], [0.1, 0.1], side=side, name="toy-tug")
