"""Transforms: inputs are changed before the target sees them, in the hope that a perturbation does not survive."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.outcome import Outcome
from torpor.core.seeds import sample_generators
from torpor.core.signals import Signals
from torpor.core.space import InputSpace, VideoSpace
from torpor.core.units import Unit
from torpor.defenses.base import Defense
from torpor.defenses.wrapped import STAGE, Layer, frames_of, wrap
from torpor.targets.base import Target


@dataclass(frozen=True)
class Transform(Defense):
    """A defense that changes inputs. Kinds of transforms write :meth:`forward`, :meth:`flops` and a surrogate.

    Attributes:
        kinds: kinds of input spaces that it changes.
    """

    kinds: ClassVar[tuple[str, ...]] = ("image", "video")

    @classmethod
    def applies_to(cls, target: Target) -> bool:
        """See :meth:`Defense.applies_to`."""
        return target.space.kind in cls.kinds

    def defend(self, target: Target) -> Target:
        """See :meth:`Defense.defend`."""
        self.check(target)
        unit = Unit(self.id, self.flops(target.space), STAGE)
        return wrap(target, Before(self, (unit,)), f"{target.name} behind {self.name}")

    @abstractmethod
    def forward(self, inputs: Samples, generators: list[torch.Generator]) -> Samples:
        """Return what the target sees: valid inputs of the same kind.

        Args:
            inputs: pictures ``[B, C, H, W]`` in [0, 1], or a tuple of texts.
            generators: one for each input, for defenses that draw at random.
        """

    def surrogate(self, inputs: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Return what :meth:`forward` does to pictures, nearly, but differentiably; the inputs themselves by default.

        Gradients pass through it backward while :meth:`forward` goes forward (BPDA, Athalye et al., ICML 2018).
        """
        return inputs

    @abstractmethod
    def flops(self, space: InputSpace) -> int:
        """Return the FLOPs of :meth:`forward` on one picture, or on one text of 100 characters."""


class Before(Layer):
    """The layer of a transform.

    Args:
        transform: what is done to inputs.
        units: of the transform.
        seed: of its draws.
    """

    def __init__(self, transform: Transform, units: tuple[Unit, ...], seed: int = 0) -> None:
        self.transform, self.units, self.seed = transform, units, seed

    def run(self, inner: Target, inputs: Samples) -> Outcome:
        """See :meth:`Layer.run`."""
        outcome = inner.run(self.seen(inner.space, inputs))
        return replace(outcome, work=self.charge(outcome.work, self.times(inner.space)))

    def signals(self, inner: Target, inputs: Samples) -> Signals:
        """See :meth:`Layer.signals`; forward exactly, backward through the surrogate."""
        seen = self.seen(inner.space, inputs.detach() if isinstance(inputs, Tensor) else inputs)
        if isinstance(inputs, Tensor) and inputs.requires_grad:
            near = _by_picture(inner.space, inputs, self._draws(inputs), self.transform.surrogate)
            seen = _Instead.apply(near, seen)  # type: ignore[no-untyped-call]
        found = inner.signals(seen)
        times = frames_of(inner.space) if len(found.work) == len(inputs) else 1
        return replace(found, work=self.charge(found.work, times))

    def seen(self, space: InputSpace, inputs: Samples) -> Samples:
        """Return what the target inside sees of ``inputs``."""
        if not isinstance(inputs, Tensor):
            return self.transform.forward(inputs, self._draws(inputs))
        with torch.no_grad():
            return space.snap(_by_picture(space, inputs, self._draws(inputs), self.transform.forward))

    def _draws(self, inputs: Samples) -> list[torch.Generator]:
        """Return one generator for each input: who sends the same input again gets the same draw."""
        if not self.transform.draws:
            return []
        pictures = inputs.detach().flatten(0, -4) if isinstance(inputs, Tensor) and inputs.ndim > 4 else inputs
        return sample_generators(pictures, self.seed, self.transform.name)

    def redrawn(self) -> Layer:
        """See :meth:`Layer.redrawn`."""
        return Before(self.transform, self.units, self.seed + 1) if self.transform.draws else self

    def calls(self, inputs: Samples) -> Iterator[tuple[list[int], Callable[[], object]]]:
        """See :meth:`Layer.calls`."""
        one = inputs[:, 0] if isinstance(inputs, Tensor) and inputs.ndim > 4 else inputs
        yield [1], lambda: self.transform.forward(one, self._draws(one))

    def fingerprint(self) -> str:
        """See :meth:`Layer.fingerprint`."""
        return f"{self.transform} {self.seed}"


class _Instead(torch.autograd.Function):
    """Forward one tensor, backward through another; a sum of their difference would round."""

    @staticmethod
    def forward(ctx: object, near: Tensor, seen: Tensor) -> Tensor:
        return seen.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


Change = Callable[[Tensor, list[torch.Generator]], Tensor]


def _by_picture(space: InputSpace, inputs: Tensor, draws: list[torch.Generator], change: Change) -> Tensor:
    """Change each picture of a batch, or each frame of a batch of videos."""
    if not isinstance(space, VideoSpace):
        return change(inputs, draws)
    return change(inputs.flatten(0, 1), draws).view_as(inputs)
