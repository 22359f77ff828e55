"""The contract of a target: a whole system under audit, model plus post-processing, as deployed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from torpor.core.errors import DataError
from torpor.core.outcome import Outcome
from torpor.core.prices import PriceList
from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Behavior, Unit
from torpor.core.work import Work
from torpor.data.images import ImageSet
from torpor.data.parquet import ParquetImages


class Target(ABC):
    """A system whose work depends on its input.

    Attributes:
        name: shown in records and reports.
        behavior: which of the study's three behaviors inputs can move.
        mechanism: how, such as ``"early exit"``.
        units: what is counted, in the order of the columns of every :class:`~torpor.core.Work`.
        space: which inputs are valid.
        device: where the model lives.
    """

    name: str
    behavior: Behavior
    mechanism: str
    units: tuple[Unit, ...]
    space: ImageSpace
    device: torch.device

    @abstractmethod
    def run(self, inputs: Tensor) -> Outcome:
        """Run as deployed: batched and really dynamic, rows that are done leave the batch."""

    @abstractmethod
    def max_work(self, inputs: Tensor) -> Work:
        """Return the static bound: the most work that structure and caps allow for each input."""

    @abstractmethod
    def signals(self, inputs: Tensor) -> GateSignals:
        """Evaluate every unit, differentiably."""

    @abstractmethod
    def utility(self, outputs: Tensor, references: Tensor) -> Tensor:
        """Score each output against its reference, float ``[B]``; larger is better."""

    @abstractmethod
    def agreement(self, outputs: Tensor, clean: Tensor) -> Tensor:
        """Tell for each output whether it says the same as the clean output, bool ``[B]``."""

    @abstractmethod
    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls that do a known work on the one given input, enough of them to price every unit by the clock."""

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """Return this target on ``device``."""

    def data(self, folder: Path | None) -> ImageSet:
        """Return the data to audit on; ``folder`` is what the user gave as ``--data-dir``, if anything.

        Unless a target brings its own, it reads ``test.parquet`` and ``train.parquet`` in ``folder``.

        Raises:
            DataError: if there are none.
        """
        if folder is None:
            raise DataError(f"expected a folder of images for {self.name}, got none; pass --data-dir FOLDER")
        return ParquetImages(folder, self.space.shape)

    def fingerprint(self) -> str:
        """Return what changes when the target's work or outputs may; audits refuse to mix two."""
        return f"{self.name} {self.units}"

    @property
    def utility_name(self) -> str:
        """Name of what :meth:`utility` measures."""
        return "accuracy"

    @property
    def prices(self) -> PriceList:
        """FLOPs per unit."""
        return PriceList.flops(self.units)
