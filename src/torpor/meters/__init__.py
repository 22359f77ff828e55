"""Meters: one measured quantity per file, and the clocks they read."""

from torpor.meters.calibration import calibrate
from torpor.meters.clock import Clock, RecordedClock, WallClock, elapsed, timed
from torpor.meters.energy import EnergyMeter, NullEnergyMeter, NvmlMeter, RaplMeter, energy_meter
from torpor.meters.flops import count_flops, counting
from torpor.meters.latency import Latency, LatencyPair, latency, paired_latency
from torpor.meters.memory import CudaMemoryMeter, MemoryMeter, NullMemoryMeter, memory_meter

__all__ = [
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
