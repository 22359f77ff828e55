"""Targets of spiking neurons: what costs is spikes, each for every neuron that it reaches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from torpor.core.errors import MeterError, UsageError
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.data.sets import DataSet
from torpor.meters.flops import count_flops
from torpor.targets.early_exit.exit_rules import Confidence, ExitRule
from torpor.targets.early_exit.family import GatedClassifier
from torpor.targets.fan_out import fan_out
from torpor.targets.spiking.family import SpikeSignals, SpikingFamily
from torpor.targets.spiking.network import SURROGATES, SpikingNetwork, fire
from torpor.targets.weights import digest

RULE = Confidence(0.95)
SURROGATE = "atan"


class SpikingTarget(GatedClassifier):
    """A network of spiking neurons that stops at the first timestep at which it is sure enough.

    Units are the encoder, which multiplies and adds once per image; timesteps; and of each population its spikes and
    their *synaptic operations*: one addition, a FLOP, for every neuron that a spike reaches. Spikes and timesteps have
    no FLOPs of their own, since what a neuron does alone is elementwise. Neuromorphic hardware is simulated: this
    machine computes silent neurons too, so that units have no price by the clock.

    The network runs in double precision, so that rounding, which depends on the batch, moves no potential across the
    threshold.

    Args:
        network: changed in place: evaluation mode, double precision, frozen weights.
        name: shown in reports.
        source: makes the data to audit on from the user's ``--data-dir``; Parquet images if None.
        rule: when a run stops, given the scores after each timestep so far; None to run all timesteps.

    >>> from torch import nn
    >>> neuron = SpikingNetwork(nn.Flatten(), [nn.Linear(1, 2)], steps=8, leak=1.0, input_shape=(1, 1, 1))
    >>> target = SpikingTarget(neuron, rule=None)
    >>> [unit.name for unit in target.units]
    ['encoder', 'timestep', 'spike0', 'synop0']
    >>> target.run(torch.full((1, 1, 1, 1), 0.5)).work.counts.tolist()  # every other timestep, and two neurons each
    [[1, 8, 4, 8]]
    """

    family = SpikingFamily()
    mechanism = "spiking neurons"
    counted_apart = "a neuromorphic processor computes where a spike arrives; run() multiplies the zeros too"
    space: ImageSpace
    samples: int | None = 32

    def __init__(
        self,
        network: SpikingNetwork,
        *,
        name: str = "spiking",
        source: Callable[[Path | None], DataSet] | None = None,
        rule: ExitRule | None = RULE,
    ) -> None:
        self.name, self.source, self.rule, self.surrogate = name, source, rule, SURROGATE
        self.space, self.device, self.steps = ImageSpace(network.input_shape), torch.device("cpu"), network.steps
        self.network = network.to(self.device, torch.float64).eval().requires_grad_(False)
        blank = torch.zeros(1, *network.input_shape, dtype=torch.float64)
        with torch.no_grad():
            current = network.encoder(blank)
            scores, _, spikes = network.advance(current, [None] * len(network.synapses), fire)
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise UsageError(f"expected scores of 2 classes or more [B, C], got shape {list(scores.shape)}")
        self.classes = scores.shape[1]
        self._reach = [fan_out(each, fired.shape[1:]) for each, fired in zip(network.synapses, spikes, strict=True)]
        pairs = ((Unit(f"spike{k}", 0), Unit(f"synop{k}", 1)) for k in range(len(self._reach)))
        encoder = Unit("encoder", count_flops(network.encoder, blank))
        self.units = (encoder, Unit("timestep", 0), *(unit for pair in pairs for unit in pair))

    def _count(self, spikes: list[Tensor]) -> Tensor:
        """Return spikes and synaptic operations of each population in one timestep, float64 ``[B, 2K]``."""
        columns = []
        for fired, reach in zip(spikes, self._reach, strict=True):
            flat = fired.flatten(1)
            columns += [flat.sum(1), flat @ reach.flatten().to(flat)]
        return torch.stack(columns, 1)

    def _work(self, timesteps: Tensor, counted: Tensor) -> Work:
        own = torch.stack([torch.ones_like(timesteps), timesteps], 1)
        return Work(torch.cat([own, counted.detach().round().to(torch.int64)], 1).cpu())

    @torch.no_grad()
    def run(self, inputs: Tensor) -> Outcome:
        """Return each sample's scores when it stops, and its work; samples that have stopped leave the batch.

        Raises:
            UsageError: if the network returns no numbers.
        """
        current = self.network.encoder(self.space.check(inputs).to(self.device, torch.float64))
        rows = torch.arange(len(inputs), device=self.device)
        outputs = current.new_empty(len(inputs), self.classes)
        counted = current.new_zeros(len(inputs), 2 * len(self._reach))
        timesteps = torch.zeros_like(rows)
        total = current.new_zeros(len(inputs), self.classes)
        potentials: Sequence[Tensor | None] = [None] * len(self._reach)
        for step in range(self.steps):
            found, after, spikes = self.network.advance(current, potentials, fire)
            counted[rows] += self._count(spikes)
            timesteps[rows] += 1
            total = total + found
            scores = total / (step + 1)
            outputs[rows] = scores
            if self.rule is None:
                potentials = after
                continue
            stays = self.rule.margin(scores.unsqueeze(1)) < 0
            rows, current, total = rows[stays], current[stays], total[stays]
            potentials = [potential[stays] for potential in after]
            if len(rows) == 0:
                break
        if outputs.isnan().any():
            raise UsageError(f"expected numbers from {self.name}, got NaN; check its weights")
        return Outcome(outputs.to(torch.float32), self._work(timesteps, counted))

    def signals(self, inputs: Tensor) -> SpikeSignals:
        """Run all timesteps with the surrogate's derivative of a spike.

        What is expected is the cost of each timestep times how surely the run is not over by then.
        """
        spike = SURROGATES[self.surrogate] if torch.is_grad_enabled() else fire
        scores, spikes = self.network(inputs.to(self.device, torch.float64), spike, self.steps)
        counted = torch.stack([self._count(fired) for fired in spikes], 1)
        gates = [] if self.rule is None else [scores[:, step : step + 1] for step in range(self.steps - 1)]
        margins = [self.rule.log_odds(gate) for gate in gates] if self.rule is not None else []
        found = torch.stack(margins, 1) if margins else counted.new_zeros(len(inputs), 0)
        running = torch.cat([counted.new_ones(len(inputs), 1), (found.detach() < 0).to(counted).cumprod(1)], 1)
        going = torch.cat([counted.new_ones(len(inputs), 1), (-found).sigmoid().cumprod(1)], 1)
        if not margins:
            running = going = counted.new_ones(len(inputs), self.steps)
        work = self._work(running.sum(1).to(torch.int64), (counted * running.unsqueeze(2)).sum(1))
        expected = (counted[:, :, 1::2].sum(2) * going).sum(1)
        every = (counted[:, :, ::2].sum(2) * running).sum(1)
        return SpikeSignals(None, found, work, expected=expected, spikes=every)

    def max_work(self, inputs: Tensor) -> Work:
        """Return the work of a run of all timesteps in which every neuron always fires."""
        counts = [1, self.steps]
        for reach in self._reach:
            counts += [self.steps * reach.numel(), self.steps * int(reach.sum())]
        return Work(torch.tensor([counts]).repeat(len(inputs), 1))

    def least_work(self) -> Work:
        """Return the work of a run of one timestep in which no neuron fires."""
        return Work(torch.tensor([[1, 1] + [0] * (2 * len(self._reach))]))

    def spikes(self, work: Work) -> Tensor:
        """Return the spikes of all neurons, int64 ``[B]``."""
        return work.counts[:, 2 : len(self.units) : 2].sum(1)

    def timesteps(self, work: Work) -> Tensor:
        """Return the timesteps until the decision, int64 ``[B]``."""
        return work.counts[:, 1]

    def with_surrogate(self, name: str) -> Self:
        """Return a target whose signals have another derivative of a spike; its work is the same.

        Raises:
            UsageError: if there is no such derivative.
        """
        if name not in SURROGATES:
            raise UsageError(f"expected a surrogate among {', '.join(SURROGATES)}, got {name!r}")
        other = copy.copy(self)
        other.surrogate = name
        return other

    def rungs(self) -> int:
        """See :meth:`Capped.rungs`: the last timestep that samples may take."""
        return self.steps

    def at_rung(self, rung: int) -> Self:
        """See :meth:`Capped.at_rung`: the last ``rung`` timesteps never run."""
        if not 0 <= rung < self.steps:
            raise UsageError(f"expected a rung from 0 to {self.steps - 1} of {self.name}, got {rung}")
        other = copy.copy(self)
        other.steps = self.steps - rung
        return other

    def probes(self, inputs: Tensor) -> NoReturn:
        """Refuse: this machine computes silent neurons too.

        Raises:
            MeterError: always.
        """
        raise MeterError(
            f"expected units of {self.name} that this machine's clock can price, got those of simulated neuromorphic "
            "hardware; pass a price file"
        )

    def details(self) -> dict[str, Any]:
        """Return the rule, the timesteps at most and how many neurons each population has."""
        rule = "runs all timesteps" if self.rule is None else self.rule.describe()
        neurons = [reach.numel() for reach in self._reach]
        return {**super().details(), "simulated": True, "rule": rule, "steps": self.steps, "neurons": neurons}

    def to(self, device: torch.device) -> Self:
        """Move the network and return this target."""
        self.device = device
        self.network.to(device)
        return self

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the rule, the timesteps and all weights count."""
        network = self.network
        settings = f"{super().fingerprint()} {self.rule} {self.steps} {network.leak}"
        return digest(settings, [network])
