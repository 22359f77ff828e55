"""What every attack owes, in one table: target x norm x attack; test_contract_steps_and_boxes.py has the other rows."""

from __future__ import annotations

from functools import cache
from itertools import islice, pairwise

import pytest
import torch
from attack_cases import TARGETS, Counting, attack_rows, build, few_members, images
from contract_rows import rows_of, with_one_norm
from patched import covered
from torch import Tensor

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.early_exit import deepsloth_universal
from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.gates.base import GateAttack
from torpor.attacks.gates.learned import NetworkAttack
from torpor.attacks.search.balls import spendable
from torpor.attacks.universal import Universal
from torpor.attacks.unmasked import Unmasked
from torpor.core.signals import GateSignals
from torpor.targets.early_exit.target import EarlyExitTarget

pytestmark = pytest.mark.slow

TABLE = with_one_norm(rows_of(TARGETS), ("wide", "tall"))
schedule = deepsloth_universal._schedule


@pytest.fixture(autouse=True)
def few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the table fast: few members' steps, and at most 40 steps of fitting."""
    monkeypatch.setattr(Standard, "members", property(few_members))
    monkeypatch.setattr(deepsloth_universal, "_schedule", lambda *args: islice(schedule(*args), 40))


@cache
def case(target_name: str, norm: str, name: str) -> tuple[EarlyExitTarget, Attack, Tensor, Tensor, AttackResult]:
    """Attack eight images, or three where the net is only there for its shape."""
    target = TARGETS[target_name]()
    inputs, labels = images(target, 3 if target_name in ("wide", "tall") else 8)
    attack = build(name, norm, target, len(inputs))
    return target, attack, inputs, labels, attack_rows(attack, target, inputs, labels, slice(0, 8))


def levels(images: Tensor) -> Tensor:
    return (images.to(torch.float64) * 255).round()


@pytest.mark.parametrize(("target_name", "norm", "name"), TABLE)
def test_results_are_sendable_images_within_budget(target_name: str, norm: str, name: str) -> None:
    target, attack, inputs, _, result = case(target_name, norm, name)
    assert result.inputs.shape == inputs.shape
    assert result.inputs.min() >= 0
    assert result.inputs.max() <= 1
    stored = target.space.from_bytes(target.space.to_bytes(result.inputs))
    assert stored.equal(result.inputs)
    moved = levels(result.inputs) - levels(inputs)
    if norm == "patch":
        assert (covered(moved) <= attack.eps).all()
    change = moved.flatten(1)
    radius = spendable(attack.budget, target.space) * 255 * (1 + 1e-5)
    size = {"Linf": change.abs().amax(1), "L2": change.square().sum(1).sqrt(), "L1": change.abs().sum(1)}.get(norm)
    assert size is None or (size <= radius).all()
    assert target.run(stored).work.counts.equal(result.attacked.work.counts)


@pytest.mark.parametrize(("target_name", "norm", "name"), TABLE)
def test_work_is_that_of_the_hard_target_and_never_less_than_clean(target_name: str, norm: str, name: str) -> None:
    target, _, inputs, _, result = case(target_name, norm, name)
    for row in range(len(inputs)):
        here = slice(row, row + 1)
        alone = target.run(result.inputs[here])
        assert alone.work.counts.equal(result.attacked.work.counts[here])
        assert torch.allclose(alone.outputs, result.attacked.outputs[here], atol=1e-5)
        assert target.run(inputs[here]).work.counts.equal(result.clean.work.counts[here])
    clean, attacked = target.prices.cost(result.clean.work), target.prices.cost(result.attacked.work)
    assert (attacked >= clean).all()
    kept = attacked == clean
    assert result.inputs[kept].equal(result.clean_inputs[kept])
    assert (attacked <= target.prices.cost(result.static)).all()


@pytest.mark.parametrize(("target_name", "norm", "name"), TABLE)
def test_the_target_is_left_as_it_was(target_name: str, norm: str, name: str) -> None:
    target, attack, inputs, labels, result = case(target_name, norm, name)
    for part in (module for block in target.blocks for module in block):
        assert not any(module.training for module in part.modules())
        assert all(value.grad is None and not value.requires_grad for value in part.parameters())
    assert not result.inputs.requires_grad
    again = attack_rows(attack, target, inputs, labels, slice(0, 8))
    assert again.inputs.equal(result.inputs)
    assert again.candidates.inputs.equal(result.candidates.inputs)
    assert again.candidates.forwards.equal(result.candidates.forwards)


@pytest.mark.parametrize(("target_name", "norm", "name"), [row for row in TABLE if row[0] in ("needle", "tug")])
def test_a_batch_equals_its_samples_on_toys(target_name: str, norm: str, name: str) -> None:
    target, attack, inputs, labels, whole = case(target_name, norm, name)
    cuts = (0, 1, 4, 7, 8)
    parts = [attack_rows(attack, target, inputs, labels, slice(*rows)) for rows in pairwise(cuts)]
    alike = (torch.cat([part.inputs for part in parts]) == whole.inputs).flatten(1).all(1)
    # some processors add up a batch in another order, and unit gradients of L2 spread the rounding over all pixels
    assert alike.all() if norm != "L2" else alike.sum() >= 7
    assert torch.cat([part.attacked.work.counts for part in parts]).equal(whole.attacked.work.counts)
    assert torch.cat([part.candidates.forwards for part in parts]).equal(whole.candidates.forwards)
    assert torch.cat([part.candidates.backwards for part in parts]).equal(whole.candidates.backwards)


@pytest.mark.parametrize(("target_name", "norm", "name"), [row for row in TABLE if row[0] == "digits"])
def test_a_batch_equals_its_samples_on_digits(target_name: str, norm: str, name: str) -> None:
    """Batched convolutions round differently: a pixel may end one level off, but no sample's work changes."""
    target, attack, inputs, labels, whole = case(target_name, norm, name)
    parts = [attack_rows(attack, target, inputs, labels, rows) for rows in (slice(0, 1), slice(1, 4), slice(4, 8))]
    assert torch.cat([part.attacked.work.counts for part in parts]).equal(whole.attacked.work.counts)
    together = torch.cat([part.inputs for part in parts])
    if norm == "L2":  # unit gradients spread rounding errors over all pixels, and 8-bit rounding amplifies them
        assert (together == whole.inputs).to(torch.float64).mean() > 0.9
    else:  # a random search may take another of two candidates that only differ by such an error
        same = [mine.equal(its) for mine, its in zip(together, whole.inputs, strict=True)]
        assert sum(same) >= len(same) - 1


@pytest.mark.parametrize(("target_name", "norm", "name"), [row for row in TABLE if row[0] in ("needle", "tug", "wide")])
def test_passes_are_counted_as_they_happen(
    target_name: str, norm: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, attack, inputs, labels, _ = case(target_name, norm, name)
    signals = Unmasked.signals

    def noting(self: Unmasked, inputs: Tensor) -> GateSignals:  # its backward pass is through operators that ran
        replayed = signals(self, inputs)
        replayed.margins.register_hook(lambda gradient: counting.backwards.append(len(gradient)))
        return replayed

    monkeypatch.setattr(Unmasked, "signals", noting)
    for rows in (slice(2, 3), slice(0, 3)):
        counting = Counting(target)
        result = attack_rows(attack, counting, inputs, labels, rows)
        count = len(result.inputs)
        verification = 2 * count
        assert sum(counting.runs) + sum(counting.forwards) - verification == result.candidates.forwards.sum()
        backwards = sum(counting.backwards)
        if count == 1:
            assert backwards == result.candidates.backwards.sum()
        else:  # a row that leaves after a forward pass may still be part of its neighbors' backward pass
            assert 0 <= backwards - result.candidates.backwards.sum() <= 4 * count


@pytest.mark.parametrize(("norm", "name"), [row[1:] for row in TABLE if row[0] == "digits"])
def test_another_seed_draws_other_randomness(norm: str, name: str) -> None:
    target, attack, inputs, labels, first = case("digits", norm, name)
    other = attack(target, inputs, references=labels, seed=4)
    random = not (isinstance(attack, Universal | GateAttack | NetworkAttack) or name == "control-flat")
    assert first.candidates.inputs.equal(other.candidates.inputs) is not random
