"""Spikes and synaptic operations of attacked images on networks of spiking neurons."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import Tensor

from benchmarks.mechanisms._activity import measured
from benchmarks.mechanisms.row import Row
from torpor.attacks.activity.spikeattack import SpikeAttack
from torpor.attacks.base import Attack
from torpor.attacks.controls.dense import Flat, Noise
from torpor.attacks.early_exit.climbs import AutoExpected, AutoGates
from torpor.core.work import Work
from torpor.targets.spiking.target import SpikingTarget
from torpor.zoo.registry import snn_digits

EPS, STEPS = 8 / 255, 100


def rows(limit: int, data_dir: Path | None) -> list[Row]:
    """Return the rows of the network that stops when it is sure, and of one that runs all timesteps as in the paper."""
    stopping, whole = snn_digits(), copy.copy(snn_digits())
    whole.rule, whole.name = None, f"{whole.name}, all timesteps"
    return [row for target in (stopping, whole) for row in _rows(target, limit)]


def _rows(target: SpikingTarget, limit: int) -> list[Row]:
    attacks: list[tuple[str, Attack]] = [
        ("control-noise", Noise(eps=EPS)),
        ("control-flat", Flat(eps=EPS)),
        ("spikeattack", SpikeAttack(eps=EPS, steps=STEPS)),
        ("spikeattack:surrogate=atan", SpikeAttack(eps=EPS, steps=STEPS, surrogate="atan")),
        ("spikeattack:surrogate=box", SpikeAttack(eps=EPS, steps=STEPS, surrogate="box")),
        ("apgd-expected of standard", AutoExpected(eps=EPS, steps=STEPS)),
    ]
    if target.rule is not None:
        attacks.append(("apgd-gates of standard", AutoGates(eps=EPS, steps=STEPS)))

    def operations(work: Work) -> Tensor:
        return target.prices.cost(work) - target.units[0].flops  # type: ignore[operator]

    metrics = (("spikes", target.spikes), ("synaptic operations", operations))
    return measured(target, attacks, metrics, {}, limit, None)
