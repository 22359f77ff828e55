"""A target with a layer around it: what the layer does not change, the target inside answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from inspect import ismethod
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.outcome import Outcome
from torpor.core.signals import CandidateSignals, GateSignals, Signals, StepSignals
from torpor.core.space import InputSpace, VideoSpace
from torpor.core.units import Unit
from torpor.core.work import Work
from torpor.data.sets import DataSet
from torpor.targets.base import Target
from torpor.targets.candidates import CandidateTarget
from torpor.targets.gates import GateTarget
from torpor.targets.steps import StepTarget, TextTarget
from torpor.targets.stops import Stop

STAGE = "defense"
"""Stage of the units that layers add."""


class Layer(ABC):
    """What stands around a target.

    Attributes:
        units: what the layer itself runs for one input; their columns follow those of the target inside.
    """

    units: tuple[Unit, ...]

    @abstractmethod
    def run(self, inner: Target, inputs: Samples) -> Outcome:
        """Run as deployed. The work has the columns of ``inner`` and of the layer; see :meth:`charge`."""

    @abstractmethod
    def signals(self, inner: Target, inputs: Samples) -> Signals:
        """Evaluate every unit, differentiably, with the work that :meth:`run` does."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what changes when the layer does."""

    def max_work(self, inner: Target, inputs: Samples) -> Work:
        """Return the static bound of each input."""
        return self.charge(inner.max_work(inputs), self.times(inner.space))

    def least_work(self, inner: Target) -> Work:
        """Return the work ``[1, U]`` of the cheapest path."""
        return self.charge(inner.least_work(), self.times(inner.space))

    def redrawn(self) -> Layer:
        """Return the layer that attacked inputs are judged by: one that draws anew, if this one draws at random."""
        return self

    def times(self, space: InputSpace) -> int:
        """Return how often each of the layer's units runs at most for one input: once per picture."""
        return frames_of(space)

    def calls(self, inputs: Samples) -> Iterator[tuple[list[int], Callable[[], object]]]:
        """Yield what prices the layer's units by the clock: counts, and a call that does just that on ``inputs``."""
        return iter(())

    def charge(self, work: Work, times: int) -> Work:
        """Return the work of the target inside with ``times`` runs of each of the layer's units for each sample."""
        own = work.counts.new_full((len(work), len(self.units)), times)
        return Work(torch.cat([work.counts, own], 1))


class Wrapped(Target):
    """A target with a layer around it; see :func:`wrap`.

    Args:
        inner: the target inside; it is shared, not copied.
        layer: what stands around it.
        name: of the defended target.
    """

    def __init__(self, inner: Target, layer: Layer, name: str) -> None:
        self.inner, self.layer, self.name = inner, layer, name
        self.family, self.mechanism, self.space = inner.family, inner.mechanism, inner.space
        self.units = (*inner.units, *layer.units)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what only this kind of target has
        if name == "inner":  # not there yet while being copied
            raise AttributeError(name)
        value = getattr(self.inner, name)
        if not ismethod(value):
            return value

        @wraps(value)
        def method(*args: Any, **settings: Any) -> Any:  # noqa: ANN401
            found = value(*args, **settings)
            return wrap(found, self.layer, self.name) if isinstance(found, Target) else found

        return method  # a target with other settings is still behind the layer

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where the target inside is."""
        return self.inner.device

    def run(self, inputs: Samples) -> Outcome:
        """See :meth:`Layer.run`."""
        return self.layer.run(self.inner, self.space.check(inputs))

    def max_work(self, inputs: Samples) -> Work:
        """See :meth:`Layer.max_work`."""
        return self.layer.max_work(self.inner, inputs)

    def signals(self, inputs: Samples) -> Any:  # noqa: ANN401 - those of the target inside
        """See :meth:`Layer.signals`."""
        return self.layer.signals(self.inner, inputs)

    def utility(self, outputs: Samples, references: Samples) -> Tensor:
        """See :meth:`Target.utility`."""
        return self.inner.utility(outputs, references)

    def agreement(self, outputs: Samples, clean: Samples) -> Tensor:
        """See :meth:`Target.agreement`."""
        return self.inner.agreement(outputs, clean)

    def probes(self, inputs: Samples) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield the probes of the target inside, and those of the layer."""
        for work, call in self.inner.probes(inputs):
            yield self.layer.charge(work, 0), call
        for counts, call in self.layer.calls(inputs):
            yield Work(torch.tensor([[0] * len(self.inner.units) + counts])), call

    def redrawn(self) -> Self:
        """See :meth:`Target.redrawn`; target and layer both draw anew."""
        return type(self)(self.inner.redrawn(), self.layer.redrawn(), self.name)

    def to(self, device: torch.device) -> Self:
        """Move the target inside; layers follow their inputs."""
        return type(self)(self.inner.to(device), self.layer, self.name)

    def labels(self, outputs: Samples, references: Samples | None) -> Samples:
        """See :meth:`Target.labels`."""
        return self.inner.labels(outputs, references)

    def data(self, folder: Path | None) -> DataSet:
        """See :meth:`Target.data`."""
        return self.inner.data(folder)

    def static_work(self) -> Work:
        """See :meth:`Target.static_work`."""
        return self.layer.charge(self.inner.static_work(), self.layer.times(self.space))

    def least_work(self) -> Work:
        """See :meth:`Target.least_work`."""
        return self.layer.least_work(self.inner)

    def read(self, stored: Samples) -> Samples:
        """See :meth:`Target.read`."""
        return self.inner.read(stored)

    def details(self) -> dict[str, Any]:
        """See :meth:`Target.details`."""
        return self.inner.details()

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the layer counts."""
        return f"{self.inner.fingerprint()} {self.layer.fingerprint()}"

    @property
    def utility_name(self) -> str:
        """See :meth:`Target.utility_name`."""
        return self.inner.utility_name


class WrappedGates(Wrapped, GateTarget):
    """A target whose gates decide, with a layer around it."""

    inner: GateTarget

    def signals(self, inputs: Tensor) -> GateSignals:
        """See :meth:`Layer.signals`."""
        found: GateSignals = super().signals(inputs)
        return found

    def exits(self, work: Work) -> Tensor:
        """See :meth:`GateTarget.exits`."""
        return self.inner.exits(Work(work.counts[:, : len(self.inner.units)]))

    @property
    def exit_costs(self) -> Tensor:
        """See :meth:`GateTarget.exit_costs`."""
        return self.inner.exit_costs


class WrappedSteps(Wrapped, StepTarget):
    """A target that iterates, with a layer around it."""

    inner: StepTarget

    def signals(self, inputs: Samples) -> StepSignals:
        """See :meth:`Layer.signals`."""
        found: StepSignals = super().signals(inputs)
        return found

    def with_cap(self, cap: int) -> Self:
        """See :meth:`StepTarget.with_cap`."""
        return type(self)(self.inner.with_cap(cap), self.layer, self.name)

    @property
    def stoppable(self) -> bool:  # type: ignore[override]
        """Whether the target inside can be stopped."""
        return self.inner.stoppable

    def with_stop(self, stop: Stop | None) -> Self:
        """See :meth:`StepTarget.with_stop`."""
        return type(self)(self.inner.with_stop(stop), self.layer, self.name)

    def iterations(self, work: Work) -> Tensor:
        """See :meth:`StepTarget.iterations`."""
        return self.inner.iterations(Work(work.counts[:, : len(self.inner.units)]))


class WrappedText(WrappedSteps, TextTarget):
    """A target that reads text, with a layer around it."""

    inner: TextTarget

    def __init__(self, inner: TextTarget, layer: Layer, name: str) -> None:
        super().__init__(inner, layer, name)
        self.decoder_only = inner.decoder_only

    def score(self, texts: Sequence[str]) -> Tensor:
        """See :meth:`TextTarget.score`; 0 for texts that are refused."""
        outcome = self.run(tuple(texts))
        steps = self.iterations(outcome.work)
        return steps if outcome.refused is None else steps.masked_fill(outcome.refused, 0)

    def embedding_matrix(self) -> Tensor:
        """See :meth:`TextTarget.embedding_matrix`."""
        return self.inner.embedding_matrix()

    def soft_logits(self, embeddings: Tensor) -> Tensor:
        """Return what the target inside does: embeddings are no text that a layer could look at."""
        return self.inner.soft_logits(embeddings)

    def soft_continuation(self, embeddings: Tensor, continuation: Tensor) -> Tensor:
        """Return what the target inside does; see :meth:`soft_logits`."""
        return self.inner.soft_continuation(embeddings, continuation)


class WrappedCandidates(Wrapped, CandidateTarget):
    """A target that finds objects, with a layer around it; frames of a video pass through the layer one by one."""

    inner: CandidateTarget

    def signals(self, inputs: Tensor) -> CandidateSignals:
        """See :meth:`Layer.signals`."""
        found: CandidateSignals = super().signals(inputs)
        return found

    @property
    def detector(self) -> CandidateTarget:
        """The part that looks at one picture at a time, behind the same layer."""
        if self.inner.detector is self.inner:
            return self
        return WrappedCandidates(self.inner.detector, self.layer, f"{self.name}'s detector")


def frames_of(space: InputSpace) -> int:
    """Return how many pictures one input is: the frames of a video, else 1."""
    return space.shape[0] if isinstance(space, VideoSpace) else 1


FAMILIES: tuple[tuple[type[Target], type[Wrapped]], ...] = (
    (GateTarget, WrappedGates),
    (TextTarget, WrappedText),
    (StepTarget, WrappedSteps),
    (CandidateTarget, WrappedCandidates),
)
"""Which wrapper keeps a target what it is, the first that fits."""


def wrap(target: Target, layer: Layer, name: str) -> Wrapped:
    """Return ``target`` with ``layer`` around it, still a target of its own kind.

    Raises:
        UsageError: if the kind is not known.
    """
    for kind, wrapper in FAMILIES:
        if isinstance(target, kind):
            return wrapper(target, layer, name)
    raise UsageError(f"expected a target that exits early, iterates or finds objects, got {target.mechanism}")
