"""Detectors are judged on inputs of their own."""

from __future__ import annotations

import pytest
import torch
from detector_cases import inputs_of, lamp_video
from torch import Tensor

from torpor.attacks.controls.dense import Noise
from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.core.errors import DataError, UsageError
from torpor.data.tensors import TensorImages
from torpor.defenses.detectors.evaluation import Sizes, craft_pairs, evaluate_detectors, judge_detectors
from torpor.defenses.detectors.pairs import Pairs
from torpor.defenses.detectors.squeeze import Squeeze
from torpor.defenses.detectors.trace import Trace
from torpor.targets.early_exit.toys import needle

SIZES = Sizes(30, 40, 25)


def data() -> TensorImages:
    target = needle()
    parts = {}
    for seed, (split, count) in enumerate((("train", 30), ("validation", 40), ("test", 25))):
        images = target.space.to_bytes(inputs_of(target, count, seed))
        parts[split] = (images, torch.zeros(count, dtype=torch.int64))
    return TensorImages(parts)


ATTACKS = {"strong": DeepSloth(eps=0.5, steps=20), "weak": DeepSloth(eps=0.35, steps=20)}


def test_every_detector_meets_every_attack() -> None:
    found = evaluate_detectors(needle(), [Trace(), Squeeze()], ATTACKS, data(), SIZES)
    assert found["splits"]["test"]["clean"] == 25
    pairs = [(row["detector"], row["fitted_on"], row["tested_on"]) for row in found["verdicts"]]
    trained = [("trace", one, other) for one in ATTACKS for other in ATTACKS]
    assert pairs == [*trained, *(("squeeze", None, name) for name in ATTACKS)]
    first = found["verdicts"][0]
    assert first["auroc"] == 1
    assert first["balanced_accuracy"] == 1
    assert first["tpr_5"] == 1
    assert first["fpr_5"] < 0.25
    assert first["tpr_1"] is None  # 40 inputs cannot promise 1 %
    assert found["verdicts"][-1]["balanced_accuracy"] is None
    assert found["detectors"]["trace"]["share_static"] == found["detectors"]["trace"]["flops"] / needle().prices.cost(
        needle().static_work()
    )


def test_results_do_not_depend_on_the_day() -> None:
    first, second = (evaluate_detectors(needle(), [Trace()], ATTACKS, data(), SIZES, seed=3) for _ in range(2))
    assert first == second


def test_detectors_learn_from_nothing_but_the_train_split(monkeypatch: pytest.MonkeyPatch) -> None:
    splits: dict[bytes, str] = {}
    images = data()
    for split in ("train", "validation", "test"):
        splits |= {image.numpy().tobytes(): split for image, _ in images.samples(split)}
    seen: list[set[str]] = []
    target = needle()
    pairs = craft_pairs(target, ATTACKS, images, SIZES)
    for split, both in pairs.items():
        rows = target.space.to_bytes(both.clean)
        assert {splits[row.numpy().tobytes()] for row in rows} == {split}
    fit = Trace.fit

    def noting(self: Trace, target: object, clean: Tensor, attacked: Tensor, calibration: Tensor, seed: int) -> Trace:
        rows = (needle().space.to_bytes(part) for part in (clean, calibration))
        seen.extend({splits[row.numpy().tobytes()] for row in part} for part in rows)
        assert any(attacked.equal(part) for part in pairs["train"].attacked.values())
        return fit(self, needle(), clean, attacked, calibration, seed)

    monkeypatch.setattr(Trace, "fit", noting)
    judge_detectors(target, [Trace()], pairs)
    assert seen == [{"train"}, {"validation"}] * 2


def test_attacks_that_do_nothing_have_no_pairs() -> None:
    pairs = craft_pairs(needle(), {"noise": Noise(eps=1 / 255)}, data(), SIZES)
    assert all(len(both.attacked["noise"]) == 0 and both.slowdown["noise"] is None for both in pairs.values())
    with pytest.raises(DataError, match="learn from"):
        judge_detectors(needle(), [Trace()], pairs)
    assert judge_detectors(needle(), [Squeeze()], pairs)["verdicts"] == []


def test_clean_inputs_cost_nothing_so_thresholds_take_all_that_are_there() -> None:
    pairs = craft_pairs(needle(), {"strong": ATTACKS["strong"]}, data(), Sizes(12, 5, 5))
    assert [(len(both.clean), both.paired) for both in pairs.values()] == [(30, 12), (40, 5), (5, 5)]
    assert all(len(both.attacked["strong"]) <= both.paired for both in pairs.values())


def test_a_handful_of_twins_is_enough_for_what_clean_inputs_promise() -> None:
    found = evaluate_detectors(needle(), [Trace()], {"strong": ATTACKS["strong"]}, data(), Sizes(12, 5, 5))
    (verdict,) = found["verdicts"]
    assert verdict["tpr_1"] is verdict["fpr_1"] is None  # 40 clean inputs cannot promise 1 %
    assert verdict["tpr_5"] == verdict["auroc"] == 1


def test_a_look_at_a_video_is_one_at_each_frame() -> None:
    target = lamp_video()
    pairs = {
        split: Pairs(inputs_of(target, 5, seed), {"a": inputs_of(target, 5, 9 + seed, costly=True)}, {"a": 2.0}, 1e6, 5)
        for seed, split in enumerate(("train", "validation", "test"))
    }
    found = judge_detectors(target, [Trace()], pairs)["detectors"]["trace"]
    one = Trace(0.5).fit(target, pairs["train"].clean, pairs["train"].attacked["a"], pairs["validation"].clean)
    assert found["flops"] == 3 * target.price(one.units(target)).per_unit[0]
    assert found["share"] == found["flops"] / 1e6


def test_too_few_inputs_for_a_rate_are_told_before_any_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.defenses.detectors.base.training_pairs", None)
    with pytest.raises(UsageError, match="99 clean inputs or more"):
        Trace(0.01).prepared(needle(), data(), [ATTACKS["strong"]], 0)


def test_mistakes_are_told() -> None:
    with pytest.raises(DataError, match="take less"):
        craft_pairs(needle(), {}, data(), Sizes(30, 40, 26))
    with pytest.raises(UsageError, match="different kinds"):
        judge_detectors(needle(), [Trace(), Trace(0.01)], {})
