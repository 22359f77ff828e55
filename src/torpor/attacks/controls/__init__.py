"""Controls: random perturbations of the same size, which show what needs no optimization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.core.lazy import lazy

if TYPE_CHECKING:
    from torpor.attacks.controls.dense import BestNoise, Control, Flat, Noise, Shuffled
else:
    __getattr__, __dir__ = lazy(__name__, {"dense": ["BestNoise", "Control", "Flat", "Noise", "Shuffled"]})

__all__ = ["BestNoise", "Control", "Flat", "Noise", "Shuffled"]
