"""Training of networks that halt: what is learned from, and hardening against attacks on any gates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from torpor.attacks.early_exit.climbs import AutoExpected
from torpor.data.images import Digits, to_unit
from torpor.targets.halting import HaltingDepthTarget
from torpor.training.crafting import Hardening, closed_gates
from torpor.training.halting import HaltingDepthRecipe, halting_losses
from torpor.training.hardening import HARDENERS, GateHardener
from torpor.zoo.classifiers import CLASSIFIERS
from torpor.zoo.entry import SHIPPED, load_half
from torpor.zoo.hardened import HARDENED
from torpor.zoo.networks.act import HaltingNetwork


def network() -> HaltingNetwork:
    found = CLASSIFIERS["act-digits"].build()
    assert isinstance(found, HaltingNetwork)
    return load_half(found, SHIPPED / "act-digits.safetensors", "act-digits")


def test_training_sees_what_is_deployed() -> None:
    model, images = network(), to_unit(Digits().load("test", 40).inputs)
    target = HaltingDepthTarget(network())
    outcome = target.run(images)
    with torch.no_grad():
        scores, ponder = model(images)
    assert torch.allclose(scores, outcome.outputs, atol=1e-4)
    blocks = target.depth(outcome.work)
    assert ((ponder >= blocks) & (ponder <= blocks + 1)).all()  # blocks and the remainder


def test_blocks_cost_nothing_at_first() -> None:
    model, batch = network(), Digits().load("test", 4)
    images = to_unit(batch.inputs)
    recipe = HaltingDepthRecipe(epochs=10, ponder_weight=0.5, free=0.2)
    first, shown = halting_losses(model, images, batch.references, recipe, 1)
    later, _ = halting_losses(model, images, batch.references, recipe, 2)
    assert first.item() == shown.item()
    assert later.item() == pytest.approx(first.item() + 0.5 * model(images)[1].mean().item(), rel=0.02)


def test_crafted_images_cost_more_and_the_model_is_left_as_it_was() -> None:
    model = network().train().requires_grad_(True)
    batch = Digits().load("test", 24)
    images = to_unit(batch.inputs)
    attack = closed_gates(Hardening(eps=16 / 255, attack_steps=5, attacked=0.5), HaltingDepthTarget)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    crafted = attack(model, images, batch.references, torch.Generator().manual_seed(0))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert crafted[12:].equal(images[12:])
    assert (crafted - images).abs().max() <= 16 / 255 + 1e-6
    target = HaltingDepthTarget(network())
    clean, attacked = (target.depth(target.run(each[:12]).work).sum() for each in (images, crafted))
    assert attacked > clean


def test_gates_are_hardened_from_the_weights_of_the_base(tmp_path: Path) -> None:
    hardener = HARDENERS["act-digits-hardened"]
    assert isinstance(hardener, GateHardener)
    few = replace(
        hardener,
        limit=4,
        judges=(AutoExpected(eps=8 / 255, steps=2),),
        recipe=replace(hardener.recipe, attack_steps=1),  # type: ignore[call-arg]
    )
    assert all(value.equal(network().state_dict()[name]) for name, value in few.start().state_dict().items())
    card = json.loads(few.train(None, tmp_path, epochs=1).read_text())
    assert card["recipe"]["attack_steps"] == 1
    assert card["test under apgd-expected Linf eps=0.03137"]["samples"] == 4


@pytest.mark.skipif(not HARDENED["act-digits-hardened"].ships, reason="its weights are trained by the user")
def test_what_ships_is_harder_to_keep_going() -> None:
    batch = Digits().load("test", 16)
    attack = AutoExpected(norm="Linf", eps=16 / 255, steps=20)
    shares = []
    for name in ("act-digits", "act-digits-hardened"):
        target = HARDENERS[name].entry.load() if name in HARDENERS else CLASSIFIERS[name].load()
        assert isinstance(target, HaltingDepthTarget)
        found = attack(target, to_unit(batch.inputs), references=batch.references)
        shares.append(target.depth(found.attacked.work).double().mean().item())
    assert shares[1] < shares[0]
