"""A target with a layer around it: what the layer does not change, the target inside answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import wraps
from inspect import isroutine
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.units import Unit
from torpor.core.work import Outcome, PriceList, Work
from torpor.data.sets import DataSet
from torpor.defenses.layer import Layer
from torpor.targets.base import Target


class Wrapped(Target):
    """A target of any family with a layer around it, which is a target of that family.

    Capabilities are those of the target inside, whatever they are called (see :mod:`torpor.targets.capabilities`):

    - a target that it returns, such as one with another cap or its detector, has the layer around it too;
    - a :class:`~torpor.core.Work`, or an outcome, that it is given loses the layer's columns, which follow its own.

    Args:
        inner: the target inside; it is shared, not copied.
        layer: what stands around it.
        name: of the defended target.

    Attributes:
        known_work: not offered: what the layer adds is known after a run.
        work_of: not offered either.
    """

    known_work = work_of = None

    def __init__(self, inner: Target, layer: Layer, name: str) -> None:
        self.inner, self.layer, self.name = inner, layer, name
        self.family, self.mechanism, self.space = inner.family, inner.mechanism, inner.space
        self.counted_apart, self.tampering = inner.counted_apart, inner.tampering
        self.elsewhere, self.moves = inner.elsewhere, inner.moves or layer.moves
        self.units = (*inner.units, *layer.units)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what only this kind of target has
        if name == "inner" or name.startswith("__"):  # not there yet while being copied
            raise AttributeError(name)
        value = getattr(self.inner, name)
        if isinstance(value, Target):
            return self if value is self.inner else Wrapped(value, self.layer.part(name), f"{self.name}'s {name}")
        if not isroutine(value):  # a function where the target inside is wrapped itself
            return value

        @wraps(value)
        def method(*args: Any, **settings: Any) -> Any:  # noqa: ANN401
            found = value(*map(self._own, args), **{key: self._own(each) for key, each in settings.items()})
            return self._around(found) if isinstance(found, Target) else found

        return method

    def _own(self, value: Any) -> Any:  # noqa: ANN401 - any argument
        """Return an argument as the target inside knows it."""
        if isinstance(value, Outcome):
            return replace(value, work=self._own(value.work))
        return Work(value.counts[:, : len(self.inner.units)]) if isinstance(value, Work) else value

    def _around(self, variation: Target) -> Self:
        """Return a variation of the target inside, with the layer around it."""
        return self if variation is self.inner else type(self)(variation, self.layer, self.name)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where the target inside is."""
        return self.inner.device

    @override
    def run(self, inputs: Samples) -> Outcome:
        return self.layer.run(self.inner, self.space.check(inputs))

    @override
    def max_work(self, inputs: Samples) -> Work:
        return self.layer.max_work(self.inner, inputs)

    @override
    def signals(self, inputs: Samples) -> Any:
        return self.layer.signals(self.inner, inputs)

    @property
    def score(self) -> Callable[[Samples], Tensor]:
        """See :class:`~torpor.targets.capabilities.Scored`; 0 for what is rejected. Like a run, so the layer sees it.

        Raises:
            AttributeError: if the target inside does not score candidates.
        """
        if not self.inner.offers("score"):
            raise AttributeError("score")
        return self._score

    def _score(self, candidates: Samples) -> Tensor:
        outcome = self.run(tuple(candidates))
        if self.offers("goal"):
            counted: Tensor = self.goal(outcome.work)
        else:
            counted = self.iterations(outcome.work) if self.offers("iterations") else self.attacker_cost(outcome)
        return counted if outcome.rejected is None else counted.masked_fill(outcome.rejected, 0)

    @override
    def utility(self, outputs: Samples, references: Samples) -> Tensor:
        return self.inner.utility(outputs, references)

    @override
    def agreement(self, outputs: Samples, clean: Samples) -> Tensor:
        return self.inner.agreement(outputs, clean)

    def probes(self, inputs: Samples) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield the probes of the target inside, and those of the layer."""
        for work, call in self.inner.probes(inputs):
            yield self.layer.charge(work, 0), call
        for counts, call in self.layer.calls(inputs):
            yield Work(torch.tensor([[0] * len(self.inner.units) + counts])), call

    def price(self, units: Sequence[Unit]) -> PriceList:
        """See :meth:`Target.price`: the target inside knows the currency."""
        return self.inner.price(units)

    def reseeded(self) -> Self:
        """See :meth:`Target.reseeded`; both target and layer get another seed."""
        return type(self)(self.inner.reseeded(), self.layer.reseeded(), self.name)

    def to(self, device: torch.device) -> Self:
        """See :meth:`Target.to`; also what the layer keeps is moved."""
        return type(self)(self.inner.to(device), self.layer.to(device), self.name)

    @override
    def labels(self, outputs: Samples, references: Samples | None) -> Samples:
        return self.inner.labels(outputs, references)

    @override
    def data(self, folder: Path | None) -> DataSet:
        return self.inner.data(folder)

    @override
    def static_work(self) -> Work:
        return self.layer.charge(self.inner.static_work(), self.layer.times(self.space))

    @override
    def least_work(self) -> Work:
        return self.layer.least_work(self.inner)

    @override
    def read(self, stored: Samples) -> Samples:
        return self.inner.read(stored)

    @override
    def details(self) -> dict[str, Any]:
        return self.inner.details()

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the layer counts."""
        return f"{self.inner.fingerprint()} {self.layer.fingerprint()}"

    @property
    @override
    def utility_name(self) -> str:
        return self.inner.utility_name
