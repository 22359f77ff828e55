"""The family of targets that iterate until an end token."""

from __future__ import annotations

from typing import Any, ClassVar

from torpor.core.batches import Samples
from torpor.core.outcome import Generation
from torpor.core.signals import StepSignals
from torpor.core.units import Behavior
from torpor.targets.family import Family

ATTACKS = {
    "image": ("nicg-slowdown",),
    "text": ("nmtsloth-char", "nmtsloth-token"),
    "wave": ("slothspeech",),
    "features": ("slothspeech",),
}


class StepFamily(Family[Any]):
    """Captioners, translators, language models, speech recognition."""

    id: ClassVar[str] = "decoder"
    behavior: ClassVar[Behavior] = Behavior.ITERATION
    signals: ClassVar[type | None] = StepSignals
    batch_size: ClassVar[int] = 16
    by_chance: ClassVar[bool] = True

    def attacks_on(self, target: Any) -> tuple[str, ...]:  # noqa: ANN401 - any target that iterates
        """See :meth:`Family.attacks_on`; by the kind of input."""
        return ATTACKS[target.space.kind]

    def blank(self, target: Any, count: int) -> Samples:  # noqa: ANN401
        """Return no text."""
        return tuple(Generation((), "", capped=False) for _ in range(count))
