"""Daedalus: images whose boxes are sure and so small that none suppresses another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.detector.frames import CandidateAttack, Groups, attack_groups, one_by_one
from torpor.attacks.iterative import IterativeAttack, amplify
from torpor.attacks.search.balls import ball_of
from torpor.attacks.search.objectives import IterateObjective
from torpor.attacks.search.optimizers import Adam, State, Tanh
from torpor.core.objects import box_area
from torpor.core.signals import CandidateSignals
from torpor.core.threat import Paper
from torpor.targets.detector.contract import CandidateTarget

PAPER = Paper(
    "Daedalus: Breaking Non-Maximum Suppression in Object Detection via Adversarial Examples",
    "Wang et al.",
    "arXiv",
    2019,
    "arXiv:1902.02067",
)
RATE = 0.01
WEIGHT = 100.0


@dataclass(frozen=True)
class SureAndSmall(IterateObjective[CandidateSignals]):
    """Make all boxes sure and small: the mean of ``(1 - score)^2`` plus that of the squared share of the image.

    The third and cheapest of the paper's losses; the others add what boxes overlap, or how near each other they are.

    Attributes:
        pixels: in an image.

    >>> import torch
    >>> boxes = torch.tensor([[[0.0, 0.0, 2.0, 2.0]]])
    >>> SureAndSmall(8)(CandidateSignals(boxes, torch.tensor([[[0.5, 0.1]]]), None), 0, {}).item()
    0.5
    """

    pixels: int

    @override
    def __call__(self, signals: CandidateSignals, step: int, state: State) -> Tensor:
        unsure = (1 - signals.scores.amax(2)).square()
        return (unsure + (box_area(signals.boxes) / self.pixels).square()).mean(1)


@dataclass(frozen=True, kw_only=True)
class Daedalus(CandidateAttack):
    """Make every box confident and small, whatever its class: Adam on a tanh reparametrization.

    The paper looks for the smallest L2 change that lowers the loss by a given share. Here the budget is given: a change
    costs nothing within it, and every candidate is projected into it. A penalty on the part of the norm beyond it pulls
    back the whole change under L2, but under Linf, at each step, only the pixel that changed most: the others stay
    beyond the budget and are clipped. The L2 norm of all that is beyond, tried instead, found fewer candidates.

    The learning rate of 0.01 is the paper's, and grows where so few ``steps`` could not use up the budget; 1000 steps,
    of the paper's 10,000 at most. Pixels that are black or white hardly move, which is the reparametrization's nature.
    """

    id: ClassVar[str] = "daedalus"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 1000
    norms: ClassVar[tuple[str, ...]] = IterativeAttack.norms

    @override
    def search(self, target: CandidateTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        rate = max(RATE, 4 * self.per_value(inputs) / self.iterations)  # a step of gray pixels is half the rate

        def search(groups: Groups, clean: Tensor, numbers: Tensor) -> Candidates:
            ball = ball_of(self.budget, groups.space)
            return amplify(
                groups,
                clean,
                objective=SureAndSmall(clean.shape[-2:].numel()),
                ball=ball,
                eps=self.eps,
                optimizer=Adam(rate),
                steps=self.iterations,
                variable=Tanh(),
                start=Tanh().values(clean),
                penalty=lambda change: WEIGHT * (ball.norm(change) - self.eps).relu(),
            )

        return attack_groups(target, inputs, [one_by_one(inputs)], search)
