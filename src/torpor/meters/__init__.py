"""Meters: one measured quantity per file, and the clocks they read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.core.lazy import lazy

if TYPE_CHECKING:
    from torpor.meters.calibration import Calibration, calibrate
    from torpor.meters.clock import Clock, RecordedClock, WallClock, elapsed, timed
    from torpor.meters.energy import EnergyMeter, NullEnergyMeter, NvmlMeter, RaplMeter, energy_meter
    from torpor.meters.flops import count_flops, counting
    from torpor.meters.memory import CudaMemoryMeter, MemoryMeter, NullMemoryMeter, memory_meter
    from torpor.meters.wall_clock import Latency, LatencyPair, latency, paired_latency
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "calibration": ["Calibration", "calibrate"],
            "clock": ["Clock", "RecordedClock", "WallClock", "elapsed", "timed"],
            "energy": ["EnergyMeter", "NullEnergyMeter", "NvmlMeter", "RaplMeter", "energy_meter"],
            "flops": ["count_flops", "counting"],
            "memory": ["CudaMemoryMeter", "MemoryMeter", "NullMemoryMeter", "memory_meter"],
            "wall_clock": ["Latency", "LatencyPair", "latency", "paired_latency"],
        },
    )

__all__ = [
    "Calibration",
    "Clock",
    "CudaMemoryMeter",
    "EnergyMeter",
    "Latency",
    "LatencyPair",
    "MemoryMeter",
    "NullEnergyMeter",
    "NullMemoryMeter",
    "NvmlMeter",
    "RaplMeter",
    "RecordedClock",
    "WallClock",
    "calibrate",
    "count_flops",
    "counting",
    "elapsed",
    "energy_meter",
    "latency",
    "memory_meter",
    "paired_latency",
    "timed",
]
