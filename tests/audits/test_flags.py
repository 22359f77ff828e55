"""Every reliability flag rises where it should, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn
from toy_audits import write_images

from torpor.audits.engine import run_audit
from torpor.audits.flags import Flags
from torpor.audits.gate import evaluate_gates, overall
from torpor.audits.gate_grammar import parse_gate
from torpor.audits.plan import Plan
from torpor.audits.read import read_audit
from torpor.targets import Confidence, EarlyExitTarget, ShallowDeepNetwork

COUNT = 20
SOUND: dict[str, list[Any]] = {
    "flops_own": [1.0] * COUNT,
    "flops": [2.0] * COUNT,
    "flops_static": [3.0] * COUNT,
    "zero_gradient": [False] * COUNT,
    "stuck": [False] * COUNT,
    "black_box_won": [None] * COUNT,
    "moved": [1.0] * COUNT,
}


def flags(**changes: list[Any]) -> list[str]:
    """Return the flags of twenty records in two batches."""
    found = Flags()
    yes_or_no = ("zero_gradient", "stuck", "black_box_won")
    columns = {
        name: pa.array(values, pa.bool_() if name in yes_or_no else pa.float64())
        for name, values in (SOUND | changes).items()
    }
    table = pa.table(columns)
    for part in (table.slice(0, 7), table.slice(7)):
        found.update(part)
    return found.compute()


def some(value: object, count: int, rest: object) -> list[Any]:
    return [value] * count + [rest] * (COUNT - count)


def test_a_sound_row_has_no_flag() -> None:
    assert flags() == []


@pytest.mark.parametrize(
    ("flag", "over", "under"),
    [
        ("no-effect", {"flops": some(1.0, 20, 1.0)}, {"flops": some(1.0, 19, 2.0)}),
        ("dead-gradients", {"zero_gradient": some(True, 11, False)}, {"zero_gradient": some(True, 10, False)}),
        ("budget-unused", {"moved": some(0.4, 11, 1.0)}, {"moved": some(0.4, 9, 1.0)}),
        ("surrogate-not-tracking", {"stuck": some(True, 3, False)}, {"stuck": some(True, 2, False)}),
        ("black-box-beats-white-box", {"black_box_won": some(True, 3, None)}, {"black_box_won": some(True, 2, None)}),
    ],
)
def test_each_flag_has_its_threshold(flag: str, over: dict[str, list[Any]], under: dict[str, list[Any]]) -> None:
    assert flags(**over) == [flag]
    assert flags(**under) == []


def test_samples_without_headroom_do_not_count() -> None:
    """Sixty per cent cost the static bound from the start; the attack is blind on all others."""
    clean = some(3.0, 12, 1.0)
    assert flags(flops_own=clean, flops=clean, zero_gradient=some(False, 12, True)) == ["no-effect", "dead-gradients"]
    everything = some(3.0, COUNT, 3.0)
    assert flags(flops_own=everything, flops=everything) == []


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
