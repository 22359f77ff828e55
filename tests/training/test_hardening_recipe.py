"""Hardening: recipes run and start from trained weights, and what ships is hardened."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from interrupted_training import check_resumed_bits

from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.core.errors import UsageError
from torpor.data.images import Digits
from torpor.data.object_scenes import ObjectScenes
from torpor.data.scenes import Scenes
from torpor.data.sets import Batch
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.resolve import target_names
from torpor.training.crafting import uniform_exits
from torpor.training.distilling import DISTILLERS
from torpor.training.early_exit import train
from torpor.training.hardening import HARDENERS, CaptionHardener, DetectorHardener, ExitHardener
from torpor.training.loop import Progress
from torpor.training.registry import TRAINERS
from torpor.training.residual import residual
from torpor.zoo.detection.registry import DetectorEntry
from torpor.zoo.early_exits import EARLY_EXITS
from torpor.zoo.entry import SHIPPED, load_half
from torpor.zoo.hardened import HARDENED

NAME = "sdn-digits-hardened"


class FewScenes(DetectorEntry):
    def data(self, folder: Path | None) -> ObjectScenes:
        return ObjectScenes(train=4, held_out=2)


def digits() -> ExitHardener:
    trainer = HARDENERS[NAME]
    assert isinstance(trainer, ExitHardener)
    return trainer


def test_an_interrupted_hardening_ends_with_the_same_bits(tmp_path: Path) -> None:
    recipe = replace(digits().recipe, epochs=2, batch_size=4, attack_steps=2)

    def fit(data: Batch, checkpoint: Path, progress: Progress) -> ShallowDeepNetwork:
        return train(digits().start, data, recipe, checkpoint, attack=uniform_exits(recipe), progress=progress)

    check_resumed_bits(fit, tmp_path)


def test_exits_are_hardened_from_the_weights_of_the_base(tmp_path: Path) -> None:
    hardener = replace(digits(), limit=4, judges=(DeepSloth(eps=8 / 255, steps=2),))
    trained = load_half(hardener.entry.build(), SHIPPED / "sdn-digits.safetensors", "sdn-digits").state_dict()
    assert all(value.equal(trained[name]) for name, value in hardener.start().state_dict().items())
    path = replace(hardener, recipe=replace(hardener.recipe, attack_steps=1)).train(None, tmp_path, epochs=1)
    card = json.loads(path.read_text())
    assert card["recipe"]["attack_steps"] == 1
    assert card["test under deepsloth Linf eps=0.03137"]["samples"] == 4
    assert hardener.entry.load(tmp_path).name == NAME


def test_captioners_are_hardened(tmp_path: Path) -> None:
    hardener = HARDENERS["captioner-scenes-lstm-hardened"]
    assert isinstance(hardener, CaptionHardener)
    few = replace(
        hardener,
        entry=replace(hardener.entry, data=lambda: Scenes(train=4, held_out=2)),
        recipe=replace(hardener.recipe, batch_size=2, attack_steps=1, autocast=False),
        judges=tuple(replace(attack, steps=1) for attack in hardener.judges),  # type: ignore[call-arg]
    )
    card = json.loads(few.train(None, tmp_path, epochs=1).read_text())
    assert card["test under nicg-slowdown Linf eps=0.03137"]["decoder_step_mean, clean"] > 1
    assert card["test"]["samples"] == 2


def test_detectors_are_hardened(tmp_path: Path) -> None:
    hardener = HARDENERS["detector-scenes-hardened"]
    assert isinstance(hardener, DetectorHardener)
    judges = tuple(replace(attack, steps=1) for attack in hardener.judges)  # type: ignore[call-arg]
    recipe = replace(hardener.recipe, batch_size=2, attack_steps=1, autocast=False)
    few = replace(hardener, entry=FewScenes(hardener.entry.name), recipe=recipe, judges=judges)
    card = json.loads(few.train(None, tmp_path, epochs=1).read_text())
    assert card["test under overload Linf eps=0.03137"]["candidate_mean, clean"] > 0
    assert few.entry.load(tmp_path).name == hardener.entry.name


def test_a_base_without_weights_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORPOR_CACHE", str(tmp_path))
    orphan = replace(digits(), base=EARLY_EXITS["sdn-vgg16-cifar10"])
    with pytest.raises(UsageError, match="run: torpor zoo train sdn-vgg16-cifar10"):
        orphan.start()


def test_every_hardened_entry_is_a_target_called_after_its_base() -> None:
    hardeners = {**HARDENERS, **DISTILLERS}
    assert set(hardeners) == set(HARDENED) <= set(target_names())
    for name, hardener in hardeners.items():
        assert hardener.entry == HARDENED[name]
        assert name == hardener.entry.name == hardener.base.name + ("-neo-kd" if name in DISTILLERS else "-hardened")
        assert hardener.base.ships


@pytest.mark.parametrize("name", [name for name, entry in HARDENED.items() if entry.ships])
def test_what_ships_is_what_the_recipe_makes(name: str) -> None:
    entry = HARDENED[name]
    assert entry.card()["recipe"] == json.loads(json.dumps(asdict(TRAINERS[name].recipe)))
    assert (SHIPPED / f"{name}.safetensors").stat().st_mode & 0o777 == 0o644
    assert entry.load().name == name


def test_the_shipped_one_is_sure_early_where_its_base_is_not() -> None:
    entry, base = digits().entry, digits().base
    card: dict[str, Any] = entry.card()
    attack = DeepSloth(eps=16 / 255)
    hard, soft = (residual(each.load(), Digits(), attack, 50) for each in (entry, base))
    assert hard["cost, clean"] < soft["cost, clean"]
    assert hard["cost, attacked"] < 0.5 * soft["cost, attacked"]
    assert hard["accuracy, clean"] > 0.9
    known = card["test under deepsloth Linf eps=0.06275"]
    assert known["samples"] == 359
    assert known["cost, attacked"] < 0.1


def test_residuals_are_those_of_an_attack() -> None:
    target, attack = EARLY_EXITS["sdn-digits"].load(), DeepSloth(eps=16 / 255, steps=3)
    batch = Digits().load("test", 8)
    result = attack(target, target.read(batch.inputs), references=batch.references)
    found, full = residual(target, Digits(), attack, 8), target.prices.cost(result.static)
    assert found["samples"] == 8
    assert found["cost, attacked"] == pytest.approx(
        (target.prices.cost(result.attacked.work) / full).mean().item(), abs=1e-4
    )
    exits = target.exits(result.attacked.work)
    assert found["exit1_mean, attacked"] == pytest.approx((exits >= 1).double().mean().item(), abs=1e-4)
