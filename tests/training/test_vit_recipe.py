"""Transformers learn to skip: what their losses pull at, on a few images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from torpor.data.images import Digits
from torpor.targets.tokens.adavit import used
from torpor.targets.tokens.avit import halted
from torpor.training.classifiers import adamw, train_classifier
from torpor.training.registry import TRAINERS
from torpor.training.vit import PatchHaltingRecipe, PolicyRecipe, from_prior, pondered, thrifty
from torpor.zoo.networks.adaptive import HaltingTransformer, PolicyTransformer

SHAPE: dict[str, Any] = {"channels": 1, "dim": 16, "depth": 4, "heads": 2, "widths": (4, 8)}
FEW = Digits().load("train", 64)
IMAGES = FEW.inputs[:16].float() / 255


def test_prior_is_nearest_at_its_own_depth() -> None:
    torch.manual_seed(0)
    network = HaltingTransformer(**SHAPE).eval()
    distances = []
    for center in (-20.0, 2.0, 20.0):  # all halt at once, in the middle, never
        network.center = center
        found = halted(network, IMAGES)
        distances.append([from_prior(found, depth).item() for depth in (1.0, 4.0)])
    at_once, _, never = distances
    assert at_once[0] < at_once[1]
    assert never[1] < never[0]


def test_ponder_makes_patches_halt(tmp_path: Path) -> None:
    recipe = PatchHaltingRecipe(epochs=8, batch_size=32, pad=0, flip=False, learning_rate=5e-3, ponder=1.0, prior=0.0)
    few = train_classifier(lambda: HaltingTransformer(**SHAPE), FEW, recipe, tmp_path / "a", pondered, adamw)
    free = replace(recipe, ponder=0.0)
    many = train_classifier(lambda: HaltingTransformer(**SHAPE), FEW, free, tmp_path / "b", pondered, adamw)
    assert halted(few, IMAGES).alive.mean() < halted(many, IMAGES).alive.mean() - 0.05


def test_policies_reach_the_usage_that_is_wanted(tmp_path: Path) -> None:
    recipe = PolicyRecipe(epochs=20, batch_size=32, pad=0, flip=False, learning_rate=2e-2, usage=50.0)
    network = train_classifier(lambda: PolicyTransformer(**SHAPE), FEW, recipe, tmp_path / "c", thrifty, adamw)
    found = used(network, IMAGES)
    assert found.tokens.mean().item() == pytest.approx(recipe.tokens, abs=0.2)
    assert used(PolicyTransformer(**SHAPE).eval(), IMAGES).tokens.mean() == 1


def test_finetuning_starts_from_the_backbone() -> None:
    trainer, base = TRAINERS["adavit-digits"], TRAINERS["ats-digits"]
    known = base.entry.load().module.state_dict()  # type: ignore[attr-defined]
    started = trainer.start().state_dict()  # type: ignore[attr-defined]
    assert all(value.equal(started[name]) for name, value in known.items())
    assert len(started) > len(known)
