"""Energy: joules of a call, from the counters that processors and graphics cards keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from torpor.core.errors import MeterError

POWERCAP = Path("/sys/class/powercap")
STILL = "the energy counter did not advance during the call; measure a longer call, or many in a loop"


class EnergyMeter(Protocol):
    """What can tell joules, or why it cannot."""

    @property
    def available(self) -> bool:
        """Whether this device has an energy counter."""

    @property
    def reason(self) -> str | None:
        """Why the last answer was None, or why every answer will be; None if there is nothing to explain."""

    def measure(self, call: Callable[[], object]) -> float | None:
        """Run ``call`` once and return the joules used meanwhile, or None with a ``reason``."""


class NullEnergyMeter:
    """A device without an energy counter.

    >>> meter = NullEnergyMeter("no counter on this device")
    >>> meter.available, meter.measure(lambda: None), meter.reason
    (False, None, 'no counter on this device')
    """

    available = False

    def __init__(self, reason: str) -> None:
        self.reason: str | None = reason

    def measure(self, call: Callable[[], object]) -> float | None:
        """Return None; the call does not run."""
        return None


class RaplMeter:
    """Processor packages and memory, by Linux powercap (Intel and AMD).

    Everything that runs on the processor is counted, other programs too. The counters advance about once a
    millisecond and wrap after minutes, so measure calls between a tenth of a second and a minute.

    Args:
        root: folder of the powercap class.

    Raises:
        MeterError: if there is no counter or it may not be read.
    """

    available = True

    def __init__(self, root: Path = POWERCAP) -> None:
        self.reason: str | None = None
        names = {zone: _text(zone / "name") for zone in sorted(root.glob("intel-rapl:*"))}
        # core and uncore are part of their package, psys contains the packages: adding them would count twice
        self.zones = [zone for zone, name in names.items() if name is not None and name.startswith(("package", "dram"))]
        if not self.zones:
            raise MeterError(f"expected energy counters of the processor in {root}, got none on this machine")
        self._read()

    def _read(self) -> list[int]:
        """Return microjoules of every zone."""
        try:
            return [int((zone / "energy_uj").read_text()) for zone in self.zones]
        except (OSError, ValueError) as error:
            raise MeterError(
                f"expected readable energy counters, got {type(error).__name__}; run as root or ask for read access"
            ) from error

    def measure(self, call: Callable[[], object]) -> float | None:
        """Run ``call`` once and return the joules that its packages and memory used meanwhile."""
        before = self._read()
        call()
        after = self._read()
        total = 0
        for zone, start, end in zip(self.zones, before, after, strict=True):
            limit = _text(zone / "max_energy_range_uj")
            if end < start and limit is None:
                self.reason = f"the counter of {zone.name} wrapped and its range is unknown; measure again"
                return None
            total += end - start if end >= start else end - start + int(limit or 0)
        self.reason = None if total > 0 else STILL
        return total / 1e6 if total > 0 else None


class NvmlMeter:
    """One NVIDIA card, by NVML (Volta and later). Needs the ``nvml`` extra.

    Everything that runs on the card is counted. The counter advances every 20 to 100 ms: measure calls of seconds.

    Args:
        device: a CUDA device.

    Raises:
        MeterError: if NVML is missing or the card keeps no energy counter.
    """

    available = True

    def __init__(self, device: torch.device) -> None:
        self.reason: str | None = None
        self.device = device
        try:
            import pynvml
        except ImportError as error:
            raise MeterError("expected NVML for energy on CUDA, got no pynvml; pip install 'torpor[nvml]'") from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            # CUDA may number cards otherwise than NVML: ask by identity
            identity = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(identity)
            self._read()
        except pynvml.NVMLError as error:
            raise MeterError(f"expected an energy counter on {device}, got NVML error {error}") from error

    def _read(self) -> int:
        """Return millijoules since the driver was loaded."""
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def measure(self, call: Callable[[], object]) -> float | None:
        """Run ``call`` once, wait for the card, and return the joules that it used meanwhile."""
        torch.cuda.synchronize(self.device)
        before = self._read()
        call()
        torch.cuda.synchronize(self.device)
        joules = (self._read() - before) / 1e3
        self.reason = None if joules > 0 else STILL
        return joules if joules > 0 else None


def energy_meter(device: str | torch.device, root: Path = POWERCAP) -> EnergyMeter:
    """Return a meter for the device; where there is none, one with the reason.

    >>> energy_meter("cpu", root=Path("nowhere")).measure(lambda: None) is None
    True
    """
    device = torch.device(device)
    try:
        if device.type == "cuda":
            return NvmlMeter(device)
        if device.type == "cpu":
            return RaplMeter(root)
    except MeterError as error:
        return NullEnergyMeter(str(error))
    return NullEnergyMeter(
        f"expected a cpu or cuda device for energy, got {device.type}; it has no counter we can read"
    )


def _text(path: Path) -> str | None:
    """Return the content of a small file, or None if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return None
