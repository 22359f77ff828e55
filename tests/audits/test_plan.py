from __future__ import annotations

import shlex

import pytest

from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.attacks.early_exit.square import Square
from torpor.audits.conditions import ADAPTIVE, NON_ADAPTIVE, RowKey
from torpor.audits.plan import Plan, check_device, parse_eps
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.early_exit.toys import needle


def test_rows_are_every_attack_then_every_control_for_each_radius() -> None:
    cells = Plan("t", ("pgd", "square"), "Linf", (0.05, 0.1)).keys
    names = ["pgd", "square", "control-noise", "control-flat", "control-shuffled"]
    rows = [(cell.attack, cell.budget.eps) for cell in cells if cell.budget]
    assert cells[0] == RowKey("clean")
    assert rows == [(name, eps) for eps in (0.05, 0.1) for name in names]


def test_each_defense_faces_clean_inputs_and_every_attack_twice() -> None:
    plan = Plan("t", ("pgd", "square"), "Linf", (0.05,), defenses=("jpeg", "jpeg:50"))
    for defense in plan.defenses:
        found = [(key.attack, key.condition.attacker) for key in plan.keys if key.condition.defense == defense]
        twice = [(name, attacker) for name in ("pgd", "square") for attacker in (NON_ADAPTIVE, ADAPTIVE)]
        assert found == [("clean", None), *twice]
    with pytest.raises(UsageError, match="twice"):
        Plan("t", ("pgd",), defenses=("jpeg", "jpeg"))


@pytest.mark.parametrize(
    ("norm", "text", "expected"),
    [("Linf", "8/255, 4/255", (4 / 255, 8 / 255)), ("L2", "1/2,0.5", (0.5,)), ("L1", None, ())],
)
def test_radii_are_read_exactly_ascending_and_once(norm: str, text: str | None, expected: tuple[float, ...]) -> None:
    assert parse_eps(norm, text) == expected


def test_the_command_reads_back_as_the_same_plan() -> None:
    plan = Plan(
        "a b:c", ("pgd",), "Linf", (8 / 255, 0.1, 1 / 3), steps=7, limit=9, seed=3, batch_size=5, data_dir="my data"
    )
    words = shlex.split(plan.command("out"))
    assert words[:3] == ["torpor", "audit", "a b:c"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert parse_eps(plan.norm, options["--eps"]) == plan.eps
    assert options["--eps"].startswith("8/255,0.1,")
    given = {key: options[key] for key in ("--steps", "--limit", "--seed", "--batch-size", "--data-dir", "--out")}
    assert list(given.values()) == ["7", "9", "3", "5", "my data", "out"]
    assert "--rule" not in options


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attacks": ()}, "at least one attack"),
        ({"attacks": ("nope",)}, "expected an attack by its name"),
        ({"attacks": ("control-shuffled",)}, "audits add this control themselves"),
        ({"attacks": ("control-noise",)}, "control-noise-Linf-0.1 twice"),
        ({"attacks": ("pgd", "pgd")}, "different attacks, got pgd twice"),
        ({"eps": (0.1, 0.1)}, "pgd-Linf-0.1 twice"),
        ({"defenses": ("jpeg", "jpeg")}, "different defenses, got jpeg twice"),
        ({"defenses": ("none",)}, "got 'none'; leave it out"),
        ({"eps": (0.1, 0.1000001)}, "pgd-Linf-0.1 twice"),
        ({"eps": (float("nan"),)}, "greater than 0"),
        ({"eps": (1.5,)}, "at most 1"),
        ({"norm": "L0"}, "norm Linf, L2, L1"),
        ({"limit": 0}, "limit of 1 or more"),
        ({"batch_size": 0}, "batch size of 1 or more"),
        ({"seed": -1}, "a seed from 0"),
        ({"steps": 0}, "1 step or more"),
        ({"steps": 3, "attacks": ("square",)}, "no number of steps for square"),
    ],
)
def test_impossible_plans_are_refused(change: dict[str, object], words: str) -> None:
    fields: dict[str, object] = {"target": "t", "attacks": ("pgd",), "norm": "Linf", "eps": (0.1,), **change}
    with pytest.raises(UsageError, match=words):
        Plan(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["xyz", "", "meta", "hpu", "privateuseone", "mkldnn", "cuda:99"])
def test_absent_devices_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected a device"):
        check_device(name)


def test_slugs_name_files() -> None:
    assert RowKey("pgd", Budget("Linf", 8 / 255)).slug == "pgd-Linf-0.031373"
    assert check_device("cpu").type == "cpu"


def test_luck_is_a_control_where_the_target_says_so() -> None:
    plan = Plan("t", ("square",), "Linf", (0.05,))
    with_search = plan.on(LampTarget())
    assert [cell.attack for cell in plan.on(needle()).keys] == [cell.attack for cell in plan.keys]
    assert [cell.attack for cell in with_search.keys] == [*(cell.attack for cell in plan.keys), "control-best-noise"]
    assert with_search.to_json() == plan.to_json()


def test_rows_are_named_by_the_options_of_their_attacks() -> None:
    plan = Plan("t", ("square:queries=500", "square", "deepsloth:steps=3", "deepsloth"), "Linf", (0.05,), steps=9)
    (budget,) = plan.budgets
    assert [cell.slug for cell in plan.keys[1:5]] == [
        "square.queries=500-Linf-0.05",
        "square-Linf-0.05",
        "deepsloth.steps=3-Linf-0.05",
        "deepsloth-Linf-0.05",
    ]
    own = [DeepSloth(eps=0.05, steps=steps) for steps in (3, 9)]
    assert plan.attacks_at(budget) == [Square(eps=0.05, queries=500), Square(eps=0.05), *own]
    assert list(plan.kinds) == list(plan.attacks)
    assert "square:queries=500,square,deepsloth:steps=3,deepsloth " in (plan.command("out") or "")
    with pytest.raises(UsageError, match="no number of steps for square"):
        Plan("t", ("square:queries=500", "deepsloth:steps=3"), steps=9)
