from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from torpor.core.errors import DataError, MeterError, UsageError
from torpor.targets.early_exit.exit_rules import Confidence, Entropy, ExitRule, Patience, parse_rule
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget

SHAPE = (2, 5, 8)
RULES = st.one_of(
    st.floats(0.05, 1.0).map(Confidence),
    st.floats(0.0, 0.99).map(Entropy),
    st.integers(1, 4).map(Patience),
)


def net(exits: int, seed: int, classes: int = 3, sharpness: float = 4.0) -> ShallowDeepNetwork:
    torch.manual_seed(seed)
    stages: list[nn.Module] = [nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Tanh()) for _ in range(exits)]
    heads: list[nn.Module] = []
    for _ in range(exits):
        linear = nn.Linear(80, classes)
        with torch.no_grad():
            linear.weight *= sharpness
        heads.append(nn.Sequential(nn.Flatten(), linear))
    return ShallowDeepNetwork(stages, heads)


def images(count: int, seed: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40)
@given(st.integers(2, 5), st.integers(0, 1000), RULES, st.integers(1, 9))
def test_signals_tell_the_work_of_the_hard_run(exits: int, seed: int, rule: ExitRule, count: int) -> None:
    target = EarlyExitTarget(net(exits, seed), rule, input_shape=SHAPE)
    inputs = images(count, seed)
    outcome = target.run(inputs)
    for row in range(count):
        here = inputs[row : row + 1]
        signals, alone = target.signals(here), target.run(here)
        assert alone.work.counts.equal(signals.work.counts)
        assert alone.work.counts.equal(outcome.work.counts[row : row + 1])
        taken = int(alone.work.counts.sum()) - 1
        assert torch.allclose(alone.outputs[0], signals.exit_logits[0, taken], atol=1e-5)
        assert torch.allclose(alone.outputs[0], outcome.outputs[row], atol=1e-5)
        assert (signals.margins[0, :taken] < 0).all()
        assert taken == exits - 1 or signals.margins[0, taken] >= 0


@settings(max_examples=20)
@given(st.integers(2, 5), st.integers(0, 1000), RULES)
def test_rows_that_exit_leave_the_batch(exits: int, seed: int, rule: ExitRule) -> None:
    module = net(exits, seed)
    target = EarlyExitTarget(module, rule, input_shape=SHAPE)
    seen: list[list[int]] = [[] for _ in range(exits)]
    for stage, sizes in zip(module.stages, seen, strict=True):
        stage.register_forward_hook(lambda part, args, out, sizes=sizes: sizes.append(len(args[0])))
    outcome = target.run(images(16, seed))
    batch = [sizes[0] if sizes else 0 for sizes in seen]
    assert batch == outcome.work.counts.sum(0).tolist()
    assert batch[0] == 16
    assert all(later <= earlier for earlier, later in pairwise(batch))


def test_samples_near_a_threshold_are_decided_alone() -> None:
    """Rows whose first margin is within the tie zone run again by themselves, and only those."""
    head = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    first = nn.Flatten()
    module = ShallowDeepNetwork([first, nn.Identity()], [head, nn.Linear(1, 2)])
    edge = torch.tensor([[[1.0, -1.0]]]) * 0.4
    threshold = edge.softmax(-1).max().item()
    target = EarlyExitTarget(module, Confidence(threshold), input_shape=(1, 1, 1))
    sizes: list[int] = []
    first.register_forward_hook(lambda part, args, out: sizes.append(len(args[0])))
    target.run(torch.tensor([0.1, 0.4, 0.9, 0.40001]).view(4, 1, 1, 1))
    assert sizes == [4, 1, 1]
    sizes.clear()
    target.run(torch.tensor([0.4]).view(1, 1, 1, 1))
    assert sizes == [1]


def test_a_margin_of_zero_leaves() -> None:
    logits = torch.tensor([[[0.0, 0.0]]])
    assert Confidence(0.5).margin(logits).item() == 0
    assert Entropy(0.0).margin(torch.tensor([[[0.0, 200.0]]])).item() == 0
    zeros = nn.Linear(4, 2)
    nn.init.zeros_(zeros.weight)
    nn.init.zeros_(zeros.bias)
    target = EarlyExitTarget(
        ShallowDeepNetwork([nn.Flatten(), nn.ReLU()], [zeros, nn.Linear(4, 2)]), Confidence(0.5), input_shape=(1, 2, 2)
    )
    assert target.run(torch.zeros(3, 1, 2, 2)).work.counts.tolist() == [[1, 0]] * 3


@given(st.integers(1, 4), st.lists(st.integers(0, 2), min_size=1, max_size=7))
def test_patience_waits_for_agreeing_exits_in_a_row(patience: int, predictions: list[int]) -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([predictions]), 3).to(torch.float32)
    recent = predictions[-(patience + 1) :]
    expected = len(recent) == patience + 1 and len(set(recent)) == 1
    assert bool(Patience(patience).margin(logits) >= 0) is expected


@pytest.mark.parametrize("text", ["", "confidence", "confidence:", "sure:2", "entropy:x", "patience:1.5", "drop:0.05"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected an exit rule such as"):
        parse_rule(text)


@pytest.mark.parametrize(
    "text", ["confidence:0", "confidence:1.1", "confidence:nan", "entropy:1", "entropy:-1", "patience:0"]
)
def test_impossible_thresholds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"expected an? .*{text.partition(':')[0]}"):
        parse_rule(text)


class Three(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.unsqueeze(0)


def test_modules_that_are_no_early_exit_nets_are_refused() -> None:
    flat = nn.Flatten
    bad: list[tuple[nn.Module, str]] = [
        (nn.Linear(4, 2), "stages as heads"),
        (pair([flat()], [nn.Linear(4, 2)]), "at least 2"),
        (pair([flat(), nn.ReLU()], [nn.Linear(4, 2)]), "stages as heads"),
        (pair([flat(), nn.ReLU()], [nn.Linear(4, 2), Three()]), "head 1 to return logits"),
        (pair([flat(), nn.ReLU()], [nn.Linear(4, 2), nn.Linear(4, 3)]), "same classes"),
        (pair([flat(), nn.ReLU()], [nn.Linear(4, 1), nn.Linear(4, 1)]), "at least 2"),
    ]
    for module, message in bad:
        with pytest.raises(UsageError, match=message):
            EarlyExitTarget(module, Confidence(0.5), input_shape=(1, 2, 2))  # type: ignore[arg-type]


def pair(stages: list[nn.Module], heads: list[nn.Module]) -> nn.Module:
    module = nn.Module()
    module.stages, module.heads = nn.ModuleList(stages), nn.ModuleList(heads)
    return module


class Sorts(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        values: Tensor = torch.linalg.svdvals(features)
        return values


def test_operators_without_a_flop_formula_fail_loudly() -> None:
    module = pair([Sorts(), nn.Flatten()], [nn.Flatten(), nn.Linear(2, 2)])
    with pytest.raises(MeterError):
        EarlyExitTarget(module, Confidence(0.5), input_shape=(1, 2, 2))  # type: ignore[arg-type]


def test_the_network_is_frozen_in_evaluation_mode_and_inputs_are_checked() -> None:
    module = net(2, 0).train()
    target = EarlyExitTarget(module, Confidence(0.5), input_shape=SHAPE)
    assert not any(part.training for stage in module.stages for part in stage.modules())
    assert not any(value.requires_grad for value in module.parameters())
    with pytest.raises(DataError):
        target.run(torch.zeros(1, 2, 8, 5))
    assert target.max_work(images(2, 0)).counts.tolist() == [[1, 1]] * 2
    assert target.exit_costs[-1] == 1
    assert target.exit_costs.diff().min() > 0


def test_rules_by_name_share_the_network() -> None:
    target = EarlyExitTarget(
        net(2, 0), Confidence(0.5), input_shape=SHAPE, name="mine", named_rules={"drop:0.05": Confidence(0.7)}
    )
    assert target.with_rule("drop:0.05").rule == Confidence(0.7)
    assert target.with_rule("entropy:0.2").blocks is target.blocks
    assert target.rule == Confidence(0.5)
    with pytest.raises(UsageError, match=r"named rule of mine \(drop:0.05\)"):
        target.with_rule("drop:0.5")
