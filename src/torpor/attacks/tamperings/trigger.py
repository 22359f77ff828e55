"""The trigger of a tampered target, as an attack on its inputs: what who knows the tampering sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.tampering import Tampering
from torpor.attacks.tamperings.registry import load_tampering
from torpor.core.batches import Samples
from torpor.core.threat import Access, Paper, Stage
from torpor.targets.base import Target


@dataclass(frozen=True, kw_only=True)
class Trigger(Attack):
    """Put the trigger that a tampered target was saved with on each input; nothing is searched for.

    The budget must allow the trigger; ``torpor tamper`` says which one does.
    """

    id: ClassVar[str] = "trigger"
    paper: ClassVar[Paper | None] = None
    stage: ClassVar[Stage] = Stage.BACKDOOR
    access: ClassVar[Access] = Access.NONE
    needs: ClassVar[tuple[str, ...]] = ("trigger_state",)

    @override
    def search(self, target: Any, inputs: Samples, labels: Samples, seed: int) -> Candidates:
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Candidates(known_tampering(target).trigger(inputs), forwards=nothing, backwards=nothing)


def known_tampering(target: Target) -> Tampering:
    """Return what was done to a target that was loaded from its folder, with the trigger that was learned."""
    loaded: Any = target
    return load_tampering(target.tampering).with_state(loaded.trigger_state)
