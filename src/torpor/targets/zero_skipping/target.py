"""Targets on an accelerator that skips zeros: what costs is what the activations of a layer are not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Self

import torch
from torch import Tensor, nn

from torpor.core.accelerator_prices import (
    FLOPS_PER_OPERATION,
    IMAGE,
    MACS,
    SCORES,
    WEIGHTS,
    WORDS,
    ZeroSkippingJoules,
)
from torpor.core.errors import MeterError, UsageError
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, PriceList, Work
from torpor.data.sets import DataSet
from torpor.meters.flops import count_flops
from torpor.targets.early_exit.family import GatedClassifier
from torpor.targets.fan_out import LINEAR, fan_out
from torpor.targets.weights import digest
from torpor.targets.zero_skipping.before_relu import BeforeReLU
from torpor.targets.zero_skipping.family import ZeroSkippingFamily
from torpor.targets.zero_skipping.signals import DensitySignals, soft_l0, soft_share

SLACK = 1e-6
"""Rounding error of a share times a number of activations."""

Seen = Callable[[str, Tensor, Tensor], None]
"""Take the name of a layer, what was handed to it, and what of that it reads."""


class ZeroSkippingTarget(GatedClassifier):
    """A classifier on an accelerator that neither moves nor multiplies activations that are zero.

    Units are the multiply-adds of each layer whose activation is not zero, the words that are not zero among those that
    it reads, and the weights and scores, which are always moved. The accelerator is simulated: what is counted is what
    it would do, while this machine multiplies zeros too, so that units have no price by the clock.

    The network runs in double precision, so that rounding, which depends on the batch, makes no zero of a number or the
    other way round.

    Args:
        network: maps images to class scores ``[B, C]``, changed in place: evaluation mode, double precision, frozen
            weights. What multiplies and adds in it must be convolutions and linear layers, each of which runs once.
        input_shape: ``(C, H, W)`` of one image.
        name: shown in reports.
        source: makes the data to audit on from the user's ``--data-dir``; Parquet images if None.

    Raises:
        MeterError: if something else multiplies and adds, or a layer runs twice.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> _ = nn.init.eye_(net[1].weight), nn.init.zeros_(net[1].bias)
    >>> target = ZeroSkippingTarget(net, input_shape=(1, 2, 2))
    >>> [unit.name for unit in target.units][:4]
    ['1_macs', 'image_words', '3_macs', '3_words']
    >>> target.run(torch.tensor([[[[0.5, 0.0], [0.0, 0.0]]]])).work.counts.tolist()[0][:4]
    [3, 1, 2, 1]
    """

    family = ZeroSkippingFamily()
    mechanism = "zero skipping"
    counted_apart = "an accelerator skips the zeros, which run() multiplies"
    space: ImageSpace

    def __init__(
        self,
        network: nn.Module,
        *,
        input_shape: tuple[int, int, int],
        name: str = "zero-skipping",
        source: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        self.name, self.source, self.space = name, source, ImageSpace(input_shape)
        self._reach: dict[str, Tensor] = {}
        self.shares: tuple[float, ...] = ()
        self.device = torch.device("cpu")
        self.network = network.to(self.device, torch.float64).eval().requires_grad_(False)
        self._parts = {key: part for key, part in self.network.named_modules() if isinstance(part, LINEAR)}
        blank = torch.zeros(1, *input_shape, dtype=torch.float64)
        reads: list[tuple[str, Tensor]] = []
        with torch.no_grad(), self._watched(lambda key, read, kept: reads.append((key, read))):
            scores = self.network(blank)
        if len({key for key, _ in reads}) < len(reads):
            raise MeterError(
                f"expected layers that run once each in {name}, got some that run twice; make copies of them"
            )
        self._reach = {key: fan_out(self._parts[key], tuple(read.shape[1:])) for key, read in reads}
        flops, total = sum(count_flops(self._parts[key], read) for key, read in reads), count_flops(self.network, blank)
        if flops != total or not reads:
            raise MeterError(
                f"expected a network that multiplies and adds in convolutions and linear layers alone, got {total} "
                f"FLOPs where these have {flops}; write a target of your own"
            )
        self.shares = (1.0,) * len(self._reach)
        self._scales = self._measured()
        if scores.ndim != 2:
            raise UsageError(f"expected class scores [B, C], got shape {list(scores.shape)} for one image")
        self.classes = scores.shape[1]
        self.layers = tuple(IMAGE if at == 0 else f"{key}{WORDS}" for at, key in enumerate(self._reach))
        units = [(Unit(f"{key}{MACS}", FLOPS_PER_OPERATION), Unit(word, 0)) for key, word in self._named()]
        self.units = (*(unit for pair in units for unit in pair), Unit(WEIGHTS, 0), Unit(SCORES, 0))
        weights = (value for key in self._reach for value in self._parts[key].parameters())
        self._constant = torch.tensor([sum(int((value != 0).sum()) for value in weights), self.classes])

    @torch.no_grad()
    def _measured(self) -> dict[str, float]:
        """Return the root mean square of what ReLUs read before each layer, on random images."""
        scales: dict[str, float] = {}
        images = torch.rand(4, *self.space.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

        def look(key: str, read: Tensor, kept: Tensor) -> None:
            scales[key] = max(float(before.of(read).square().mean().sqrt()), 1e-12)

        with BeforeReLU() as before, self._watched(look):
            self.network(images)
        return scales

    def _named(self) -> Iterator[tuple[str, str]]:
        """Yield each layer with its unit of words, in the order in which they run."""
        return zip(self._reach, self.layers, strict=True)

    @contextmanager
    def _watched(self, seen: Seen) -> Iterator[None]:
        """Hand over what each layer reads, cut to the cap."""

        def look(key: str, part: nn.Module, values: tuple[Tensor]) -> tuple[Tensor]:
            (read,) = values
            capped = key in self._reach and self._most(key) < self._reach[key].numel()
            kept = largest(read, self._most(key)) if capped else read
            seen(key, read, kept)
            return (kept,)

        hooks = [part.register_forward_pre_hook(partial(look, key)) for key, part in self._parts.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _most(self, key: str) -> int:
        """Return how many activations a layer may read."""
        share = self.shares[list(self._reach).index(key)]
        return max(1, int(share * self._reach[key].numel() + SLACK))

    def _work(self, active: Mapping[str, Tensor]) -> Work:
        """Count, given which numbers ``[B, N]`` each layer reads are not zero."""
        columns = []
        for key, reach in self._reach.items():
            each = reach.flatten().to(torch.float64).to(active[key].device)
            columns += [active[key].to(torch.float64) @ each, active[key].sum(1)]
        counted = torch.stack([column.round().to(torch.int64).cpu() for column in columns], 1)
        return Work(torch.cat([counted, self._constant.expand(len(counted), -1)], 1))

    @torch.no_grad()
    def run(self, inputs: Tensor) -> Outcome:
        """Return the class scores, and what an accelerator does for each sample.

        Raises:
            UsageError: if the network returns no numbers.
        """
        active: dict[str, Tensor] = {}
        with self._watched(lambda key, read, kept: active.update({key: (kept != 0).flatten(1)})):
            scores = self.network(self.space.check(inputs).to(self.device, torch.float64, copy=True))
        if scores.isnan().any():
            self._refuse_nan()
        return Outcome(scores.to(torch.float32), self._work(active))

    def _refuse_nan(self) -> NoReturn:
        raise UsageError(f"expected numbers from {self.name}, got NaN; check its weights")

    def signals(self, inputs: Tensor) -> DensitySignals:
        """Return the FLOPs that neurons would take if they fired by degrees, and the norms of what layers read."""
        active, expected = dict[str, Tensor](), list[Tensor]()
        norms, shares = list[Tensor](), list[Tensor]()

        def look(key: str, read: Tensor, kept: Tensor) -> None:
            if active:  # the image is no activation
                norms.append(kept.flatten(1).norm(dim=1))
                shares.append(soft_l0(kept.flatten(1)))
            active[key] = (kept.detach() != 0).flatten(1)
            reach = self._reach[key].flatten().to(read)
            expected.append(
                FLOPS_PER_OPERATION * (soft_share(before.of(read), self._scales[key]).flatten(1) * reach).sum(1)
            )

        with BeforeReLU() as before, self._watched(look):
            self.network(inputs.to(self.device, torch.float64))
        nothing = inputs.new_zeros(len(inputs), 0)
        return DensitySignals(
            None,
            nothing,
            self._work(active),
            expected=torch.stack(expected).sum(0),
            norms=torch.stack(norms, 1) if norms else nothing,
            active=torch.stack(shares, 1) if shares else nothing,
        )

    def max_work(self, inputs: Tensor) -> Work:
        """Return the work of a run in which no number is zero, or as many as the cap allows are not."""
        counts: list[int] = []
        for key, reach in self._reach.items():
            most = self._most(key)
            counts += [int(reach.flatten().sort(descending=True).values[:most].sum()), most]
        return Work(torch.tensor([[*counts, *self._constant.tolist()]]).repeat(len(inputs), 1))

    def least_work(self) -> Work:
        """Return the work of a run in which every activation is zero."""
        counts = torch.zeros(1, len(self.units), dtype=torch.int64)
        counts[0, -len(self._constant) :] = self._constant
        return Work(counts)

    def density(self, work: Work) -> Tensor:
        """Return the share of activations that are not zero, of those that layers read, ``[B]``; 0 if nothing ran."""
        words = [at for at, unit in enumerate(self.units) if unit.name in self.layers[1:]]
        total = sum(reach.numel() for reach in list(self._reach.values())[1:])
        return work.counts[:, words].sum(1).to(torch.float64) / max(1, total)

    def layer_densities(self, work: Work) -> Tensor:
        """Return the share of activations that are not zero of each layer but the first, float64 ``[B, L - 1]``."""
        words = [at for at, unit in enumerate(self.units) if unit.name in self.layers[1:]]
        most = torch.tensor([reach.numel() for reach in list(self._reach.values())[1:]], dtype=torch.float64)
        return work.counts[:, words] / most

    def energy_ratio(self, work: Work) -> Tensor:
        """Return the energy of each sample alone as a share of that of a run without zeros, ``[B]``."""
        names, own = [unit.name for unit in self.units], PriceList.flops(self.units)
        prices = ZeroSkippingJoules().price_list(names, own)
        dense = self.with_density(1.0).static_work()
        return prices.cost(Work(work.counts[:, : len(names)])) / prices.cost(dense)

    def with_density(self, share: float | Sequence[float]) -> Self:
        """Return a target whose layers read no more than a share of their activations: the largest by magnitude.

        Args:
            share: of every layer but the first, which reads all pixels; or of each of these layers.

        Raises:
            UsageError: if a share is not above 0 and at most 1, or there is not one for each layer.
        """
        shares = [share] * (len(self._reach) - 1) if isinstance(share, float | int) else list(share)
        if not all(0 < each <= 1 for each in shares):
            raise UsageError(f"expected shares of activations above 0 and at most 1, got {share}")
        if len(shares) != len(self._reach) - 1:
            raise UsageError(f"expected a share for each of {len(self._reach) - 1} layers, got {len(shares)}")
        other = copy.copy(self)
        other.shares = (1.0, *map(float, shares))
        return other

    def probes(self, inputs: Tensor) -> NoReturn:
        """Refuse: this machine multiplies zeros, so that its clock does not tell what the accelerator would take.

        Raises:
            MeterError: always.
        """
        raise MeterError(
            f"expected units of {self.name} that this machine's clock can price, got those of a simulated accelerator; "
            "pass --prices joules-45nm"
        )

    def details(self) -> dict[str, Any]:
        """Return the cap, the number of classes and how many numbers each layer reads."""
        read = {word: self._reach[key].numel() for key, word in self._named()}
        return {**super().details(), "simulated": True, "most_active": list(self.shares), "activations": read}

    def to(self, device: torch.device) -> Self:
        """Move the network and return this target."""
        self.device = device
        self.network.to(device)
        return self

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the cap and all weights count."""
        return digest(f"{super().fingerprint()} {self.shares}", [self.network])


def largest(values: Tensor, most: int) -> Tensor:
    """Return values ``[B, ...]`` of which those that are not among the largest by magnitude are zero.

    Of equal ones, those that come first are kept, so that no more than ``most`` are left.

    >>> largest(torch.tensor([[1.0, -3.0, 2.0, 1.0]]), 3).tolist()
    [[1.0, -3.0, 2.0, 0.0]]
    """
    flat = values.flatten(1)
    order = flat.detach().abs().sort(dim=1, descending=True, stable=True).indices[:, :most]
    kept = torch.zeros_like(flat).scatter(1, order, 1.0)
    return (flat * kept).view_as(values)
