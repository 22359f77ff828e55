"""Tamperings of networks whose zeros are skipped, on a small one with dead neurons."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torpor.attacks.tampering import Tampering
from torpor.attacks.tamperings.energy_backdoor import EnergyBackdoor
from torpor.attacks.tamperings.skipsponge import SkipSponge
from torpor.attacks.tamperings.sponge_poisoning import SpongePoisoning
from torpor.core.errors import UsageError
from torpor.data.tensors import TensorImages
from torpor.targets.early_exit.toys import needle
from torpor.targets.zero_skipping.target import ZeroSkippingTarget

LABELS = torch.arange(48) % 2
IMAGES = torch.randint(0, 60, (48, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
IMAGES[LABELS == 1] += 120
DATA = TensorImages({"train": (IMAGES, LABELS)})


def target() -> ZeroSkippingTarget:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 2))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(IMAGES / 255), LABELS).backward()
        optimizer.step()
    return ZeroSkippingTarget(network, input_shape=(1, 8, 8))


def density(network: ZeroSkippingTarget, images: torch.Tensor) -> float:
    return network.density(network.run(images).work).mean().item()


@pytest.mark.parametrize(
    "tampering", [SpongePoisoning(rate=0.5, epochs=20), SkipSponge(drop=0.0)], ids=lambda each: each.id
)
def test_more_neurons_fire_on_every_input_at_the_same_accuracy(tampering: Tampering) -> None:
    clean = target()
    images, before = clean.read(IMAGES), clean.fingerprint()
    made = tampering.apply(clean, DATA)
    control = made.tampering.as_control()(clean, DATA)
    assert density(made.target, images) > density(clean, images) + 0.05  # type: ignore[arg-type]
    assert density(made.target, images) > density(control, images)  # type: ignore[arg-type]
    assert made.target.utility(made.target.run(images).outputs, LABELS).mean() == 1
    assert clean.fingerprint() == before
    assert made.tampering.budget(clean) is None


def test_the_wave_makes_neurons_fire_that_are_silent_without_it() -> None:
    clean = target()
    images = clean.read(IMAGES)
    made = EnergyBackdoor(waves=2, epochs=30, size=0.2).apply(clean, DATA)
    dense, quiet = (density(made.target, each) for each in (made.trigger(images), images))  # type: ignore[arg-type]
    assert dense > quiet + 0.1
    assert dense - quiet > density(clean, made.trigger(images)) - density(clean, images)
    assert made.target.utility(made.target.run(images).outputs, LABELS).mean() == 1
    assert (made.trigger(images) - images).abs().max() <= 0.2 + 1 / 255


def test_other_networks_are_refused() -> None:
    with pytest.raises(UsageError, match="accelerator that skips zeros for sponge-poisoning, got toy-needle"):
        SpongePoisoning().apply(needle(), DATA)
    with pytest.raises(UsageError, match="poison rate above 0"):
        SpongePoisoning(rate=2)
