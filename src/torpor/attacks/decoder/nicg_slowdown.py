"""NICGSlowDown: images about which a captioner cannot stop talking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.decoder.objectives import DelayAndDiverge
from torpor.attacks.decoder.steps import StepAttack
from torpor.attacks.iterative import amplify
from torpor.attacks.search.optimizers import Adam, Tanh
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import StepTarget

PAPER = Paper(
    "NICGSlowDown: Evaluating the Efficiency Robustness of Neural Image Caption Generation Models",
    "Chen et al.",
    "CVPR",
    2022,
    "arXiv:2203.15859",
)
RATE = 1e-3
"""The paper's learning rate."""
LEAST_RATE = 6e-3
"""What moves a pixel of 0.5 by 0.003 in one step: more than half a level of 1/255, so it does not round away."""
WEIGHT = 100.0


@dataclass(frozen=True, kw_only=True)
class NICGSlowDown(StepAttack):
    """Delay the end token and change the words: Adam on a tanh reparametrization, the change penalized beyond ``eps``.

    The paper's budgets are Linf 0.03, or L2 40 on images of 3 x 256 x 256 pixels: a true norm, a root mean square of
    0.09 per value, which other sizes get too by default. The released code compares the *squared* L2 change with 40 (a
    norm of 6.3) and the *signed* largest change with 0.03; here budgets are norms, as the paper defines them, and both
    directions count. Unlike the paper's, every candidate is projected into the budget before it is judged, so none is
    lost to the soft penalty.

    1000 iterations. The paper's learning rate of 0.001 moves no pixel by half a level at first, so that what is sent,
    an 8-bit image, stays what it was for some iterations; here the rate is at least 0.006, with which the first step
    changes a gray pixel by a level. With fewer than 167 ``steps`` it grows so that the way stays as long as the
    paper's. Pixels that are black or white hardly move, which is the reparametrization's nature.

    Attributes:
        terms: which terms of the loss: ``"both"``, only the ``"end"`` token's, or only the ``"chosen"`` token's.

    >>> NICGSlowDown.default_budget("L2", shape=(3, 64, 64)).eps
    10.0
    """

    id: ClassVar[str] = "nicg-slowdown"
    paper: ClassVar[Paper | None] = PAPER
    paper_steps: ClassVar[int] = 1000
    radii: ClassVar[Mapping[str, float]] = {"Linf": 0.03, "L2": 40.0}
    paper_shape: ClassVar[tuple[int, ...] | None] = (3, 256, 256)

    eps: float = 0.03
    terms: Literal["both", "end", "chosen"] = "both"

    @property
    def rate(self) -> float:
        """Learning rate."""
        return max(LEAST_RATE, RATE * self.paper_steps / self.iterations)

    def penalty(self, change: Tensor) -> Tensor:
        """Return ``100 relu(norm - eps)`` of changes ``[B, ...]``."""
        return WEIGHT * (self.ball.norm(change) - self.eps).relu()

    @override
    def search(self, target: StepTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        return amplify(
            target,
            inputs,
            objective=DelayAndDiverge(self.terms),
            ball=self.ball,
            eps=self.eps,
            optimizer=Adam(self.rate),
            steps=self.iterations,
            variable=Tanh(),
            start=Tanh().values(inputs),
            penalty=self.penalty,
        )
