"""Several targets as one: an attack on all of them meets one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.space import InputSpace
from torpor.core.work import Outcome
from torpor.targets.base import Target

JOIN = "+"
"""Between the names of targets."""


@dataclass(frozen=True, eq=False)
class Several:
    """Targets with the same inputs, of which each pass for gradients draws one.

    What an input costs is the sum of its costs on all of them, each as a share of that target's static bound.

    Attributes:
        targets: all of them.
        rng: draws.

    Raises:
        UsageError: if inputs of one are none of another.
    """

    targets: Sequence[Target]
    rng: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        first = self.targets[0]
        for other in self.targets[1:]:
            if other.space != first.space:
                raise UsageError(
                    f"expected targets with the inputs of {first.name}, {first.space.accepts}, got {other.name} with "
                    f"{other.space.accepts}"
                )

    @property
    def space(self) -> InputSpace:
        """Which inputs are valid."""
        return self.targets[0].space

    @property
    def device(self) -> torch.device:
        """Where the targets run."""
        return self.targets[0].device

    def signals(self, inputs: Tensor) -> Any:  # noqa: ANN401 - of each mechanism
        """Return the signals of one target."""
        drawn = int(torch.randint(len(self.targets), (), generator=self.rng))
        return self.targets[drawn].signals(inputs)

    def run(self, inputs: Tensor) -> list[Outcome]:
        """Run all targets."""
        return [target.run(inputs) for target in self.targets]

    def attacker_cost(self, outcomes: Sequence[Outcome]) -> Tensor:
        """Return the sum of costs, each as a share of its target's static bound, ``[B]``."""
        pairs = zip(self.targets, outcomes, strict=True)
        shares = [one.attacker_cost(each) / one.prices.cost(one.static_work()) for one, each in pairs]
        return torch.stack(shares).sum(0)


def joined(target: Target, others: str, seed: int) -> Any:  # noqa: ANN401 - what stands for a target
    """Return a target together with others by their names, such as ``"adavit-cifar10+ats-cifar10"``; alone if none.

    Raises:
        UsageError: if there is no such target, or it has other inputs.
    """
    if not others:
        return target
    from torpor.targets.resolve import load_target

    known = [load_target(name, device=str(target.device)) for name in others.split(JOIN)]
    return Several([target, *known], torch.Generator().manual_seed(seed))
