"""Old names of attributes still work, and say what they are called now."""

from __future__ import annotations

import pytest
import torch

from torpor.attacks.controls.dense import Noise
from torpor.audits import read
from torpor.core.work import Outcome, Work
from torpor.targets.early_exit.toys import WindowTarget


def test_outcomes_and_results_are_read_under_old_names() -> None:
    outcome = Outcome(None, Work(torch.ones(2, 1, dtype=torch.int64)), rejected=torch.tensor([True, False]))
    with pytest.warns(DeprecationWarning, match="Outcome.refused is now Outcome.rejected"):
        assert outcome.refused is outcome.rejected
    target = WindowTarget([0.5], [0.2])
    result = Noise(eps=0.1)(target, torch.full((1, *target.space.shape), 0.4))
    with pytest.warns(DeprecationWarning, match="AttackResult.moved is now AttackResult.budget_used"):
        assert result.moved is result.budget_used
    with pytest.warns(DeprecationWarning, match="WindowTarget.claimed is now WindowTarget.attacker_cost"):
        claimed = target.claimed(result.attacked)
    assert claimed.equal(target.attacker_cost(result.attacked))
    with pytest.warns(DeprecationWarning, match="WindowTarget.redrawn is now WindowTarget.reseeded"):
        assert target.redrawn() is target


def test_the_class_of_saved_audits_is_found_under_its_old_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"torpor\.audits\.read\.Audit is now torpor\.audits\.read\.SavedAudit"):
        assert read.Audit is read.SavedAudit
    with pytest.raises(AttributeError, match="no attribute 'Audits'"):
        read.Audits  # noqa: B018
