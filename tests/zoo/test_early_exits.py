from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.core.errors import UsageError
from torpor.data.images import Digits, ImageSet, to_unit
from torpor.metrics import efficacy_step
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.thresholds import choose_threshold, threshold_table
from torpor.training.early_exit_card import all_logits
from torpor.zoo.early_exits import DROPS, EARLY_EXITS
from torpor.zoo.entry import SHIPPED

SHIPPED_NAMES = [name for name, entry in EARLY_EXITS.items() if entry.ships]
MEGABYTE = 1_000_000


def cifar10() -> Path:
    """Return the folder that lies beside a developer's checkout."""
    for parent in Path(__file__).resolve().parents:
        folder = parent / "shared" / "data" / "cifar10"
        if (folder / "test.parquet").is_file():
            return folder
    pytest.skip("no shared/data/cifar10 in any parent of this checkout")


def shipped(name: str) -> dict[str, Any]:
    if not (SHIPPED / f"{name}.json").is_file():
        pytest.skip(f"{name} is not trained yet: no card among the shipped weights")
    card: dict[str, Any] = EARLY_EXITS[name].card()
    return card


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_the_card_belongs_to_the_weights(name: str) -> None:
    card, entry = shipped(name), EARLY_EXITS[name]
    assert card["sha256"] == hashlib.sha256((SHIPPED / f"{name}.safetensors").read_bytes()).hexdigest()
    target = entry.load()
    assert card["name"] == target.name == name
    assert card["flops_per_unit"] == {unit.name: unit.flops for unit in target.units}
    assert card["cost_per_exit"] == pytest.approx(target.exit_costs.tolist(), abs=5e-5)
    assert card["parameters"] == sum(value.numel() for value in entry.build().parameters())
    assert card["threshold_split"] == "validation"
    assert target.rule == Confidence(card["thresholds"]["0.05"])
    assert set(target.named_rules) == {f"drop:{drop}" for drop in DROPS}


def test_shipped_weights_are_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*.safetensors")) < 60 * MEGABYTE


def check_card(card: dict[str, Any], target: EarlyExitTarget, data: ImageSet) -> None:
    """Recompute accuracies and thresholds; no sample may tip, up to one in a thousand across machines."""
    logits = labels = torch.empty(0)
    for split in ("test", "validation"):
        logits, labels = all_logits(target, data, split)
        right = (logits.argmax(-1) == labels.unsqueeze(1)).to(torch.float64).mean(0)
        assert right.tolist() == pytest.approx(card["accuracy_per_exit"][split], abs=1e-3)
    table = threshold_table(logits, labels, target.exit_costs)
    final = (logits[:, -1].argmax(-1) == labels).to(torch.float64).mean().item()
    assert {str(drop): choose_threshold(table, final, drop).threshold for drop in DROPS} == card["thresholds"]
    for row, known in zip(table, card["threshold_table"], strict=True):
        assert row.threshold == known["threshold"]
        assert (row.accuracy, row.mean_cost) == pytest.approx((known["accuracy"], known["mean_cost"]), abs=1e-3)


def test_the_card_of_digits_can_be_recomputed() -> None:
    check_card(shipped("sdn-digits"), EARLY_EXITS["sdn-digits"].load(), Digits())


def efficacy(target: EarlyExitTarget, counts: Tensor) -> float:
    return efficacy_step(counts.sum(1).numpy() - 1, target.exit_costs.numpy())


def test_resnet_on_cifar10_is_accurate_and_can_be_slowed_down() -> None:
    folder = cifar10()
    card = shipped("sdn-resnet56-cifar10")
    target = EARLY_EXITS["sdn-resnet56-cifar10"].load()
    batch = target.data(folder).load("test", 500)
    inputs = to_unit(batch.inputs)
    with torch.no_grad():
        last = torch.cat([target.signals(part).exit_logits[:, -1] for part in inputs.split(100)])
    accuracy = (last.argmax(-1) == batch.references).to(torch.float64).mean().item()
    assert accuracy >= 0.90 - 3 * (0.9 * 0.1 / 500) ** 0.5
    assert abs(accuracy - card["accuracy_per_exit"]["test"][-1]) <= 3.5 * (0.9 * 0.1 / 500) ** 0.5
    result = DeepSloth(norm="Linf", eps=0.03125)(target, inputs[:64], references=batch.references[:64])
    clean, attacked = efficacy(target, result.clean.work.counts), efficacy(target, result.attacked.work.counts)
    assert clean > 0.2
    assert attacked <= 0.1 * clean


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for suffix in ("json", "safetensors"):
        shutil.copyfile(SHIPPED / f"sdn-digits.{suffix}", tmp_path / f"sdn-digits.{suffix}")
    return tmp_path


def test_any_folder_can_hold_the_weights(copy: Path) -> None:
    assert EARLY_EXITS["sdn-digits"].load(copy).rule == EARLY_EXITS["sdn-digits"].load().rule


def test_missing_weights_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORPOR_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="got none; run: torpor zoo train sdn-vgg16-cifar10"):
        EARLY_EXITS["sdn-vgg16-cifar10"].load()


def test_weights_that_do_not_fit_are_refused_in_a_sentence(copy: Path) -> None:
    weights = copy / "sdn-digits.safetensors"
    content = weights.read_bytes()
    for broken in (b"", content[:1000], b"\xff" * 64):
        weights.write_bytes(broken)
        with pytest.raises(UsageError, match="expected weights of sdn-digits"):
            EARLY_EXITS["sdn-digits"].load(copy)
    weights.unlink()
    with pytest.raises(UsageError, match="expected weights of sdn-digits"):
        EARLY_EXITS["sdn-digits"].load(copy)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"thresholds": 3}', '{"thresholds": {"0.15": 0.5}}'])
def test_cards_without_thresholds_are_refused_in_a_sentence(copy: Path, content: str) -> None:
    (copy / "sdn-digits.json").write_text(content)
    with pytest.raises(UsageError, match=r"expected a model card|expected thresholds in the card"):
        EARLY_EXITS["sdn-digits"].load(copy)


def test_weights_of_another_architecture_do_not_fit(copy: Path) -> None:
    for suffix in ("json", "safetensors"):
        (copy / f"sdn-digits.{suffix}").rename(copy / f"sdn-vgg16-cifar10.{suffix}")
    with pytest.raises(UsageError, match="a file that does not fit"):
        EARLY_EXITS["sdn-vgg16-cifar10"].load(copy)


@pytest.mark.parametrize("name", list(EARLY_EXITS))
def test_cards_and_builders_agree_on_the_number_of_exits(name: str) -> None:
    entry = EARLY_EXITS[name]
    model = entry.build().eval()
    with torch.no_grad():
        assert model(torch.zeros(2, *entry.input_shape)).shape == (2, len(entry.cuts) + 1, entry.num_classes)
    assert json.dumps(entry.cuts)
