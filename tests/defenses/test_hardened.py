"""Calibrated exits and hardened networks as defenses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from torpor.core.errors import DataError, UsageError
from torpor.data.own import OwnInputs
from torpor.defenses.calibrated import COLDEST, HOTTEST, Calibrated, fit_temperatures
from torpor.defenses.hardened import Hardened
from torpor.defenses.registry import load_defense
from torpor.targets.early_exit import EarlyExitTarget
from torpor.targets.exit_rules import Entropy
from torpor.targets.resolve import load_target
from torpor.targets.toy_steps import PeakTarget
from torpor.zoo.registry import sdn_digits
