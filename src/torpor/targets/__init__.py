"""Targets: whole systems under audit."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from torpor.targets.base import Target
from torpor.targets.early_exit import EarlyExitTarget
from torpor.targets.exit_rules import Confidence, Entropy, ExitRule, Patience, parse_rule
from torpor.targets.heads import InternalClassifier, MixPool
from torpor.targets.module import EarlyExitModule
from torpor.targets.sdn import ShallowDeepNetwork, build_sdn
from torpor.targets.thresholds import ThresholdRow, choose_threshold, threshold_table

if TYPE_CHECKING:
    from torpor.targets.detectors import from_torchvision, from_ultralytics
    from torpor.targets.generation import GenerationTarget, from_transformers

_LAZY = {
    "GenerationTarget": "torpor.targets.generation",
    "from_torchvision": "torpor.targets.detectors",
    "from_transformers": "torpor.targets.generation",
    "from_ultralytics": "torpor.targets.detectors",
}

__all__ = [
    "Confidence",
    "EarlyExitModule",
    "EarlyExitTarget",
    "Entropy",
    "ExitRule",
    "GenerationTarget",
    "InternalClassifier",
    "MixPool",
    "Patience",
    "ShallowDeepNetwork",
    "Target",
    "ThresholdRow",
    "build_sdn",
    "choose_threshold",
    "from_torchvision",
    "from_transformers",
    "from_ultralytics",
    "parse_rule",
    "threshold_table",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types are those of the modules that names come from
    if name not in _LAZY:
        raise AttributeError(f"module 'torpor.targets' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
