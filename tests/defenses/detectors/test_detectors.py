"""Every detector on every kind of target: what it refuses, what that costs, and what attacks see of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detector_cases import CASES, TARGETS, fitted, inputs_of
from torch import Tensor

from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.core.batches import join, take
from torpor.core.errors import DataError, UsageError
from torpor.defenses.detectors.base import Detector
from torpor.defenses.detectors.squeeze import Squeeze
from torpor.defenses.detectors.svm import SVM
from torpor.defenses.detectors.trace import Trace
from torpor.defenses.registry import load_defense
from torpor.metrics.tracking import tracking_scores
from torpor.targets.early_exit.toys import needle

table = pytest.mark.parametrize(("kind", "family"), CASES, ids=lambda value: getattr(value, "id", value))


@table
def test_a_rejected_input_has_no_output_and_counts_for_no_attacker(kind: type[Detector], family: str) -> None:
    target, detector = fitted(kind, family)
    defended = detector.defend(target)
    inputs = join([inputs_of(target, 6, 3), inputs_of(target, 6, 4, costly=True)])
    outcome, plain = defended.run(inputs), target.run(inputs)
    assert outcome.rejected is not None
    inside, own = outcome.work.counts[:, : len(target.units)], outcome.work.counts[:, len(target.units) :]
    assert (own > 0).all()
    assert (outcome.work.counts <= defended.max_work(inputs).counts).all()
    turned = outcome.rejected
    assert torch.equal(inside[~turned], plain.work.counts[~turned])
    if detector.looks == "input":
        assert not inside[turned].any()
    else:
        assert torch.equal(inside, plain.work.counts)
    assert not defended.attacker_cost(outcome)[turned].any()
    assert (defended.attacker_cost(outcome)[~turned] > 0).all()
    assert torch.equal(turned, detector.score(target, inputs) > detector.ready.threshold)
    withheld = [outcome.outputs[row] for row in turned.nonzero().flatten().tolist()]
    if target.offers("iterations"):
        assert all(not output.ids for output in withheld)
    if family == "video":
        assert tracking_scores(withheld, withheld).objects == 0


@table
def test_signals_tell_the_work_and_the_refusals_of_a_run(kind: type[Detector], family: str) -> None:
    target, detector = fitted(kind, family)
    defended = detector.defend(target)
    inputs = join([inputs_of(target, 5, 5), inputs_of(target, 5, 6, costly=True)])
    outcome, found = defended.run(inputs), defended.signals(inputs)
    assert found.alarm is not None
    assert outcome.rejected is not None
    assert found.alarm.dtype == torch.float32
    if family == "video":  # rows are frames
        found_rejected = found.alarm.view(len(inputs), -1).amax(1) > 0
        assert torch.equal(found_rejected, outcome.rejected)
    else:
        assert torch.equal(found.alarm > 0, outcome.rejected)
        assert torch.equal(found.work.counts, outcome.work.counts)


@table
def test_neighbors_change_nothing(kind: type[Detector], family: str) -> None:
    target, detector = fitted(kind, family)
    defended = detector.defend(target)
    inputs = join([inputs_of(target, 3, 7), inputs_of(target, 3, 8, costly=True)])
    together = defended.run(inputs)
    assert together.rejected is not None
    for row in range(len(inputs)):
        alone = defended.run(take(inputs, torch.tensor([row])))
        assert torch.equal(alone.work.counts[0], together.work.counts[row])
        assert alone.rejected is not None
        assert bool(alone.rejected[0]) == bool(together.rejected[row])


@pytest.mark.parametrize("family", TARGETS)
@pytest.mark.parametrize("kind", [SVM, Trace])
def test_costly_inputs_are_rejected_and_cheap_ones_as_promised(kind: type[Detector], family: str) -> None:
    target, detector = fitted(kind, family)
    defended = detector.defend(target)
    strange, clean = (
        defended.run(inputs_of(target, 40, 9 + costly, costly=costly)).rejected for costly in (True, False)
    )
    assert strange is not None
    assert clean is not None
    assert strange.all()
    assert clean.to(torch.float32).mean() <= 0.35  # 60 inputs calibrate no better


@table
def test_fitting_twice_gives_the_same(kind: type[Detector], family: str, tmp_path: Path) -> None:
    target, detector = fitted(kind, family)
    other = kind(0.1).fit(
        target, inputs_of(target, 30, 0), inputs_of(target, 30, 1, costly=True), inputs_of(target, 60, 2)
    )
    assert other.fingerprint() == detector.fingerprint()
    detector.save(tmp_path / "detector.safetensors")
    again = kind(0.1).load(tmp_path / "detector.safetensors")
    assert again.fingerprint() == detector.fingerprint()
    inputs = inputs_of(target, 3, 0)
    assert again.score(target, inputs).tolist() == pytest.approx(detector.score(target, inputs).tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "family"),
    [case for case in CASES if case[1] in ("gates", "candidates", "video") and case[0] is not Squeeze],
)  # flat images are their own median
def test_an_alarm_has_a_gradient_that_lowers_it(kind: type[Detector], family: str) -> None:
    target, detector = fitted(kind, family)
    defended = detector.defend(target)
    inputs = inputs_of(target, 4, 12, costly=True)

    def alarm(images: Tensor) -> Tensor:
        found = defended.signals(images).alarm
        assert found is not None
        return found

    images = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(alarm(images).sum(), images)
    assert (gradient.flatten(1).abs().amax(1) > 0).all()
    rows = [alarm((inputs - step * gradient.sign()).clamp(0, 1)) for step in (0.0, 0.004)]
    assert rows[1].sum() < rows[0].sum()


@pytest.mark.parametrize("kind", [SVM, Trace])
def test_an_attack_that_knows_the_detector_evades_it(kind: type[Detector]) -> None:
    target, detector = fitted(kind, "gates")
    defended = detector.defend(target)
    inputs = inputs_of(target, 8, 13)
    attack = DeepSloth(eps=0.5, steps=60)
    non_adaptive = attack(target, inputs)
    caught = defended.run(non_adaptive.inputs)
    assert caught.rejected is not None
    assert caught.rejected.all()
    adaptive = attack(defended, inputs)
    assert adaptive.attacked.rejected is not None
    passed = ~adaptive.attacked.rejected
    assert passed.sum() > len(inputs) / 2
    assert (defended.attacker_cost(adaptive.attacked) >= defended.attacker_cost(adaptive.clean)).all()


def test_what_was_learned_from_does_not_calibrate() -> None:
    target = needle()
    clean, costly = inputs_of(target, 30, 0), inputs_of(target, 30, 1, costly=True)
    with pytest.raises(UsageError, match="30 in both"):
        Trace(0.1).fit(target, clean, costly, clean)
    with pytest.raises(UsageError, match="99 clean inputs or more"):
        Trace(0.01).fit(target, clean, costly, inputs_of(target, 50, 2))
    with pytest.raises(DataError, match="learn from, got 30 and 0"):
        SVM(0.1).fit(target, clean, costly[:0], inputs_of(target, 50, 2))


def test_detectors_have_names_and_must_be_fitted() -> None:
    detector = load_defense("svm:0.01")
    assert detector == SVM(0.01)
    assert detector.name == "svm:0.01"
    assert load_defense("trace") == Trace()
    for bad in ("svm:x", "trace:0", "trace:1"):
        with pytest.raises(UsageError, match="false-positive rate"):
            load_defense(bad)
    with pytest.raises(UsageError, match="call its fit"):
        detector.defend(needle())
    with pytest.raises(DataError, match="fit it again"):
        SVM().load(Path("nowhere.safetensors"))


def test_a_detector_around_a_detector_refuses_what_either_does() -> None:
    target, outer = fitted(SVM, "gates")
    _, inner = fitted(Trace, "gates")
    both = outer.defend(inner.defend(target))
    inputs = join([inputs_of(target, 4, 3), inputs_of(target, 4, 4, costly=True)])
    outcome, found = both.run(inputs), both.signals(inputs)
    assert outcome.rejected is not None
    assert found.alarm is not None
    assert torch.equal(found.alarm > 0, outcome.rejected)
    assert outcome.rejected[4:].all()
