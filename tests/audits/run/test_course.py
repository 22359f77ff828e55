"""How far an audit says that it is: as far as its attacks have come, however many rows are of one budget."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from toy_audits import NEEDLE, write_images

from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.audits.run.estimate import row_weights
from torpor.targets.resolve import load_target


def test_attacks_of_one_budget_count_as_soon_as_each_is_over(tmp_path: Path) -> None:
    data, target = write_images(tmp_path / "data", test=4, train=2), load_target(NEEDLE)
    attacks = ("pgd:steps=4", "deepsloth:steps=4", "square:queries=40")
    plan = Plan(NEEDLE, attacks, "Linf", (0.2,), data_dir=str(data), batch_size=2, defenses=("deadline:2",)).on(target)
    told: list[tuple[str, int, int]] = []
    run_audit(plan, target, tmp_path / "run", lambda *given: told.append(given))
    first = [(text.split()[2], done) for text, done, total in told if total and text.startswith("batch 1/2")]
    slugs = [key.slug for key in plan.keys[1:] if key.budget and key.condition.attacker != "non-adaptive"]
    assert [text for text, _ in first if text != "clean"] == slugs  # in the order of the plan
    done = [steps for _, steps, total in told if total]
    assert all(before <= after for before, after in pairwise(done))
    weights = row_weights(plan)
    assert done[: len(plan.attacks)] == [0, weights[0], sum(weights[:2])]
    assert len({total for _, _, total in told if total}) == 1
    assert done[-1] < told[-1][2]


def test_rows_weigh_as_many_passes_as_they_usually_take() -> None:
    target = load_target(NEEDLE)
    plan = Plan(NEEDLE, ("pgd:steps=10", "square:queries=40"), "Linf", (0.2,), defenses=("deadline:2",)).on(target)
    found = dict(zip((key.slug for key in plan.keys[1:]), row_weights(plan), strict=True))
    assert found == {
        "pgd.steps=10-Linf-0.2": 11 + 2 * 10,
        "square.queries=40-Linf-0.2": 40,
        "control-noise-Linf-0.2": 1,
        "control-flat-Linf-0.2": 1,
        "control-shuffled-Linf-0.2": 1,
        "clean-deadline.2": 1,
        "pgd.steps=10-Linf-0.2-deadline.2-non-adaptive": 1,
        "pgd.steps=10-Linf-0.2-deadline.2-adaptive": 31,
        "square.queries=40-Linf-0.2-deadline.2-non-adaptive": 1,
        "square.queries=40-Linf-0.2-deadline.2-adaptive": 40,
    }
