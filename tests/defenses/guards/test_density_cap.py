"""Density caps: what they bound, what they learn, and that no attack gets past them."""

from __future__ import annotations

import pytest
import torch
from activity_targets import bright_pixels, ramp

from torpor.attacks.activity.uniform import UniformInputs
from torpor.core.errors import UsageError
from torpor.defenses.guards.density_cap import DensityCap
from torpor.defenses.registry import load_defense
from torpor.targets.early_exit.toys import needle


def test_the_cap_holds_against_the_densest_image() -> None:
    target = load_defense("density:50").defend(bright_pixels())
    result = UniformInputs()(target, ramp(), references=torch.tensor([0]))
    assert result.attacked.work.counts[0, 3] == 8 == target.static_work().counts[0, 3]
    assert target.name.endswith("defended by density:50")
    assert target.fingerprint() != bright_pixels().fingerprint()


def test_it_learns_what_leaves_clean_images_as_they_are() -> None:
    target, images = bright_pixels(), torch.cat([ramp(), ramp() * 0.5])
    densest = target.layer_densities(target.run(images).work).amax(0).tolist()
    guard = DensityCap().fit(target, images)
    assert guard.learned == tuple(densest)
    guarded = guard.defend(target)
    assert guarded.run(images).work.counts.equal(target.run(images).work.counts)
    assert guarded.static_work().counts[0, 3] == 16 * densest[0]
    assert DensityCap().with_state(guard.state()) == guard


def test_what_it_cannot_cap_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a fitted guard"):
        DensityCap().bounded(bright_pixels())
    with pytest.raises(UsageError, match="expected 1 to 100 per cent after density:, got 101"):
        load_defense("density:101")
    with pytest.raises(UsageError, match="expected a defense for early exit"):
        load_defense("density:50").defend(needle())
