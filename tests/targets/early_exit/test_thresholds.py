from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torpor.core.errors import UsageError
from torpor.data.images import Digits
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.thresholds import GRID, ThresholdRow, choose_threshold, exits_taken, threshold_table
from torpor.targets.resolve import load_target, target_names


@given(st.integers(0, 1000), st.floats(0.3, 1.0))
def test_exits_taken_are_the_first_sure_ones(seed: int, threshold: float) -> None:
    logits = 3 * torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(seed))
    for row, taken in zip(logits, exits_taken(logits, Confidence(threshold)).tolist(), strict=True):
        sure = [k for k in range(3) if row[k].softmax(-1).max() >= threshold]
        assert taken == (sure[0] if sure else 3)


def test_the_table_agrees_with_the_hard_target(digits_target: EarlyExitTarget) -> None:
    batch = Digits().load("validation", 100)
    inputs = digits_target.space.from_bytes(batch.inputs)
    with torch.no_grad():
        logits = digits_target.signals(inputs).exit_logits
    table = {row.threshold: row for row in threshold_table(logits, batch.references, digits_target.exit_costs)}
    assert list(table) == list(GRID)
    whole = sum(digits_target.prices.per_unit)
    for threshold in (0.6, 0.9, 0.99):
        target = digits_target.with_rule(f"confidence:{threshold}")
        outcome = target.run(inputs)
        assert table[threshold].accuracy == target.utility(outcome.outputs, batch.references).mean().item()
        cost = target.prices.cost(outcome.work).mean().item() / whole
        assert table[threshold].mean_cost == pytest.approx(cost, abs=1e-6)


def test_the_cheapest_threshold_that_keeps_accuracy_wins() -> None:
    rows = [ThresholdRow(0.3, 0.94, 0.1), ThresholdRow(0.5, 0.96, 0.2), ThresholdRow(0.9, 0.99, 0.7)]
    assert choose_threshold(rows, 1.0, 0.05).threshold == 0.5
    assert choose_threshold(rows, 1.0, 0.10).threshold == 0.3
    with pytest.raises(UsageError, match=r"keeps accuracy above 0.9950, got 0.9900 at best; train"):
        choose_threshold(rows, 1.0, 0.005)


def test_targets_are_found_by_name_or_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"sdn-digits", "sdn-resnet56-cifar10"} <= set(target_names())
    assert load_target("torpor.targets.early_exit.toys:tug").name == "toy-tug"
    chosen = load_target("sdn-digits", rule="drop:0.15")
    assert isinstance(chosen, EarlyExitTarget)
    assert chosen.rule == chosen.named_rules["drop:0.15"] != chosen.named_rules["drop:0.05"]
    (tmp_path / "own_torpor_target.py").write_text(
        "from torpor.targets.early_exit.toys import needle as make\nnumber = 3\n"
    )
    (tmp_path / "broken_torpor_target.py").write_text("def :\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_target("own_torpor_target:make").name == "toy-needle"
    for name, message in (
        ("sdn-nothing", "expected a target, got 'sdn-nothing'; name one of 'torpor list targets'"),
        ("sdn-digit", r"got 'sdn-digit'; did you mean sdn-digits\? see: torpor list targets$"),
        ("xyz", "got 'xyz'; name one of 'torpor list targets'"),
        ("no_such_module:make", "module that can be imported"),
        ("broken_torpor_target:make", "module that can be imported"),
        ("own_torpor_target:nothing", "expected 'nothing' in own_torpor_target"),
        ("own_torpor_target:number", "function that returns a Target, got int"),
        ("builtins:dict", "to return a torpor Target, got dict"),
    ):
        with pytest.raises(UsageError, match=message):
            load_target(name)
