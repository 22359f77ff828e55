"""The curve of the best so far: what a log of everything that the target ran says of it, too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attack_cases import few_members, images, random_net
from torch import Tensor

from torpor.attacks.base import AttackResult
from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.registry import load_attack
from torpor.attacks.search.incumbent import Improvement, Incumbent, rising
from torpor.attacks.text.standard import StandardText
from torpor.core.work import Outcome
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.early_exit.target import EarlyExitTarget

Steps = list[tuple[int, float]]


def log_of(target: EarlyExitTarget, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Return what fills up with the passes and the cost of each candidate of one sample, as the target runs them."""
    log: Steps = []
    run, signals = target.run, target.signals

    def logged_run(inputs: Tensor) -> Outcome:
        outcome = run(inputs)
        log.append((1, float(target.prices.cost(outcome.work))))
        return outcome

    def logged_signals(inputs: Tensor) -> Any:  # noqa: ANN401
        found = signals(inputs)
        log.append((1 + (len(log) > 1), float(target.prices.cost(found.work))))  # the backward pass that led there
        return found

    monkeypatch.setattr(target, "run", logged_run)
    monkeypatch.setattr(target, "signals", logged_signals)
    return log


def rises(log: Steps, clean: float) -> Steps:
    """Return where the costs of a log rise above all before, with the passes by then."""
    found, passes, best = [], 0, clean
    for spent, cost in log:
        passes += spent
        if cost > best:
            found.append((passes, cost))
            best = cost
    return found


def pairs(result: AttackResult, row: int = 0) -> Steps:
    assert result.curves is not None
    return [(point.passes, point.cost) for point in result.curves[row]]


@pytest.mark.parametrize("name", ["square:queries=60", "deepsloth:steps=10"])
def test_a_curve_is_what_a_log_of_the_target_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = random_net(4, (1, 6, 6))
    inputs, _ = images(target, 6)
    rose = 0
    for row in range(6):
        with monkeypatch.context() as patch:
            log = log_of(target, patch)
            attack = load_attack(name, norm="Linf", eps=0.2)
            result = attack(target, inputs[row : row + 1])
        searched, clean = log[1:-1], log[0][1]  # the clean run before, and the verification after
        assert pairs(result) == rises(searched, clean)
        rose += len(pairs(result))
    assert rose > 2


@pytest.mark.parametrize("name", ["standard", "square", "deepsloth", "control-noise"])
def test_curves_rise_to_the_verified_cost_and_are_equal_in_any_batch(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Standard, "members", property(few_members))
    target = random_net(4, (1, 6, 6))
    inputs, _ = images(target, 4)
    attack = load_attack(name, norm="Linf", eps=0.1)
    result = attack(target, inputs)
    assert result.curves is not None
    spent = (result.candidates.forwards + result.candidates.backwards).tolist()
    clean, cost = (target.prices.cost(each.work).tolist() for each in (result.clean, result.attacked))
    for row, curve in enumerate(result.curves):
        costs = [clean[row], *(point.cost for point in curve)]
        assert costs == sorted(set(costs))
        assert costs[-1] == cost[row]
        assert all(1 <= point.passes <= max(1, spent[row]) for point in curve)
        assert [point.passes for point in curve] == sorted({point.passes for point in curve})
        alone = attack(target, inputs[row : row + 1])
        assert alone.curves is not None
        assert alone.curves[0] == curve
    if name == "standard":
        members = {point.member for curve in result.curves for point in curve}
        assert members
        assert members <= {member.id for member in Standard().members}


def test_texts_are_priced_as_they_run() -> None:
    target, texts = ToyText(), ("a cat 4", "the dog", "2 birds")
    found = load_attack("standard-text", norm="chars", eps=2)
    assert isinstance(found, StandardText)
    for attack in (found, load_attack("nmtsloth-char", norm="chars", eps=2), load_attack("sponge-genetic", epochs=3)):
        result = attack(target, texts)
        assert result.curves is not None
        for row, curve in enumerate(result.curves):
            cost = float(target.prices.cost(result.attacked.work)[row])
            assert not curve or curve[-1].cost == cost
            names = {point.member for point in curve}
            assert names <= ({member.id for member in found.ensemble} if attack is found else {""})
        assert any(map(len, result.curves))


def test_what_a_search_offers_at_its_end_rises_at_the_passes_of_its_own_curve() -> None:
    held = Incumbent.begin(torch.zeros(1, 1))
    one = torch.tensor([0])
    held.offer(one, torch.ones(1, 1), torch.tensor([3.0]), queries=2, backwards=1)
    curve = [Improvement(1, 2.0), Improvement(2, 4.0), Improvement(5, 6.0, "inner")]
    held.offer(one, torch.ones(1, 1), torch.tensor([5.0]), queries=9, curves=[curve], member="outer")
    assert held.curves == [[Improvement(3, 3.0), Improvement(5, 4.0, "outer"), Improvement(8, 5.0, "inner")]]


def test_what_only_the_verification_knows_comes_last() -> None:
    assert rising([], 1.0, 2.0, 0) == (Improvement(1, 2.0),)
    assert rising([Improvement(3, 9.0)], 1.0, 1.0, 7) == ()
    many = rising([Improvement(passes, float(passes)) for passes in range(1, 500)], 0.0, 499.0, 600)
    assert len(many) == 64
    assert (many[0].passes, many[-1].passes) == (1, 499)
