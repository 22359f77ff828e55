"""A layer-skipping target whose worst case is known in closed form: ground truth for gates that are no exits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from torpor.core.budget import whole_levels
from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.targets.base import Target
from torpor.targets.early_exit.family import GateFamily

STEM = 10


class SkipWindows(Target):
    """A network that runs block ``k`` only while ``|s - center_k| < width_k``, with ``s`` the mean pixel.

    No block depends on another one, so the cost is the sum of what runs at one ``s``, and the worst case is the best
    point of an interval.

    Args:
        centers: middle of each window, one per block.
        widths: half its width.
        flops: of each block.
        honest: whether margins have a gradient.
    """

    family = GateFamily()
    mechanism = "layer skipping"
    name = "toy-skip"
    device = torch.device("cpu")

    space: ImageSpace

    def __init__(
        self, centers: Sequence[float], widths: Sequence[float], flops: Sequence[int], *, honest: bool = True
    ) -> None:
        self.centers, self.widths, self.flops = (torch.tensor(each) for each in (centers, widths, flops))
        self.honest = honest
        self.space = ImageSpace((1, 4, 4))
        blocks = (Unit(f"block{number}", each) for number, each in enumerate(flops))
        self.units = (Unit("stem", STEM), *blocks)

    def margins(self, inputs: Tensor) -> Tensor:
        mean = inputs.flatten(1).mean(1, keepdim=True)
        return (mean - self.centers).abs() - self.widths

    def _work(self, margins: Tensor) -> Work:
        ran = (margins < 0).to(torch.int64)
        return Work(torch.cat([torch.ones_like(ran[:, :1]), ran], 1))

    def run(self, inputs: Tensor) -> Outcome:
        mean = inputs.flatten(1).mean(1)
        return Outcome(torch.stack([mean, 1 - mean], 1), self._work(self.margins(inputs)))

    def signals(self, inputs: Tensor) -> GateSignals:
        margins = self.margins(inputs)
        if not self.honest:
            margins = margins.detach() + 0 * inputs.flatten(1).sum(1, keepdim=True)
        return GateSignals(None, margins, self._work(margins.detach()), savings=self.flops)

    def max_work(self, inputs: Tensor) -> Work:
        return Work(torch.ones(len(inputs), len(self.units), dtype=torch.int64))

    def worst_cost(self, inputs: Tensor, eps: float) -> Tensor:
        """Return the FLOPs of the costliest input within Linf ``eps`` of 8-bit images, float64 ``[B]``.

        What runs changes only at edges of windows, so one point between each two edges that can be reached tells all.
        """
        whole, flat = whole_levels(eps, 255) / 255, inputs.flatten(1).to(torch.float64)
        ends = (flat - whole).clamp_min(0).mean(1), (flat + whole).clamp_max(1).mean(1)
        edges = torch.cat([self.centers - self.widths, self.centers + self.widths]).to(torch.float64)
        worst = []
        for low, high in zip(*ends, strict=True):
            points = torch.cat([low[None], edges[(edges > low) & (edges < high)].sort().values, high[None]])
            middles = (points[1:] + points[:-1]) / 2
            runs = (middles[:, None] - self.centers).abs() < self.widths
            worst.append(STEM + (runs * self.flops).sum(1).max())
        return torch.stack(worst).to(torch.float64)

    def labels(self, outputs: Tensor, references: Tensor | None) -> Tensor:
        return outputs.argmax(-1) if references is None else references

    def utility(self, outputs: Tensor, references: Tensor) -> Tensor:
        return (outputs.argmax(-1) == references).to(torch.float64)

    def agreement(self, outputs: Tensor, clean: Tensor) -> Tensor:
        return outputs.argmax(-1) == clean.argmax(-1)

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        yield self.run(inputs).work, lambda: self.run(inputs)

    def to(self, device: torch.device) -> Self:
        return self

    def details(self) -> dict[str, Any]:
        return {"classes": 2}


def nested() -> SkipWindows:
    """All blocks can run at once: in the narrowest window."""
    return SkipWindows([0.5, 0.5, 0.5, 0.52], [0.3, 0.2, 0.05, 0.1], [1, 2, 4, 8])


def torn() -> SkipWindows:
    """Many cheap blocks on one side, a costly one on the other, and one in between that runs with neither."""
    return SkipWindows([0.3] * 6 + [0.5, 0.72], [0.06] * 6 + [0.05, 0.05], [3] * 6 + [8, 40])


def late() -> SkipWindows:
    """The third block, which is cheap, cannot run with the last, which is costly: the order of blocks says nothing."""
    return SkipWindows([0.4, 0.6, 0.3, 0.62], [0.25, 0.1, 0.1, 0.06], [5, 5, 2, 30])


SKIP_TARGETS: dict[str, Callable[[], SkipWindows]] = {"nested": nested, "torn": torn, "late": late}


def images_of(target: SkipWindows, count: int = 12) -> Tensor:
    """Return images of every brightness, each with some noise."""
    rng = torch.Generator().manual_seed(4)
    means = torch.linspace(0.05, 0.95, count).view(-1, 1, 1, 1)
    return target.space.snap(means + 0.1 * (torch.rand(count, *target.space.shape, generator=rng) - 0.5))
