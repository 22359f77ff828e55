"""The contract of a target: a whole system under audit, model plus post-processing, as deployed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.errors import DataError, MeterError, UsageError
from torpor.core.lazy import Renamed
from torpor.core.signals import Signals
from torpor.core.space import DenseSpace, ImageSpace, InputSpace
from torpor.core.units import Behavior, Unit
from torpor.core.work import Outcome, PriceList, Work
from torpor.data.sets import DataSet
from torpor.targets.family import Family


class Target(ABC):
    """A system whose work depends on its input.

    Attributes:
        name: shown in records and reports.
        family: which kind of target it is: what it measures beside cost.
        mechanism: how, such as ``"early exit"``.
        units: what is counted, in the order of the columns of every :class:`~torpor.core.Work`.
        space: which inputs are valid.
        device: where the model lives.
        max_seconds: what attacks on it may take by default; None for no limit.
        samples: of its own test data that an audit takes by default; None for all.
        elsewhere: whether each run is sent to another process, which may bill it: it is not run to be timed unless the
            user asks for it, and only in this process, where its limits are known.
        counted_apart: why the work is not that of :meth:`run` itself, such as that an accelerator skips zeros which
            ``run`` multiplies; empty where it is.
        moves: whether a defense moves what an input shows before the target sees it.
        tampering: name of what was done to it before it was deployed; ``"none"`` where that is not known.
    """

    name: str
    family: Family[Any]
    mechanism: str
    units: tuple[Unit, ...]
    space: InputSpace
    device: torch.device
    max_seconds: float | None = None
    samples: int | None = None
    elsewhere: bool = False
    counted_apart: str = ""
    moves: bool = False
    tampering: str = "none"

    @abstractmethod
    def run(self, inputs: Samples) -> Outcome:
        """Run as deployed: batched and really dynamic, rows that are done leave the batch."""

    @abstractmethod
    def max_work(self, inputs: Samples) -> Work:
        """Return the static bound: the most work that structure and caps allow for each input."""

    def signals(self, inputs: Samples) -> Signals:
        """Evaluate every unit, differentiably.

        Raises:
            UsageError: if this is a black box; its family has no type of signals then.
        """
        raise UsageError(
            f"expected signals of {self.name}, got a black box; attack it by queries, or write its signals()"
        )

    @abstractmethod
    def utility(self, outputs: Samples, references: Samples) -> Tensor:
        """Score each output against its reference, float64 ``[B]``; larger is better, NaN without references."""

    @abstractmethod
    def agreement(self, outputs: Samples, clean: Samples) -> Tensor:
        """Tell for each output whether it agrees with the clean output, bool ``[B]``."""

    def probes(self, inputs: Samples) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls that do a known work on the one given input, enough of them to price every unit by the clock.

        Raises:
            MeterError: if this target has none.
        """
        raise MeterError(
            f"expected calls that price the units of {self.name} by the clock, got none; write its probes(), or do "
            "not ask for seconds per unit"
        )

    def reseeded(self) -> Self:
        """Return the target that judges attacked inputs: one with another seed, if this one draws at random.

        A search that keeps the costliest of many draws may have found a favorable draw, not a costly input.
        """
        return self

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """Return this target on ``device``."""

    def attacker_cost(self, outcome: Outcome) -> Tensor:
        """Return the cost that counts for an attacker, float64 ``[B]``; 0 where the input was rejected."""
        cost = self.prices.cost(outcome.work)
        return cost if outcome.rejected is None else cost.masked_fill(outcome.rejected, 0)

    claimed = Renamed("attacker_cost")
    redrawn = Renamed("reseeded")

    def labels(self, outputs: Samples, references: Samples | None) -> Samples:
        """Return what attacks aim at: the references, or the answers of the clean outputs where there are none.

        Raises:
            DataError: if the references are not of this target.
        """
        return () if references is None else references

    def data(self, folder: Path | None) -> DataSet:
        """Return the data to audit on; ``folder`` is what the user gave as ``--data-dir``, if anything.

        Unless a target brings its own, it reads ``test.parquet`` and ``train.parquet`` in ``folder``.

        Raises:
            DataError: if there are none.
        """
        if not isinstance(self.space, ImageSpace):
            raise DataError(f"expected {self.space.kind}s for {self.name}, got none; pass --inputs FILE_OR_FOLDER")
        if folder is None:
            raise DataError(f"expected a folder of images for {self.name}, got none; pass --data-dir or --inputs")
        from torpor.data.parquet import ParquetImages  # few targets read these

        return ParquetImages(folder, self.space.shape)

    def static_work(self) -> Work:
        """Return the work ``[1, U]`` that no input at all can exceed.

        Raises:
            DataError: if it depends on the input and this target does not define how.
        """
        if not isinstance(self.space, DenseSpace):
            raise DataError(f"expected {self.name} to know its costliest input, got none; write its static_work()")
        return self.max_work(torch.zeros(1, *self.space.shape, device=self.device))

    def least_work(self) -> Work:
        """Return the work ``[1, U]`` of the cheapest path: one run of the first unit."""
        most = self.static_work().counts
        least = torch.zeros_like(most)
        least[0, 0] = most[0, 0].clamp_max(1)
        return Work(least)

    def constant_work(self) -> bool:
        """Tell whether every input costs the same by construction: the cheapest path is the costliest.

        A target with more than one unit declares it by :meth:`least_work`.
        """
        try:
            return self.least_work().counts.equal(self.static_work().counts)
        except DataError:  # it depends on the input
            return False

    def read(self, stored: Samples) -> Samples:
        """Return inputs as :meth:`run` takes them from how a data set or a file stores them."""
        inputs = self.space.from_bytes(stored)
        return inputs.to(self.device) if isinstance(inputs, Tensor) else inputs

    def offers(self, *names: str) -> bool:
        """Tell whether it has all of these capabilities, which are attributes that not every target has.

        A defended target offers what the target inside does. Ask for a capability by its name, such as ``"with_cap"``,
        never for a class of targets.
        """
        return all(getattr(self, name, None) is not None for name in names)

    def details(self) -> dict[str, Any]:
        """Return what reports show of this kind of target, ready for JSON."""
        return {}

    def fingerprint(self) -> str:
        """Return what changes when the target's work or outputs may; audits refuse to mix two."""
        return f"{self.name} {self.units}"

    @property
    def behavior(self) -> Behavior:
        """Which of the study's three behaviors inputs can move."""
        return self.family.behavior

    @property
    def utility_name(self) -> str:
        """Name of what :meth:`utility` measures."""
        return "accuracy"

    def price(self, units: Sequence[Unit]) -> PriceList:
        """Return what one run of each of these units costs: FLOPs, unless a target has another currency.

        Args:
            units: this target's own, those that defenses around it add, or both; told by name and stage.

        Raises:
            UsageError: if some unit has no price in this currency.
        """
        return PriceList.flops(units)

    @property
    def prices(self) -> PriceList:
        """Cost of one run of each unit; see :meth:`price`."""
        return self.price(self.units)
