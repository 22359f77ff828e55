"""Targets: whole systems under audit."""

from torpor.targets.base import Target
from torpor.targets.early_exit import EarlyExitTarget
from torpor.targets.exit_rules import Confidence, Entropy, ExitRule, Patience, parse_rule
from torpor.targets.heads import InternalClassifier, MixPool
from torpor.targets.module import EarlyExitModule
from torpor.targets.sdn import ShallowDeepNetwork, build_sdn
from torpor.targets.thresholds import ThresholdRow, choose_threshold, threshold_table

__all__ = [
    "Confidence",
    "EarlyExitModule",
    "EarlyExitTarget",
    "Entropy",
    "ExitRule",
    "InternalClassifier",
    "MixPool",
    "Patience",
    "ShallowDeepNetwork",
    "Target",
    "ThresholdRow",
    "build_sdn",
    "choose_threshold",
    "parse_rule",
    "threshold_table",
]
