"""Where an audit ran, and what could be metered there."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from torpor import __version__
from torpor.meters import energy_meter, memory_meter

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "trackers",
    "supervision",
    "scipy",
    "torchvision",
    "ultralytics",
    "scikit-learn",
    "scikit-image",
    "pillow",
    "pyspellchecker",
)
"""Packages whose version may decide what a target computes."""


def versions() -> dict[str, str | None]:
    """Return the versions of these packages; None for one that is not installed."""
    found: dict[str, str | None] = {**dict.fromkeys(PACKAGES), "torch": torch.__version__}
    for package in PACKAGES[1:]:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions, hardware and available meters; no names of machines or users."""
    energy, memory = energy_meter(device), memory_meter(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "torpor": __version__,
        "python": platform.python_version(),
        **versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": name,
        "threads": torch.get_num_threads(),
        "device": str(device),
        "meters": {
            "latency": {"available": True, "reason": None},
            "energy": {"available": energy.available, "reason": energy.reason},
            "memory": {"available": memory.available, "reason": memory.reason},
        },
    }


def _processor() -> str:
    """Return the processor's model name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
