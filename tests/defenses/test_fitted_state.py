"""What defenses learn can be stored as tensors and taken back: a resumed audit fits nothing again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from activity_targets import bright_pixels
from detector_cases import CASES as DETECTORS
from detector_cases import fitted, inputs_of, lamp_video
from draft_targets import drafting
from expert_targets import experts
from safetensors.torch import load_file, save_file
from token_targets import bright
from torch import Tensor

from torpor.core.batches import Samples, join
from torpor.core.errors import DataError, UsageError
from torpor.data.images import Digits
from torpor.defenses.base import Defense
from torpor.defenses.chain import Chain
from torpor.defenses.detectors.svm import SVM
from torpor.defenses.guards.base import Guard
from torpor.defenses.hardening.fine_pruning import FinePruning
from torpor.defenses.hardening.retrained import CleanFineTuning, networks_of
from torpor.defenses.registry import defense_ids, load_defense
from torpor.targets.base import Target
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.early_exit.toys import needle

Made = tuple[Target, Defense]


def guard(name: str, make: Callable[[], Target]) -> Made:
    found, target = load_defense(name), make()
    assert isinstance(found, Guard)
    return target, found.fit(target, inputs_of(target, 20, 3))


def calibrated() -> Made:
    target, draws = needle(), torch.Generator().manual_seed(0)
    defense = load_defense("calibrated")
    logits = torch.randn(50, 4, 2, generator=draws)
    return target, defense.fit(logits, (logits[:, 1, 0] < 0).long())  # type: ignore[attr-defined]


def tuned() -> Made:
    target = needle()
    return target, CleanFineTuning().with_state(networks_of(target).state_dict())


def pruned() -> Made:
    target = needle()
    return target, FinePruning().with_state(networks_of(target).state_dict())


def chain() -> Made:
    target, svm = fitted(SVM, "steps")
    return target, Chain((load_defense("bit-depth:4"), svm, guard("steps", PeakTarget)[1]))


GUARDED: tuple[tuple[str, Callable[[], Target]], ...] = (
    ("steps", PeakTarget),
    ("steps:4", PeakTarget),
    ("loop-stop", PeakTarget),
    ("loop-stop:9", PeakTarget),
    ("hazard", PeakTarget),
    ("hazard:9", PeakTarget),
    ("boxes", LampTarget),
    ("boxes", lamp_video),
    ("boxes:2", LampTarget),
    ("tracks", lamp_video),
    ("tracks:2", lamp_video),
    ("density", bright_pixels),
    ("tokens", bright),
    ("draft-stop", drafting),
    ("expert-capacity", experts),
    ("rebalance", experts),
    ("draft-stop:4", drafting),
)
MADE: dict[str, Callable[[], Made]] = {
    **{f"{kind.id}-{family}": partial(fitted, kind, family) for kind, family in DETECTORS},
    **{f"{name}-{make.__name__}": partial(guard, name, make) for name, make in GUARDED},
    "calibrated": calibrated,
    "clean-fine-tuning": tuned,
    "fine-pruning": pruned,
    "chain": chain,
}


def test_every_defense_that_learns_is_in_the_table() -> None:
    learning = {name for name in defense_ids() if load_defense(name).learns}
    assert learning >= {"svm", "squeeze", "perplexity", "trace", "steps", "loop-stop", "hazard", "boxes", "tracks"}
    assert not {name for name in learning if not any(made.startswith(name) for made in MADE)}


def said(outputs: Samples) -> str:
    return repr(outputs.tolist() if isinstance(outputs, Tensor) else outputs)


@pytest.mark.parametrize("name", MADE)
def test_a_defense_with_the_state_of_another_defends_identically(name: str, tmp_path: Path) -> None:
    target, defense = MADE[name]()
    save_file(dict(defense.state()), tmp_path / "state.safetensors")
    again = load_defense(defense.name).with_state(load_file(tmp_path / "state.safetensors"))
    again = again.prepared(target, Digits(), [], 0)  # nothing is left to learn
    inputs = join([inputs_of(target, 4, 7), inputs_of(target, 4, 8, costly=True)])
    one, other = defense.defend(target), again.defend(target)
    before, after = one.run(inputs), other.run(inputs)
    assert after.work.counts.equal(before.work.counts)
    assert said(after.outputs) == said(before.outputs)
    assert (before.rejected is None) is (after.rejected is None)
    if before.rejected is not None:
        assert after.rejected is not None
        assert after.rejected.equal(before.rejected)
    assert other.max_work(inputs).counts.equal(one.max_work(inputs).counts)
    assert other.units == one.units
    assert other.fingerprint() == one.fingerprint()
    assert {key: value.dtype for key, value in again.state().items()} == {
        key: value.dtype for key, value in defense.state().items()
    }
    assert all(value.equal(defense.state()[key]) for key, value in again.state().items())


def test_what_was_not_fitted_has_no_state() -> None:
    for name in ("svm", "squeeze", "steps", "hazard:3", "boxes", "calibrated", "jpeg+svm"):
        with pytest.raises(UsageError, match="expected"):
            load_defense(name).state()
    assert load_defense("jpeg:75+steps:4").state() == {}
    assert load_defense("jpeg:75+steps:4").with_state({}) == load_defense("jpeg:75+steps:4")


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("svm", {}),
        ("svm", {"threshold": torch.zeros(1), "learned": torch.zeros(1)}),
        ("steps", {}),
        ("steps", {"repeats": torch.tensor(3)}),
        ("steps:4", {"learned": torch.tensor(3)}),
        ("calibrated", {"0.temperatures": torch.ones(3)}),
        ("jpeg:75", {"model.mean": torch.zeros(2)}),
        ("jpeg:75+steps", {"learned": torch.tensor(3)}),
        ("jpeg:75+steps", {"0.learned": torch.tensor(3)}),
        ("jpeg:75+steps", {"2.learned": torch.tensor(3)}),
    ],
)
def test_the_state_of_something_else_is_refused(name: str, state: dict[str, Tensor]) -> None:
    with pytest.raises(DataError, match=r"^expected .* learned, got .*; fit it again"):
        load_defense(name).with_state(state)


class Forgetful(type(load_defense("jpeg"))):  # type: ignore[misc]
    """A plug-in's that learns, and does not say what."""

    learns = True


def test_a_kind_that_does_not_say_is_refused() -> None:
    with pytest.raises(UsageError, match=r"got no state\(\); write it"):
        Forgetful().state()
    with pytest.raises(UsageError, match=r"got no with_state\(\); write it"):
        Forgetful().with_state({})
