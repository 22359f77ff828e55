"""Every reliability flag rises where it should, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn
from toy_audits import write_images

from torpor.audits.plan import Plan
from torpor.audits.read import read_audit
from torpor.audits.run.engine import run_audit
from torpor.audits.run.flags import Flags
from torpor.audits.verdict.gate import evaluate_gates, overall
from torpor.audits.verdict.gate_grammar import parse_gate
from torpor.targets import Confidence, EarlyExitTarget, ShallowDeepNetwork
from torpor.targets.decoder.family import StepFamily
from torpor.targets.early_exit.family import EarlyExitFamily

COUNT = 20
SOUND: dict[str, list[Any]] = {
    "cost_own": [1.0] * COUNT,
    "cost": [2.0] * COUNT,
    "cost_static": [3.0] * COUNT,
    "slowdown": [2.0] * COUNT,
    "zero_gradient": [False] * COUNT,
    "surrogate_diverged": [False] * COUNT,
    "black_box_won": [None] * COUNT,
    "rejected": [None] * COUNT,
    "budget_used": [1.0] * COUNT,
}
FAR, NEAR = [9.0] * COUNT, [1.0] * COUNT
TRUTHS = ("zero_gradient", "surrogate_diverged", "black_box_won", "capped", "rejected")


def gathered(own: dict[str, list[Any]] | None = None, /, **changes: list[Any]) -> Flags:
    """Return what is gathered of twenty records; ``own`` changes those of the clean inputs."""
    family = StepFamily() if "cap" in changes or "capped" in changes else EarlyExitFamily()
    table, clean = (
        pa.table(
            {name: pa.array(values, pa.bool_() if name in TRUTHS else pa.float64()) for name, values in columns.items()}
        )
        for columns in (SOUND | changes, SOUND | changes | (own or {}))
    )
    return Flags(family, table, clean)


def flags(own: dict[str, list[Any]] | None = None, /, **changes: list[Any]) -> list[str]:
    """Return the flags of twenty records, beside no control."""
    return gathered(own, **changes).compute()


def some(value: object, count: int, rest: object) -> list[Any]:
    return [value] * count + [rest] * (COUNT - count)


def test_a_sound_row_has_no_flag() -> None:
    assert flags() == []


@pytest.mark.parametrize(
    ("flag", "over", "under"),
    [
        ("no-effect", {"cost": some(1.0, 20, 1.0)}, {"cost": some(1.0, 19, 2.0)}),
        ("dead-gradients", {"zero_gradient": some(True, 11, False)}, {"zero_gradient": some(True, 10, False)}),
        ("budget-unused", {"budget_used": some(0.4, 11, 1.0)}, {"budget_used": some(0.4, 9, 1.0)}),
        (
            "surrogate-not-tracking",
            {"surrogate_diverged": some(True, 3, False)},
            {"surrogate_diverged": some(True, 2, False)},
        ),
        ("black-box-beats-white-box", {"black_box_won": some(True, 3, None)}, {"black_box_won": some(True, 2, None)}),
    ],
)
def test_each_flag_has_its_threshold(flag: str, over: dict[str, list[Any]], under: dict[str, list[Any]]) -> None:
    assert flags(**over) == [flag]
    assert flags(**under) == []


def test_samples_without_headroom_do_not_count() -> None:
    """Sixty per cent cost the static bound from the start; the attack has no gradient on all others."""
    clean = some(3.0, 12, 1.0)
    assert flags(cost_own=clean, cost=clean, zero_gradient=some(False, 12, True)) == ["no-effect", "dead-gradients"]
    everything = some(3.0, COUNT, 3.0)
    assert flags(cost_own=everything, cost=everything) == ["nothing-to-measure"]


def test_nothing_is_measured_where_every_clean_output_is_at_the_cap() -> None:
    """The bound of a longer text is larger, but the decoder has no step left; one sample below the cap is enough."""
    capped: dict[str, list[Any]] = {"steps": [20.0] * COUNT, "cap": [20.0] * COUNT, "capped": [False] * COUNT}
    assert flags(capped, **capped) == ["nothing-to-measure"]
    assert gathered(capped, **capped).no_headroom == 1
    below = {"steps": some(19.0, 1, 20.0)}
    assert flags(below, **capped) == []
    assert gathered(below, **capped).no_headroom == 0.95
    assert flags({"rejected": [True] * COUNT}, rejected=[True] * COUNT) == ["nothing-to-measure"]


def test_a_loss_that_falls_where_a_cap_or_a_rejection_holds_the_cost_is_no_sign() -> None:
    diverged: dict[str, list[Any]] = {"surrogate_diverged": [True] * COUNT}
    assert flags(**diverged) == ["surrogate-not-tracking"]
    assert flags(**diverged, capped=[True] * COUNT, cap=FAR, steps=NEAR) == []
    assert flags(**diverged, rejected=[False] * COUNT) == []


@pytest.mark.parametrize(
    ("control", "attack", "found"),
    [
        ([1.9] * COUNT, [2.0] * COUNT, []),
        ([2.0] * COUNT, [2.0] * COUNT, ["control-beats-attack"]),
        ([2.1] * COUNT, [2.0] * COUNT, ["control-beats-attack"]),
        (some(1.0, 10, 3.0), some(3.0, 10, 1.0), ["control-beats-attack"]),  # the same mean of other samples
        (some(1.0, 11, 3.0), some(3.0, 10, 1.0), []),
        ([3.0] * COUNT, [3.0] * COUNT, ["cap-reached-by-chance"]),
        ([3.0] * COUNT, some(2.0, 1, 3.0), ["control-beats-attack", "cap-reached-by-chance"]),
        (some(2.0, 2, 3.0), [3.0] * COUNT, ["cap-reached-by-chance"]),
        (some(2.0, 3, 3.0), [3.0] * COUNT, []),
        ([1.0] * COUNT, [1.0] * COUNT, ["no-effect"]),  # neither does anything
    ],
)
def test_a_control_that_costs_as_much_beats_the_attack(
    control: list[float], attack: list[float], found: list[str]
) -> None:
    """Clean samples cost 1, and 3 at most, so that a cost is its own slowdown."""
    chance = gathered(cost=control, slowdown=control)
    assert gathered(cost=attack, slowdown=attack).compute({"control-noise": chance}) == found


def test_a_flat_perturbation_stays_what_it_was_when_shuffled() -> None:
    shuffled = gathered()
    assert gathered().compute({"control-shuffled": shuffled}) == []
    better = gathered(cost=[2.5] * COUNT, slowdown=[2.5] * COUNT)
    assert gathered().compute({"control-shuffled": better}) == ["control-beats-attack"]


class Rounded(nn.Module):
    """Round to sixteen levels: what comes before gets no gradient."""

    def forward(self, images: Tensor) -> Tensor:
        return (images * 16).round().flatten(1) / 16


@pytest.mark.parametrize("attack", ["deepsloth", "pgd", "deepsloth-universal", "uap"])
def test_attacks_on_dead_gradients_are_flagged_and_their_passes_are_no_evidence(attack: str, tmp_path: Path) -> None:
    heads = [nn.Linear(16, 2), nn.Linear(16, 2)]
    with torch.no_grad():
        heads[0].weight.copy_(torch.tensor([[50.0], [-50.0]]).expand(2, 16))
    net = ShallowDeepNetwork([Rounded(), nn.Identity()], heads)
    target = EarlyExitTarget(net, Confidence(0.6), input_shape=(1, 4, 4))
    data = write_images(tmp_path / "data", test=4)
    run_audit(Plan("own", (attack,), "Linf", (2 / 255,), data_dir=str(data)), target, tmp_path / "run")
    audit = read_audit(tmp_path / "run")
    row = next(row for row in audit.summary if row["attack"] == attack)
    assert {"dead-gradients", "no-effect"} <= set(row["flags"])
    results = evaluate_gates(audit, [parse_gate("p95(slowdown) < 1.5")])
    assert overall(results).exit_code == 11
