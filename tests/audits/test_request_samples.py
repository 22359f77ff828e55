"""How many samples an audit takes where the user does not say."""

from __future__ import annotations

from pathlib import Path

from torpor.audits.request import request
from torpor.targets.early_exit.toys import needle


def test_a_target_may_say_how_many_of_its_samples_are_audited(tmp_path: Path) -> None:
    target = needle()
    target.samples = 7
    assert request(target).plan.limit == 7
    assert request(target, limit=3).plan.limit == 3
    assert request(target, inputs=tmp_path).plan.limit is None
    assert request(needle()).plan.limit is None
