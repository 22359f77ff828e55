"""What was crafted through a defense, sent to the target without it: no defense makes the undefended target cheaper."""

from __future__ import annotations

import torch
from torch import Tensor

from torpor.attacks.base import AttackResult, merged, transfer
from torpor.core.batches import Samples
from torpor.targets.base import Target


class Transfer:
    """The costliest inputs that are known for the undefended target, from any search.

    An attack may find through a guard, which only lowers caps, what it misses without one. Such an input is within the
    same budget and can be sent to the undefended target too, so the undefended figure may not be below it.

    Args:
        target: without any defense.
        own: what the attack found there.

    Attributes:
        own: the same; what an attacker has who knows of no defense.
        result: the costlier of ``own`` and all that was offered, per sample.
        through: for each sample of ``result`` the defense through which its input was crafted; None for ``own``.
    """

    def __init__(self, target: Target, own: AttackResult) -> None:
        self.target, self.own, self.result = target, own, own
        self.through: list[str | None] = [None] * len(own.budget_used)

    def offer(self, crafted: AttackResult, defense: str) -> None:
        """Run what was crafted through ``defense`` on the undefended target, and keep what costs more there."""
        sent = transfer(crafted, self.target)
        costs = [self.target.attacker_cost(each.attacked) for each in (sent, self.result)]
        better = (costs[0] > costs[1]).cpu() & _different(crafted.inputs, self.own.clean_inputs)
        if not better.any():
            return
        self.result = merged(self.result, sent, better)
        self.through = [defense if one else name for one, name in zip(better.tolist(), self.through, strict=True)]


def _different(inputs: Samples, others: Samples) -> Tensor:
    """Return which samples are not the same, bool ``[B]``."""
    if isinstance(inputs, Tensor) and isinstance(others, Tensor):
        return (inputs != others.to(inputs.device)).flatten(1).any(1).cpu()
    return torch.tensor([one != other for one, other in zip(inputs, others, strict=True)])
