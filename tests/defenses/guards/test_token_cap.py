"""The cap on tokens: learned from clean images, and never exceeded."""

from __future__ import annotations

import pytest
import torch

from torpor.attacks.registry import load_attack
from torpor.core.errors import UsageError
from torpor.defenses.guards.token_cap import TokenCap
from torpor.defenses.registry import load_defense
from torpor.targets.early_exit.toys import needle
from torpor.targets.tokens.avit import PatchHaltingTarget
from torpor.zoo.networks.adaptive import HaltingTransformer


def small() -> PatchHaltingTarget:
    """Build an untrained network with 16 patches and 4 layers, about half of whose patches halt in time."""
    torch.manual_seed(0)
    module = HaltingTransformer(channels=1, side=16, dim=8, depth=4, heads=2, widths=(4, 4))
    module.scale, module.center = 8.0, 0.5
    return PatchHaltingTarget(module, name="small")


def test_the_mean_of_clean_images_is_what_layers_keep() -> None:
    target, inputs = small(), torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    guard = TokenCap().fit(target, inputs)
    later = (target.tokens(target.run(inputs).work) - 16) / 3  # the first of four layers computes all
    assert guard.learned == round(later.float().mean().item())
    assert 1 < guard.learned < 16
    assert (later > guard.learned).any()
    guarded = guard.defend(target)
    most = guarded.run(inputs).work.counts[:, 1::2]
    assert (most[:, 1:] <= 1 + guard.learned).all()
    assert guarded.static_work().counts.sum() < target.static_work().counts.sum()
    assert target.cap == 16
    attacked = load_attack("desparsify:steps=10")(guarded, guarded.space.snap(inputs[:4]))
    assert (guarded.prices.cost(attacked.attacked.work) <= guarded.prices.cost(guarded.static_work())).all()


def test_a_cap_can_be_set_and_is_never_raised() -> None:
    guard = load_defense("tokens:5")
    assert isinstance(guard, TokenCap)
    assert guard.name == "tokens:5"
    assert guard.defend(small()).cap == 5  # type: ignore[attr-defined]
    assert guard.defend(small().keeping(3)).cap == 3  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="expected a fitted guard"):
        TokenCap().defend(small())
    with pytest.raises(UsageError, match="expected a defense for"):
        guard.check(needle())
    with pytest.raises(UsageError, match="expected a cap of 1 or more"):
        load_defense("tokens:0")
