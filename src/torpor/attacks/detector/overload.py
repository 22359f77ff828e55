"""Overload: images in which a detector sees as many objects as it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.detector.frames import CandidateAttack, Groups, attack_groups, one_by_one, variable_of
from torpor.attacks.iterative import amplify
from torpor.attacks.search.balls import Ball, ball_of
from torpor.attacks.search.objectives import IterateObjective
from torpor.attacks.search.optimizers import Optimizer, Project, State
from torpor.core.errors import UsageError
from torpor.core.signals import CandidateSignals
from torpor.core.threat import Paper
from torpor.targets.detector.contract import CandidateTarget

PAPER = Paper(
    "Overload: Latency Attacks on Object Detection for Edge Devices", "Chen et al.", "CVPR", 2024, "arXiv:2304.05370"
)
STEP_SIZE = 1 / 16  # of eps: 1/255 where eps is 16/255
SLOWEST = 0.5  # pace of the cell with the most boxes
TINY = 1e-6  # keeps the logarithm finite


@dataclass(frozen=True)
class ManyBoxes(IterateObjective[CandidateSignals]):
    """Raise the scores of all boxes, the weak ones most: minus the sum of ``F(score)`` with a concave ``F``.

    Attributes:
        conf: a box above it is a candidate.
        size: height and width of the image.
        grid: rows and columns of cells whose candidates are counted, for the optimizer's pace.
        concave: what ``F`` is.
    """

    conf: float
    size: tuple[int, int]
    grid: int
    concave: Literal["log", "tanh"]

    @override
    def __call__(self, signals: CandidateSignals, step: int, state: State) -> Tensor:
        scores = signals.scores.amax(2)
        state["pace"] = pace(
            crowds(signals.boxes.detach(), scores.detach() > self.conf, self.size, self.grid), self.size
        )
        risen = (scores + TINY).log() if self.concave == "log" else scores.tanh()
        return -risen.sum(1)


def crowds(boxes: Tensor, candidates: Tensor, size: tuple[int, int], grid: int) -> Tensor:
    """Count the candidates whose middle is in each cell of an image, float ``[B, grid, grid]``.

    Args:
        boxes: ``[B, N, 4]``, in pixels.
        candidates: which of them count, bool ``[B, N]``.
        size: height and width of the image.
        grid: rows and columns of cells.

    >>> right = torch.tensor([[[6.0, 0.0, 8.0, 1.0]]])
    >>> crowds(right, torch.tensor([[True]]), (2, 8), 2).tolist()
    [[[0.0, 1.0], [0.0, 0.0]]]
    """
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    across, down = (
        (middle[..., axis] * grid / length).floor().clamp(0, grid - 1) for axis, length in enumerate(reversed(size))
    )
    cell = (down * grid + across).to(torch.int64)
    counts = boxes.new_zeros(len(boxes), grid * grid).scatter_add(1, cell, candidates.to(boxes))
    return counts.view(-1, grid, grid)


def pace(counts: Tensor, size: tuple[int, int]) -> Tensor:
    """Return how fast pixels move, ``[B, 1, 1, H, W]``: 1 in the emptiest cells, half as fast in the fullest.

    >>> pace(torch.tensor([[[0.0, 2.0], [4.0, 4.0]]]), (2, 4))[0, 0, 0].tolist()
    [[1.0, 1.0, 0.75, 0.75], [0.5, 0.5, 0.5, 0.5]]
    """
    low, high = counts.amin((1, 2), keepdim=True), counts.amax((1, 2), keepdim=True)
    paces = 1 - (1 - SLOWEST) * (counts - low) / (high - low).clamp_min(1)
    return F.interpolate(paces.unsqueeze(1), size).unsqueeze(1)


@dataclass(frozen=True)
class PacedSteps(Optimizer):
    """Steepest descent at each pixel's own pace, which the objective tells.

    Attributes:
        size: norm of a step at full pace, in the ball's own norm.
    """

    size: float

    @override
    def step(
        self, ball: Ball, delta: Tensor, gradient: Tensor, loss: Tensor, step: int, state: State, project: Project
    ) -> Tensor:
        return project(torch.addcmul(delta, state["pace"], ball.steepest(gradient), value=-self.size))


@dataclass(frozen=True, kw_only=True)
class Overload(CandidateAttack):
    """Raise every box above the threshold: signed steps on a concave function of the scores, with spatial attention.

    The image is divided into 5 x 5 cells; the more candidates a cell has, the smaller are the steps of its pixels.
    The paper compares concave functions, of which the logarithm is the default here: its gradient in a sigmoid's logit
    does not fade where scores are low. The paper holds the class's probability at 1 once a box has passed; detectors
    here hand over one score, the product, which keeps rising.

    100 steps of a sixteenth of ``eps``, or larger ones with fewer ``steps``, so that the budget can be used up even at
    the slowest pace. The number of steps and how much slower they get are ours, as is Linf 8/255; L2 15 is the paper's.

    Attributes:
        grid: rows and columns of cells.
        concave: ``"log"`` or ``"tanh"``.
        same_for_all: change all frames of a video alike.
    """

    id: ClassVar[str] = "overload"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 100

    grid: int = 5
    concave: Literal["log", "tanh"] = "log"
    same_for_all: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid < 1:
            raise UsageError(f"expected a grid of 1 cell or more, got {self.grid}")
        if self.concave not in ("log", "tanh"):
            raise UsageError(f"expected log or tanh, got {self.concave!r}")

    @override
    def search(self, target: CandidateTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        height, width = inputs.shape[-2:]
        objective = ManyBoxes(target.nms.conf, (height, width), self.grid, self.concave)

        def search(groups: Groups, clean: Tensor, numbers: Tensor) -> Candidates:
            return amplify(
                groups,
                clean,
                objective=objective,
                ball=ball_of(self.budget, groups.space),
                eps=self.eps,
                optimizer=PacedSteps(self.eps * max(STEP_SIZE, 1 / SLOWEST / self.iterations)),
                steps=self.iterations,
                variable=variable_of(groups),
                start=torch.zeros_like(clean[:, :1]),
            )

        frames = one_by_one(inputs)
        return attack_groups(target, inputs, [frames.T if self.same_for_all else frames], search)
