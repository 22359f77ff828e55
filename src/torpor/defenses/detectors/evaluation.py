"""How well detectors do on inputs that they have not seen, against attacks that they have and have not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from torpor.attacks.base import Attack
from torpor.core.errors import DataError, UsageError
from torpor.data.sets import DataSet
from torpor.defenses.base import LEARNED
from torpor.defenses.detectors.base import CALIBRATED, Detector
from torpor.defenses.detectors.pairs import Pairs, attack_pairs
from torpor.defenses.layer import frames_of
from torpor.metrics.roc import auroc, auroc_ci95, balanced_accuracy, best_threshold, fewest, flagged, threshold_at
from torpor.targets.base import Target

OWN = 0.0
"""The threshold of a machine that learned from both classes."""


@dataclass(frozen=True)
class Sizes:
    """How many inputs of each split every attack attacks. Clean ones are free: thresholds are set on more of them.

    Attributes:
        train: to learn from; what needs no attacked inputs learns from :data:`LEARNED` clean ones, if there are more.
        validation: to choose thresholds on; those of a rate are set on :data:`CALIBRATED` clean ones likewise.
        test: to judge on.
    """

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class DetectorScore:
    """How well a detector that learned from one attack does against another one. None means "not defined here".

    Attributes:
        detector: its kind.
        fitted_on: the attack that it learned from; None if it learns from none.
        tested_on: the attack whose inputs it was to find.
        count: attacked inputs.
        auroc: area under the ROC curve.
        auroc_ci95: its bootstrap interval; None of one clean or one attacked input.
        tpr_1: share of attacked inputs flagged at the threshold that promises 1 % false positives on clean validation
            inputs; None where these are too few for it.
        fpr_1: share of clean test inputs flagged at that threshold.
        tpr_5: the same at 5 %.
        fpr_5: the same at 5 %.
        balanced_accuracy: at the machine's own threshold, the study's figure; None if it has none.
        balanced_accuracy_chosen: at the threshold that was best on validation pairs of ``fitted_on``, or of
            ``tested_on`` if it learns from none.
    """

    detector: str
    fitted_on: str | None
    tested_on: str
    count: int
    auroc: float
    auroc_ci95: tuple[float, float] | None
    tpr_1: float | None
    fpr_1: float | None
    tpr_5: float | None
    fpr_5: float | None
    balanced_accuracy: float | None
    balanced_accuracy_chosen: float | None


def evaluate_detectors(
    target: Target,
    detectors: Sequence[Detector],
    attacks: Mapping[str, Attack],
    data: DataSet,
    sizes: Sizes,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit every detector on every attack and judge it on all attacks, ready for JSON.

    Inputs to learn from, to calibrate on and to judge on are those of three disjoint splits, and both of a pair are
    always in the same split. Attacks that learn something first do so on the train split.

    Args:
        target: what the attacks and the detectors are for.
        detectors: of different kinds; their :attr:`~Detector.fpr` plays no part.
        attacks: by the names that the result has.
        data: with references, if the attacks want them.
        sizes: of the splits.
        seed: of all randomness.

    Returns:
        ``"splits"``: for each split the number of clean inputs, how many of them were attacked, and by attack the
        number of pairs and their slowdown;
        ``"detectors"``: for each kind where it looks and its FLOPs per input, also as a share of
        the mean clean input's;
        ``"verdicts"``: one :class:`DetectorScore` as a dict for each detector, attack that it learned from, and attack.

    Raises:
        DataError: if no attack found a costlier input in some split.
    """
    pairs = craft_pairs(target, attacks, data, sizes, seed)
    return judge_detectors(target, detectors, pairs, seed)


def craft_pairs(
    target: Target, attacks: Mapping[str, Attack], data: DataSet, sizes: Sizes, seed: int = 0
) -> dict[str, Pairs]:
    """Attack the first inputs of each split; see :func:`evaluate_detectors`."""
    fitted: dict[str, Attack] = {}
    found = {}
    frames = frames_of(target.space)
    free = {"train": -(-LEARNED // frames), "validation": max(-(-CALIBRATED // frames), fewest(0.05)), "test": 0}
    for split, count in asdict(sizes).items():
        batch = data.load(split, max(count, free[split]))
        if len(batch) < count:
            raise DataError(f"expected {count} samples in split {split!r} of {data.name}, got {len(batch)}; take less")
        inputs, references = target.read(batch.inputs), batch.references if len(batch.references) else None
        if split == "train":
            fitted = {
                name: attack.fit(
                    target, inputs[:count], references=None if references is None else references[:count], seed=seed
                )
                for name, attack in attacks.items()
            }
        found[split] = attack_pairs(target, fitted, inputs, references, seed, count)
    return found


def judge_detectors(
    target: Target, detectors: Sequence[Detector], pairs: Mapping[str, Pairs], seed: int = 0
) -> dict[str, Any]:
    """Fit and judge detectors on the pairs of :func:`craft_pairs`; see :func:`evaluate_detectors`."""
    if len({detector.id for detector in detectors}) < len(detectors):
        raise UsageError("expected detectors of different kinds, got one twice; leave one out")
    verdicts: list[DetectorScore] = []
    costs = {}
    for detector in detectors:
        for attack in pairs["train"].attacked if detector.contrasts else (None,):
            fitted = _fitted(detector, target, pairs, attack, seed)
            verdicts += _judge(fitted, target, pairs, attack)
            flops = frames_of(target.space) * sum(target.price(fitted.units(target)).per_unit)
            costs[detector.id] = {
                "looks": detector.looks,
                "flops": flops,
                "share": flops / pairs["test"].cost,
                "share_static": flops / target.prices.cost(target.static_work()).item(),
            }
    splits = {
        split: {
            "clean": len(both.clean),
            "paired": both.paired,
            "attacked": {name: len(found) for name, found in both.attacked.items()},
            "slowdown": dict(both.slowdown),
        }
        for split, both in pairs.items()
    }
    return {"splits": splits, "detectors": costs, "verdicts": [asdict(verdict) for verdict in verdicts]}


def _fitted(detector: Detector, target: Target, pairs: Mapping[str, Pairs], attack: str | None, seed: int) -> Detector:
    train = pairs["train"]
    strange = train.clean[:0] if attack is None else train.attacked[attack]
    clean = train.clean if attack is None else train.clean[: train.paired]
    any_rate = replace(detector, fpr=0.5)  # thresholds are chosen when it is judged
    return any_rate.fit(target, clean, strange, pairs["validation"].clean, seed)


def _judge(detector: Detector, target: Target, pairs: Mapping[str, Pairs], attack: str | None) -> list[DetectorScore]:
    validation, test = pairs["validation"], pairs["test"]
    calibration, clean = detector.score(target, validation.clean), detector.score(target, test.clean)
    found = []
    for name, inputs in test.attacked.items():
        if not len(inputs):
            continue
        scores = detector.score(target, inputs)
        chosen = validation.attacked[attack or name]
        best = best_threshold(calibration, detector.score(target, chosen)) if len(chosen) else None
        found.append(
            DetectorScore(
                detector.id,
                attack,
                name,
                len(inputs),
                auroc(clean, scores),
                auroc_ci95(clean, scores) if min(len(clean), len(scores)) > 1 else None,
                *_rates(calibration, clean, scores, 0.01),
                *_rates(calibration, clean, scores, 0.05),
                balanced_accuracy(clean, scores, OWN) if detector.contrasts else None,
                None if best is None else balanced_accuracy(clean, scores, best),
            )
        )
    return found


def _rates(calibration: Tensor, clean: Tensor, attacked: Tensor, fpr: float) -> tuple[float | None, float | None]:
    """Return the TPR and the FPR at the threshold that promises ``fpr``; None where it cannot be promised."""
    if len(calibration) < fewest(fpr):
        return None, None
    threshold = threshold_at(calibration, fpr)
    return flagged(attacked, threshold), flagged(clean, threshold)
