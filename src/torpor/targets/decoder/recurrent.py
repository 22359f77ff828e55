"""What targets share whose decoder is a network of their own, called step by step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.core.work import Generation
from torpor.data.sets import DataSet
from torpor.metrics.rouge import rouge_l
from torpor.targets.decoder.contract import StepTarget
from torpor.targets.weights import digest

TIE = 1e-3
"""Where two scores are this close, the sample is decided by a run of its own: batched arithmetic rounds differently."""

State = tuple[Tensor, ...]


class RecurrentTarget(StepTarget):
    """A decoder that is a network of its own, and is judged by the words that it says.

    Args:
        network: the module. It is put in evaluation mode and its weights are frozen.
        cap: steps at most.
        name: shown in reports.
        device: where to run.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None).

    Attributes:
        kind: what it is, in an error.
        parts: what the network must have.
        protocol: name of the class that explains them.
        counted: what the cap counts.

    Raises:
        UsageError: if the network lacks a part, or the cap is below 1.
    """

    kind: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    protocol: ClassVar[str]
    counted: ClassVar[str] = "step"

    def __init__(
        self,
        network: nn.Module,
        cap: int,
        name: str,
        device: str | torch.device,
        data: Callable[[Path | None], DataSet] | None,
    ) -> None:
        if lacking := [part for part in self.parts if not hasattr(network, part)]:
            raise UsageError(f"expected a {self.kind}, got a network without {', '.join(lacking)}; see {self.protocol}")
        self.name, self.cap, self._data = name, self._checked(cap), data
        self.device = torch.device(device)
        self.module = network.to(self.device).eval().requires_grad_(False)

    def _checked(self, cap: int) -> int:
        if cap < 1:
            raise UsageError(f"expected a cap of 1 {self.counted} or more, got {cap}")
        return cap

    def with_cap(self, cap: int) -> Self:
        """Return a target that shares this one's network but stops at another number of steps."""
        other = copy.copy(self)
        other.cap = self._checked(cap)
        return other

    def utility(self, outputs: Sequence[Generation], references: Sequence[str]) -> Tensor:
        """Score the words of each output by :func:`~torpor.metrics.rouge.rouge_l`; NaN without references."""
        if not len(references):
            return torch.full((len(outputs),), math.nan, dtype=torch.float64)
        pairs = zip(outputs, references, strict=True)
        return torch.tensor([rouge_l(output.text, text) for output, text in pairs], dtype=torch.float64)

    @property
    def utility_name(self) -> str:
        """Name of what :meth:`utility` measures."""
        return "ROUGE-L F1"

    def to(self, device: torch.device) -> Self:
        """Move the network and return this target."""
        self.device = device
        self.module.to(device)
        return self

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; all weights count."""
        return digest(super().fingerprint(), [self.module])

    @override
    def data(self, folder: Path | None) -> DataSet:
        return super().data(folder) if self._data is None else self._data(folder)
