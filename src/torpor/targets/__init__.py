"""Targets: whole systems under audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.core.lazy import lazy

if TYPE_CHECKING:
    from torpor.targets.base import Target
    from torpor.targets.detectors import from_torchvision, from_ultralytics
    from torpor.targets.early_exit import EarlyExitTarget
    from torpor.targets.exit_rules import Confidence, Entropy, ExitRule, Patience, parse_rule
    from torpor.targets.generation import GenerationTarget, from_transformers
    from torpor.targets.heads import InternalClassifier, MixPool
    from torpor.targets.module import EarlyExitModule
    from torpor.targets.sdn import ShallowDeepNetwork, build_sdn
    from torpor.targets.thresholds import ThresholdRow, choose_threshold, threshold_table
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "base": ["Target"],
            "detectors": ["from_torchvision", "from_ultralytics"],
            "early_exit": ["EarlyExitTarget"],
            "exit_rules": ["Confidence", "Entropy", "ExitRule", "Patience", "parse_rule"],
            "generation": ["GenerationTarget", "from_transformers"],
            "heads": ["InternalClassifier", "MixPool"],
            "module": ["EarlyExitModule"],
            "sdn": ["ShallowDeepNetwork", "build_sdn"],
            "thresholds": ["ThresholdRow", "choose_threshold", "threshold_table"],
        },
    )

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
