"""Calibrated exits and hardened networks as defenses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from torpor.core.errors import DataError, UsageError
from torpor.core.signals import GateSignals, Signals
from torpor.data.images import Digits
from torpor.data.sets import Batch
from torpor.defenses.hardening.calibrated import COLDEST, HOTTEST, Calibrated, fit_temperatures
from torpor.defenses.registry import load_defense
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.resolve import load_target
from torpor.zoo.registry import sdn_digits

HARD = load_defense("hardened")


class Unlabeled(Digits):
    def batches(self, split: str, size: int, limit: int | None = None, *, first: int = 0) -> Iterator[Batch]:
        for batch in super().batches(split, size, limit, first=first):
            yield replace(batch, references=batch.references[:0])


@pytest.fixture(scope="module")
def target() -> EarlyExitTarget:
    return sdn_digits()


@pytest.fixture(scope="module")
def calibrated(target: EarlyExitTarget) -> Calibrated:
    return Calibrated.parse("").prepared(target, Digits(), [], 0)


def images(target: EarlyExitTarget, count: int = 60) -> Tensor:
    inputs = target.read(Digits().load("test", count).inputs)
    assert isinstance(inputs, Tensor)
    return inputs


def test_temperatures_are_those_of_least_likelihood_loss() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, scale = torch.randn(500, 3, 4, generator=rng, dtype=torch.float64), torch.tensor([0.5, 1.0, 3.0])
    labels = logits[:, 0].softmax(-1).multinomial(1, generator=rng).squeeze(1)
    logits = torch.stack([logits[:, 0] * each for each in scale], 1)
    found = fit_temperatures(logits, labels)
    for k, temperature in enumerate(found.tolist()):

        def loss(inverse: float, k: int = k) -> float:
            return F.cross_entropy(logits[:, k] * inverse, labels).item()

        best = minimize_scalar(loss, bounds=(1 / HOTTEST, 1 / COLDEST), method="bounded", options={"xatol": 1e-9})
        assert 1 / temperature == pytest.approx(best.x, abs=1e-4)
    assert torch.allclose(found / scale, found[1] / scale[1], atol=1e-6)


def test_temperatures_stay_within_bounds() -> None:
    sure = 3 * torch.eye(2).unsqueeze(1)  # always right, then always wrong
    assert fit_temperatures(sure, torch.tensor([0, 1])).item() == pytest.approx(COLDEST)
    assert fit_temperatures(sure, torch.tensor([1, 0])).item() == pytest.approx(HOTTEST)


def exits_of(signals: Signals) -> GateSignals:
    assert isinstance(signals, GateSignals)
    return signals


def test_calibration_lowers_the_loss_and_changes_no_prediction(target: EarlyExitTarget, calibrated: Calibrated) -> None:
    defended, inputs = calibrated.defend(target), images(target)
    before, after = target.signals(inputs).exit_logits, exits_of(defended.signals(inputs)).exit_logits
    assert torch.allclose(after, before / torch.tensor(calibrated.temperatures)[:, None], rtol=1e-5)
    batch = Digits().load("validation")
    known = target.read(batch.inputs)
    for k in range(len(target.units)):
        losses = [
            F.cross_entropy(exits_of(each.signals(known)).exit_logits[:, k], batch.references)
            for each in (target, defended)
        ]
        assert losses[1] <= losses[0] + 1e-6


def test_the_calibrated_target_is_the_network_by_the_same_rule(target: EarlyExitTarget, calibrated: Calibrated) -> None:
    inputs, defended = images(target), calibrated.defend(target)
    assert isinstance(defended, EarlyExitTarget)
    assert defended.units == target.units
    assert defended.rule == target.rule == Confidence(0.6)
    assert defended.fingerprint() != target.fingerprint()
    assert target.name == "sdn-digits"
    outcome = defended.run(inputs)
    assert torch.equal(outcome.work.counts, defended.signals(inputs).work.counts)
    assert not torch.equal(outcome.work.counts, target.run(inputs).work.counts)
    with pytest.raises(UsageError, match="it has none"):
        defended.with_rule("drop:0.15")


def test_calibration_needs_a_soft_rule_labels_and_as_many_exits(
    target: EarlyExitTarget, calibrated: Calibrated
) -> None:
    assert Calibrated.applies_to(target.with_rule("entropy:0.3"))
    with pytest.raises(UsageError, match="rule by confidence or entropy for calibrated, got: 3 exits in a row agree"):
        calibrated.defend(target.with_rule("patience:2"))
    with pytest.raises(UsageError, match="expected fitted temperatures"):
        load_defense("calibrated").defend(target)
    with pytest.raises(UsageError, match="expected a temperature for each of 3 exits of sdn-digits, got 6"):
        calibrated.defend(target.upto(3))
    with pytest.raises(DataError, match="expected classes to calibrate sdn-digits"):
        Calibrated().prepared(target, Unlabeled(), [], 0)
    with pytest.raises(UsageError, match="expected a defense for"):
        calibrated.defend(PeakTarget())
    with pytest.raises(UsageError, match="expected no setting for calibrated, got '2'"):
        load_defense("calibrated:2")


@pytest.mark.parametrize("name", ["hardened", "neo-kd"])
def test_the_hardened_network_takes_the_place_of_the_target(target: EarlyExitTarget, name: str) -> None:
    defended = load_defense(name).defend(target)
    assert isinstance(defended, EarlyExitTarget)
    assert defended.name == f"sdn-digits defended by {name}"
    assert defended.units == target.units
    assert defended.rule == defended.named_rules["drop:0.05"]
    inputs = images(target)
    assert not torch.equal(defended.run(inputs).outputs, target.run(inputs).outputs)
    found, mine = (exits_of(each.signals(inputs)) for each in (defended, load_target(f"sdn-digits-{name}")))
    assert torch.equal(found.exit_logits, mine.exit_logits)


@pytest.mark.parametrize("rule", ["drop:0.15", "entropy:0.3", "confidence:0.8"])
def test_rules_are_kept_by_name_or_as_they_are(target: EarlyExitTarget, rule: str) -> None:
    mine = target.with_rule(rule)
    defended = HARD.defend(mine)
    assert isinstance(defended, EarlyExitTarget)
    assert defended.rule == (defended.named_rules[rule] if rule.startswith("drop") else mine.rule)


def test_a_hardened_network_that_is_not_there_is_said_to_be_missing(
    target: EarlyExitTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORPOR_CACHE", str(tmp_path))
    other = target.with_rule("confidence:0.9")
    other.name = "detector-scenes"
    with pytest.raises(UsageError, match=r"got none; run: torpor zoo train detector-scenes-hardened$"):
        HARD.defend(other)
    with pytest.raises(UsageError, match=r"\(sdn-digits\), got .* register detector-scenes-neo-kd as"):
        load_defense("neo-kd").defend(other)
    other.name = "my-network"
    assert not HARD.applies_to(other)
    with pytest.raises(
        UsageError, match=r"\(.*sdn-digits.*\), got my-network; .* register my-network-hardened as a target"
    ):
        HARD.defend(other)
