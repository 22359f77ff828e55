"""ADSD: a suffix that lowers a soft stand-in for acceptance while the target's answer stays likely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from torpor.attacks.drafts.base import DraftSearch, acceptance, answer_to, kept_gradient
from torpor.attacks.text.search.coordinates import Segment
from torpor.attacks.text.search.gradients import Loss, TokenGradient, token_gradient
from torpor.core.errors import UsageError
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget


@dataclass(frozen=True, kw_only=True)
class ADSD(DraftSearch):
    """Minimize the overlap of both models' probabilities, and ``preserve`` times the surprise at the clean answer.

    Known from a digest of the paper: a suffix, a soft surrogate for acceptance, and preservation of the target. The
    weight between the two, and the search, are left open there: the weight is an option, the search greedy coordinate
    gradient.

    Attributes:
        preserve: weight of preservation; 0 to leave it out.
    """

    id: ClassVar[str] = "adsd"
    paper: ClassVar[Paper | None] = Paper("ADSD", "", "arXiv", 2026, "arXiv:2607.21804")
    passes: ClassVar[int] = 4

    preserve: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.preserve < float("inf"):
            raise UsageError(f"expected a weight of 0 or more for preserve, got {self.preserve}")

    @override
    def objective(self, target: TextTarget) -> Callable[[Segment], Loss]:
        return lambda segment: acceptance

    @override
    def gradient(self, target: TextTarget, clean: str, current: str, loss: Loss) -> TokenGradient:
        found = token_gradient(target, current, loss)
        kept = kept_gradient(target, current, answer_to(target, clean))
        return replace(found, rows=found.rows + self.preserve * kept)
