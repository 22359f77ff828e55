"""Targets: whole systems under audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.core.lazy import lazy

if TYPE_CHECKING:
    from torpor.targets.base import Target
    from torpor.targets.decoder.generation import GenerationTarget, from_transformers
    from torpor.targets.detector.adapters import from_torchvision, from_ultralytics
    from torpor.targets.early_exit.exit_rules import Confidence, Entropy, ExitRule, Patience, parse_rule
    from torpor.targets.early_exit.module import EarlyExitModule
    from torpor.targets.early_exit.sdn import InternalClassifier, MixPool, ShallowDeepNetwork, build_sdn
    from torpor.targets.early_exit.target import EarlyExitTarget
    from torpor.targets.early_exit.thresholds import ThresholdRow, choose_threshold, threshold_table
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "base": ["Target"],
            "detector.adapters": ["from_torchvision", "from_ultralytics"],
            "early_exit.target": ["EarlyExitTarget"],
            "early_exit.exit_rules": ["Confidence", "Entropy", "ExitRule", "Patience", "parse_rule"],
            "decoder.generation": ["GenerationTarget", "from_transformers"],
            "early_exit.module": ["EarlyExitModule"],
            "early_exit.sdn": ["InternalClassifier", "MixPool", "ShallowDeepNetwork", "build_sdn"],
            "early_exit.thresholds": ["ThresholdRow", "choose_threshold", "threshold_table"],
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
