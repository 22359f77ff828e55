"""The family of targets that iterate until an end token."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.outcome import Generation
from torpor.core.signals import StepSignals
from torpor.core.units import Behavior
from torpor.targets.family import Family
from torpor.targets.step_traits import of_steps

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

    def answers(self, target: Any, signals: StepSignals) -> Tensor:  # noqa: ANN401
        """Return the probabilities of the next token at each step that ran; 0 behind the end."""
        return signals.logits.softmax(-1) * signals.mask.unsqueeze(-1)

    def traits(self, target: Any, signals: StepSignals) -> Tensor:  # noqa: ANN401
        """See :func:`~torpor.targets.step_traits.of_steps`."""
        return of_steps(signals)
