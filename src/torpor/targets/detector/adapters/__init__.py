"""Adapters for detectors of other libraries."""

from __future__ import annotations

from torpor.targets.detector.adapters.torchvision_models import from_torchvision
from torpor.targets.detector.adapters.ultralytics_models import from_ultralytics

__all__ = ["from_torchvision", "from_ultralytics"]
