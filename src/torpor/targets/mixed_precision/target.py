"""A classifier in 8 bits whose outlier columns are computed in full precision: the work follows the activations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.data.sets import DataSet
from torpor.meters.flops import counting
from torpor.targets.early_exit.family import GatedClassifier
from torpor.targets.mixed_precision.family import ColumnFamily, ColumnSignals
from torpor.targets.mixed_precision.linear import OutlierLinear
from torpor.targets.weights import digest


class MixedPrecisionTarget(GatedClassifier):
    """A classifier whose linear layers compute in 8 bits, and columns with an outlier in full precision beside it.

    As in LLM.int8, all columns go through the product in 8 bits, those with an outlier as zeros; what these add is
    computed by a second product, of those columns alone. A column is a feature of all tokens of *one* sample, so that
    work does not depend on neighbors in the batch. Everything is computed in double precision: rounding to 8 bits
    would turn the rounding of single precision into other columns.

    Unit ``always`` is the network with its products in 8 bits, ``column<l>`` is a column of linear layer ``l`` in full
    precision. FLOPs count both alike; their prices on a device differ.

    Args:
        network: maps images ``[B, C, H, W]`` to class scores ``[B, C]``, with every linear layer called once. A copy is
            converted.
        thresholds: magnitude that an outlier is above, for each linear layer in the order in which they are called.
        input_shape: ``(C, H, W)`` of one image.
        name: shown in reports.
        source: makes the data to audit on from the user's ``--data-dir``; Parquet images if None.

    Raises:
        UsageError: if there are no linear layers, as many thresholds as layers are not given, or one is not above 0.
        MeterError: if an operator's FLOPs cannot be counted.

    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> target = MixedPrecisionTarget(network, [0.5], input_shape=(1, 2, 2))
    >>> target.run(torch.tensor([0.1, 0.9, 0.2, 0.7]).view(1, 1, 2, 2)).work.counts.tolist()
    [[1, 2]]
    """

    family = ColumnFamily()
    mechanism = "dynamic quantization"
    space: ImageSpace

    def __init__(
        self,
        network: nn.Module,
        thresholds: Sequence[float],
        *,
        input_shape: tuple[int, int, int],
        name: str = "mixed-precision",
        source: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        self.name, self.source, self.device = name, source, torch.device("cpu")
        self.space = ImageSpace(input_shape)
        self.thresholds = tuple(map(float, thresholds))
        self.network: Any = copy.deepcopy(network).double().eval().requires_grad_(False)
        blank = torch.zeros(1, *input_shape, dtype=torch.float64)
        linears = _called(self.network, blank)
        if len(linears) != len(self.thresholds) or not linears or min(self.thresholds) <= 0:
            raise UsageError(
                f"expected one threshold above 0 for each of {len(linears)} linear layers, got {list(self.thresholds)}"
            )
        with counting() as counter:
            scores = self.network(blank)
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise UsageError(f"expected class scores [B, C], got shape {list(scores.shape)}")
        self.classes = scores.shape[1]
        self.layers: list[OutlierLinear] = []
        units = [Unit("always", counter.flops)]
        for number, (path, tokens) in enumerate(linears):
            linear = self.network.get_submodule(path)
            assert isinstance(linear, nn.Linear)
            self.layers.append(OutlierLinear(linear, self.thresholds[number]))
            self.network.set_submodule(path, self.layers[-1])
            units.append(Unit(f"column{number}", 2 * tokens * linear.out_features))
        self.units = tuple(units)
        self._widths = torch.tensor([layer.levels.shape[1] for layer in self.layers])

    @property
    def columns(self) -> int:
        """Columns of all linear layers."""
        return int(self._widths.sum())

    def _work(self) -> Work:
        """Return the work of the last call."""
        outliers = torch.stack([(layer.seen.largest.detach() > 1).sum(1) for layer in self.layers], 1)
        return Work(torch.cat([torch.ones_like(outliers[:, :1]), outliers], 1).cpu())

    @torch.no_grad()
    def run(self, inputs: Tensor) -> Outcome:
        """Return class scores and work.

        Raises:
            UsageError: if the network returns no numbers.
        """
        scores = self.network(self.space.check(inputs).to(self.device, torch.float64))
        if scores.isnan().any():
            raise UsageError(f"expected numbers from {self.name}, got NaN; check its weights")
        return Outcome(scores, self._work())

    def signals(self, inputs: Tensor) -> ColumnSignals:
        """Evaluate every column, differentiably."""
        scores = self.network(inputs.to(self.device, torch.float64))
        seen = [layer.seen for layer in self.layers]
        margins = 1 - torch.cat([each.largest for each in seen], 1)
        prices = torch.tensor([unit.flops or 0 for unit in self.units[1:]], dtype=torch.float64, device=self.device)
        return ColumnSignals(
            None,
            margins,
            self._work(),
            savings=prices.repeat_interleave(self._widths.to(self.device)),
            scores=scores,
            seen=tuple(seen),
        )

    def max_work(self, inputs: Tensor) -> Work:
        """Return every column in full precision."""
        most = torch.cat([torch.ones(1, dtype=torch.int64), self._widths])
        return Work(most.expand(len(inputs), -1).clone())

    def outliers(self, work: Work) -> Tensor:
        """Return the columns in full precision, int64 ``[B]``; whatever else a defense counts."""
        return work.counts[:, 1 : len(self.units)].sum(1)

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield the network itself, and for each layer the product of all of its columns."""
        yield self.run(inputs).work, lambda: self.run(inputs)
        self.run(inputs)
        for number, layer in enumerate(self.layers):
            given = torch.zeros_like(layer.seen.inputs)
            counts = torch.zeros(1, len(self.units), dtype=torch.int64)
            counts[0, 1 + number] = self._widths[number]
            yield Work(counts), _product(given, layer.levels)

    def to(self, device: torch.device) -> Self:
        """Move the network and return this target."""
        self.network.to(device)
        self.device = device
        return self

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the thresholds and all weights count."""
        return digest(f"{super().fingerprint()} {self.thresholds}", [self.network])


def _product(inputs: Tensor, levels: Tensor) -> Callable[[], object]:
    return lambda: inputs @ levels.T


def _called(network: nn.Module, blank: Tensor) -> list[tuple[str, int]]:
    """Return the linear layers in the order in which they are called: path, and tokens of one sample.

    Raises:
        UsageError: if one is called more than once.
    """
    found: list[tuple[str, int]] = []

    def look(path: str, layer: nn.Linear) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: found.append((path, inputs[0].numel() // layer.in_features))

    parts = [(path, part) for path, part in network.named_modules() if isinstance(part, nn.Linear)]
    hooks = [part.register_forward_pre_hook(look(path, part)) for path, part in parts]
    try:
        with torch.no_grad():
            network(blank)
    finally:
        for hook in hooks:
            hook.remove()
    paths = [path for path, _ in found]
    if len(set(paths)) < len(paths):
        raise UsageError("expected every linear layer to be called once, got one that is called again; split it")
    return found
