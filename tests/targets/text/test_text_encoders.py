"""Encoders of texts that exit early or skim: work against the FLOP counter, batches, rules, bounds."""

from __future__ import annotations

import pytest
import torch
from text_encoders import CODEC, LONGEST, TEXT_ENCODERS, TEXTS, exiting, routing, skimming
from torch import Tensor, nn

from torpor.core.errors import DataError, MeterError, UsageError
from torpor.core.signals import TextGateSignals
from torpor.meters.flops import counting
from torpor.targets.resolve import load_target
from torpor.targets.text.exits import TextExitTarget
from torpor.targets.text.lengths import growth
from torpor.targets.text.routed import RoutedTarget
from torpor.targets.text.skimming import SkimTarget
from torpor.zoo.text.encoder import ExitEncoder, FirstToken, SkimEncoder

RULES = ("entropy:0.75", "patience:1", "confidence:0.5", "learned:0.6")


@pytest.mark.parametrize("rule", [*RULES, "skims"])
def test_work_is_what_the_counter_counts_and_a_batch_equals_batches_of_one(rule: str) -> None:
    target = skimming() if rule == "skims" else exiting(rule)
    whole = target.run(TEXTS)
    for row, text in enumerate(TEXTS):
        with counting() as counter:
            alone = target.run((text,))
        assert target.prices.cost(alone.work).item() == counter.flops
        assert alone.work.counts.equal(whole.work.counts[row : row + 1])
        assert torch.allclose(alone.outputs, whole.outputs[row : row + 1], atol=1e-5)
    assert (whole.work.counts <= target.max_work(TEXTS).counts).all()
    assert (target.max_work(TEXTS).counts <= target.static_work().counts).all()
    assert (whole.work.counts >= target.least_work().counts).all()
    assert len({tuple(row) for row in whole.work.counts.tolist()}) > 1


@pytest.mark.parametrize("rule", [*RULES, "skims"])
def test_signals_tell_the_work_that_a_run_does(rule: str) -> None:
    target = skimming() if rule == "skims" else exiting(rule)
    signals: TextGateSignals = target.signals(TEXTS)
    assert signals.work.counts.equal(target.run(TEXTS).work.counts)
    assert signals.embeddings is not None
    assert signals.input_mask is not None
    cost = signals.margins.relu().sum() if signals.expected is None else signals.expected.sum()
    (gradient,) = torch.autograd.grad(cost, signals.embeddings)
    assert gradient[signals.input_mask].abs().sum() > 0
    past = (signals.input_ids == 0) & ~signals.input_mask
    assert gradient[past].abs().sum() == 0


def test_an_exit_answers_as_its_own_head_does() -> None:
    target = exiting()
    outcome = target.run(TEXTS)
    logits = target.signals(TEXTS).exit_logits
    taken = target.exits(outcome.work)
    assert torch.allclose(outcome.outputs, logits[torch.arange(len(TEXTS)), taken], atol=1e-5)
    assert set(taken.tolist()) != {len(target.layers) - 1}


def test_layers_after_the_exit_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    target = exiting()
    ran: list[int] = []
    for layer in target.layers:
        layer.register_forward_hook(lambda module, inputs, output: ran.append(len(output)))
    taken = target.exits(target.run(TEXTS).work)
    assert sum(ran) == int((taken + 1).sum())


def test_tokens_that_are_dropped_leave_the_computation() -> None:
    target = skimming()
    rows: list[int] = []
    for layer in target.module.layers:
        layer.fc1.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    ran, most = target.tokens_run(target.run(TEXTS).work)
    assert sum(rows) == int(ran.sum()) < int(most.sum())


def test_caps_are_rungs_of_the_same_units() -> None:
    target = exiting("entropy:0.01")
    for rung in range(target.rungs()):
        capped = target.at_rung(rung)
        assert capped.units == target.units
        work = capped.run(TEXTS).work
        assert set(capped.exits(work).tolist()) == {len(target.layers) - 1 - rung}
        assert work.counts.equal(capped.max_work(TEXTS).counts)
        assert capped.signals(TEXTS).work.counts.equal(work.counts)
        assert capped.fingerprint() != target.fingerprint() or rung == 0


def test_the_learned_rule_is_part_of_the_work_and_needs_a_classifier() -> None:
    target = exiting()
    learned = target.with_rule("learned:0.5")
    assert learned.units[0].flops == target.units[0].flops + 2 * 8  # type: ignore[operator]
    assert learned.run(TEXTS).outputs.shape == target.run(TEXTS).outputs.shape
    del target.module.certainty
    with pytest.raises(UsageError, match="classifier of certainty"):
        target.with_rule("learned:0.5")


@pytest.mark.parametrize(("rule", "says"), [("learned:x", "learned:0.9"), ("drop:0.5", "named rule"), ("a:1", "rule")])
def test_rules_that_are_none_are_refused(rule: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        exiting().with_rule(rule)


def test_modules_that_do_not_fit_are_refused() -> None:
    short = ExitEncoder(CODEC.size, dim=8, depth=3, heads=2, longest=LONGEST)
    short.heads = short.heads[:2]
    with pytest.raises(UsageError, match="as many layers as heads"):
        TextExitTarget(short, CODEC, "entropy:0.5", longest=LONGEST)
    wide = ExitEncoder(CODEC.size, dim=8, depth=2, heads=2, longest=LONGEST)
    wide.heads[1] = nn.Identity()
    with pytest.raises(UsageError, match="head 1"):
        TextExitTarget(wide, CODEC, "entropy:0.5", longest=LONGEST)
    bare = SkimEncoder(CODEC.size, dim=8, depth=2, heads=2, longest=LONGEST)
    bare.skims = bare.skims[:1]
    with pytest.raises(UsageError, match="one predictor per layer"):
        SkimTarget(bare, CODEC, longest=LONGEST)


def test_targets_have_names_and_need_only_to_know_the_longest_text() -> None:
    toys = exiting(), skimming(), routing()
    made = (
        TextExitTarget(toys[0].module, CODEC, "entropy:0.5", longest=LONGEST),
        SkimTarget(toys[1].module, CODEC, longest=LONGEST),
        RoutedTarget(toys[2].module, CODEC, 0.0, longest=LONGEST),
    )
    assert [target.name for target in made] == ["early-exit-text", "skimming", "router"]
    for target, toy in zip(made, toys, strict=True):
        assert (target.device, target.source, target.longest) == (torch.device("cpu"), None, LONGEST)
        assert target.units == toy.units


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_texts_that_are_none_are_refused(name: str) -> None:
    target = TEXT_ENCODERS[name]()
    for text in ("", "a" * 200, "a</s>"):
        with pytest.raises(DataError, match="expected"):
            target.run((text,))


def test_a_layer_whose_work_grows_otherwise_is_refused() -> None:
    class Windows(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            padded = nn.functional.pad(tokens, (0, 0, 0, -tokens.shape[1] % 8))
            return (padded @ torch.eye(8))[:, : tokens.shape[1]]

    module = ExitEncoder(CODEC.size, dim=8, depth=2, heads=2, longest=LONGEST)
    module.layers[1] = Windows()
    with pytest.raises(MeterError, match=r"layer 1 .* without padding or windows"):
        TextExitTarget(module, CODEC, "entropy:0.5", longest=LONGEST)
    with pytest.raises(MeterError, match="on 64 tokens"):
        growth(lambda tokens: tokens**3, 64, "a cube")


def test_a_rule_on_the_command_line_is_for_targets_that_leave() -> None:
    assert load_target("text_encoders:exiting", rule="patience:2").details()["rule"] == "3 exits in a row agree"
    with pytest.raises(UsageError, match="early-exit target with --rule"):
        load_target("text_encoders:skimming", rule="patience:2")


def test_probes_do_the_work_that_they_say() -> None:
    for make in TEXT_ENCODERS.values():
        target = make()
        for work, call in target.probes(TEXTS[2:3]):
            with counting() as counter:
                call()
            assert target.prices.cost(work).item() == counter.flops


def test_classifiers_read_the_first_token() -> None:
    tokens = torch.randn(2, 3, 8)
    head = FirstToken(8, 4)
    changed = tokens.clone()
    changed[:, 1:] = 0
    assert head(tokens).equal(head(changed))
