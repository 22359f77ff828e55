"""One wrapper for targets of any family: what is forwarded, what keeps its layer, and what is refused."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import pytest
import torch
from detector_cases import fitted, inputs_of
from plugged import LAYERS, SilentTarget, SkipTarget
from torch import Tensor

import torpor.defenses
from torpor.core.errors import UsageError
from torpor.core.work import Work
from torpor.defenses.detectors.base import Detector
from torpor.defenses.detectors.squeeze import Squeeze
from torpor.defenses.detectors.svm import SVM
from torpor.defenses.detectors.trace import Trace
from torpor.defenses.registry import load_defense
from torpor.defenses.wrapped import Wrapped
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.early_exit.toys import needle


def gray(*means: float) -> Tensor:
    return (torch.tensor(means) * 255).round().div(255).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def wrapped(target: object, name: str = "bit-depth:4") -> Wrapped:
    defended = load_defense(name).defend(target)  # type: ignore[arg-type]
    assert isinstance(defended, Wrapped)
    return defended


@pytest.mark.parametrize("name", ["bit-depth:4", "jpeg:75+bit-depth:4", "jpeg:75+median+bit-depth:4"])
def test_an_unknown_family_is_defended_like_any_other(name: str) -> None:
    target = SkipTarget()
    defended = wrapped(target, name)
    inputs = gray(0.0, 0.5, 1.0)
    work = defended.run(inputs).work
    assert work.counts.shape[1] == LAYERS + 1 + name.count("+")
    assert defended.layers(work).tolist() == [0, 3, 5] == defended.layers(work=work).tolist()
    assert defended.busy(defended.run(inputs)).tolist() == [False, False, True]
    assert work.counts.equal(defended.signals(inputs).work.counts)
    fewer = defended.with_layers(2)
    assert isinstance(fewer, Wrapped)
    assert fewer.layers(fewer.run(inputs).work).tolist() == [0, 2, 2]
    assert fewer.max_work(inputs).counts[0].tolist() == [1, 1, 0, 0, 0] + [1] * (1 + name.count("+"))
    assert fewer.allowed == 2
    assert defended.offers("layers", "with_layers")
    assert not defended.offers("rungs")
    assert not defended.offers("score")
    assert not defended.offers("exits")
    with pytest.raises(AttributeError, match="'SkipTarget' object has no attribute 'exits'"):
        defended.exits(work)


def fitted_to(target: SkipTarget, detector: Detector) -> Detector:
    clean, costly = inputs_of(target, 30, 0), inputs_of(target, 30, 1, costly=True)
    return detector.fit(target, clean, costly, inputs_of(target, 60, 2))


@pytest.mark.parametrize("detector", [SVM(0.1), Trace(0.1)])
def test_detectors_know_of_a_family_what_it_says(detector: Detector) -> None:
    target = SkipTarget()
    defended = fitted_to(target, detector).defend(target)
    outcome = defended.run(inputs_of(target, 4, 5, costly=True))
    assert outcome.rejected is not None
    assert outcome.rejected.all()
    assert outcome.outputs == ("nothing",) * 4
    assert not defended.attacker_cost(outcome).any()


def test_what_a_family_does_not_say_is_refused_in_a_sentence() -> None:
    silent = SilentTarget()
    with pytest.raises(UsageError, match="expected a family whose traces can be read, got silent; write its traits"):
        fitted_to(silent, Trace(0.1))
    with pytest.raises(UsageError, match="whose answers can be compared, got skipping; write answers"):
        fitted_to(SkipTarget(), Squeeze(0.1))
    defended = fitted_to(silent, SVM(0.1)).defend(silent)
    with pytest.raises(
        UsageError, match="expected the family of silent targets to define what a rejected input returns"
    ):
        defended.run(inputs_of(silent, 2, 5, costly=True))


def test_variations_and_parts_keep_the_layer() -> None:
    steps = wrapped(PeakTarget(cap=40))
    assert steps.with_cap(7).run(gray(0.5)).work.counts.tolist() == [[1, 7, 1]]
    assert steps.with_stop(None).layer is steps.layer
    boxes = wrapped(LampTarget())
    assert boxes.detector is boxes
    assert boxes.with_nms(boxes.nms).layer is boxes.layer
    exits = wrapped(needle())
    assert exits.with_rule("confidence:0.5").layer is exits.layer
    assert exits.upto(2).run(gray(0.5)).work.counts.tolist() == [[1, 1, 1]]
    assert exits.exits(Work(torch.tensor([[1, 1, 0, 0, 1], [1, 1, 1, 1, 9]]))).tolist() == [1, 3]
    assert exits.exit_costs.equal(needle().exit_costs)
    assert wrapped(exits, "jpeg:75").upto(2).run(gray(0.5)).work.counts.tolist() == [[1, 1, 1, 1]]


def test_a_video_s_detector_is_defended_by_the_same_detector() -> None:
    target, detector = fitted(SVM, "video")
    defended = detector.defend(target)
    assert isinstance(defended, Wrapped)
    videos = torch.cat([inputs_of(target, 3, 5), inputs_of(target, 3, 6, costly=True)])
    part = defended.detector
    frames = part.run(videos.flatten(0, 1))
    assert frames.rejected is not None
    assert frames.rejected.view(6, -1).any(1).equal(defended.run(videos).rejected)


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        *((kind, family) for kind in (SVM, Squeeze, Trace) for family in ("gates", "steps", "candidates", "video")),
        (SVM, "text"),
        (Trace, "text"),
    ],
)
def test_detectors_say_the_same_on_every_rung(kind: type[Detector], family: str) -> None:
    """A detector that looks at inputs decides alike; one of traces reads those of a run that ended sooner."""
    target, detector = fitted(kind, family)
    defended = detector.defend(target)
    assert isinstance(defended, Wrapped)
    few = inputs_of(target, 3, 5)
    more = inputs_of(target, 3, 6, costly=True)
    inputs = few + more if isinstance(few, tuple) else torch.cat([few, more])
    whole = defended.run(inputs)
    for rung in {0, 1, defended.rungs() // 2, defended.rungs() - 1}:
        smaller = defended.at_rung(rung)
        outcome = smaller.run(inputs)
        assert smaller.units == defended.units
        assert (outcome.work.counts <= smaller.max_work(inputs).counts).all()
        assert outcome.work.counts[:, -1].equal(whole.work.counts[:, -1])
        if detector.looks == "input":
            assert outcome.rejected is not None
            assert outcome.rejected.equal(whole.rejected)
        else:
            assert smaller.signals(inputs).alarm is not None


def test_a_trace_on_a_rung_is_that_of_samples_that_left_there() -> None:
    target, detector = fitted(Trace, "gates")
    assert isinstance(detector, Trace)
    inputs = gray(0.9, 0.0, 0.75)  # all leave at the first exits
    cut: Wrapped = detector.defend(target).at_rung(2)  # type: ignore[attr-defined]
    assert target.run(inputs).work.counts[:, 2:].sum() == 0
    assert cut.signals(inputs).alarm.equal(detector.defend(target).signals(inputs).alarm)


def test_candidates_that_are_rejected_score_0() -> None:
    target, detector = fitted(SVM, "text")
    defended = detector.defend(target)
    assert isinstance(defended, Wrapped)
    texts = (*inputs_of(target, 3, 5), *inputs_of(target, 3, 6, costly=True))
    rejected = defended.run(texts).rejected
    assert rejected is not None
    assert rejected.any()
    assert not rejected.all()
    free = ToyText(cap=30).score(texts)
    assert defended.score(list(texts)).tolist() == free.masked_fill(rejected, 0).tolist()


def test_copies_are_targets_of_their_own() -> None:
    target, detector = fitted(SVM, "gates")
    defended = detector.defend(target)
    for again in (copy.copy(defended), copy.deepcopy(defended), pickle.loads(pickle.dumps(defended))):
        assert again.run(gray(0.5)).work.counts.equal(defended.run(gray(0.5)).work.counts)
        assert again.offers("exits")


def test_no_defense_asks_for_kinds_of_targets_or_signals() -> None:
    kinds = re.compile(r"isinstance\([^)]*\w(Target|Signals|Tracker)\b")  # not Target itself, of whatever kind
    for path in Path(torpor.defenses.__path__[0]).glob("**/*.py"):
        assert not kinds.findall(path.read_text(encoding="utf-8")), path
