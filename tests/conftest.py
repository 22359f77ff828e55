"""Fixtures for all tests."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from torpor.data.images import Digits, to_unit
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.zoo.registry import sdn_digits

torch.set_num_threads(1)  # the networks are tiny: threads cost more than they bring
settings.register_profile("torpor", deadline=None)
settings.load_profile("torpor")


@pytest.fixture(scope="session")
def digits_target() -> EarlyExitTarget:
    """Return the zoo's trained network on digits."""
    return sdn_digits()


@pytest.fixture(scope="session")
def digits_test() -> tuple[Tensor, Tensor]:
    """Return the first 64 test digits in [0, 1], and their classes."""
    batch = Digits().load("test", 64)
    return to_unit(batch.inputs), batch.references
