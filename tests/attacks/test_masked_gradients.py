"""No masking of gradients ends an attack, or makes a network seem cheap."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from attack_cases import FEW, images
from benchmarks.masked import FRONTS, HEADS, masked
from torch import Tensor

from torpor.attacks.base import AttackResult
from torpor.attacks.early_exit.square import PersistentSquare, Square
from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.iterative import gradient_of
from torpor.attacks.registry import ATTACKS
from torpor.attacks.text.engorgio import Engorgio
from torpor.core.errors import UsageError
from torpor.core.signals import CandidateSignals, StepSignals
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.early_exit.exit_rules import Patience
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.toys import needle
from torpor.zoo.registry import sdn_digits

MASKS = (*FRONTS, *HEADS, "detached-heads", "detached-bodies", "saturated", "in-place")
DEAD = ("detached", "no-grad", "four-bits", "floored", "nan", "infinite", "unable", "outside", "rearranged-outside")
GRADIENT_ATTACKS = ("deepsloth", "pgd", "pgd-avg", "pgd-max", "deepsloth-universal", "uap")
EPS = 16 / 255


def headroom(target: EarlyExitTarget, result: AttackResult) -> float:
    clean, cost, static = (
        target.prices.cost(work) for work in (result.clean.work, result.attacked.work, result.static)
    )
    room = clean < static
    return ((cost - clean) / (static - clean))[room].mean().item()


@pytest.mark.parametrize("how", MASKS)
@pytest.mark.parametrize("name", GRADIENT_ATTACKS)
def test_no_gradient_attack_ends_in_an_error(how: str, name: str) -> None:
    target = masked(needle(), how)
    inputs, labels = images(needle(), 3)
    few: dict[str, Any] = {"steps": 4} if name in FEW or name.startswith("pgd") else {}
    attack = ATTACKS.find(name)(eps=0.1, **few)
    result = attack.fit(target, inputs)(target, inputs, references=labels)
    assert result.candidates.inputs.isfinite().all()
    if how in DEAD:
        assert result.candidates.zero_gradient is not None
        assert result.candidates.zero_gradient.all()


@pytest.mark.parametrize("how", MASKS)
def test_the_ensemble_finds_what_there_is_under_every_masking(how: str) -> None:
    target = masked(needle(), how)
    inputs = target.space.snap(torch.full((3, 1, 4, 4), 0.74))
    depth = Standard(eps=0.24)(target, inputs).attacked.work.counts.sum(1)
    static = [4] * 3 if how != "saturated" else [1] * 3  # whose windows are narrower than a level
    assert depth.tolist() == static


@cache
def digits() -> tuple[EarlyExitTarget, Tensor, Tensor]:
    target = sdn_digits()
    return target, *images(target, 4)


@cache
def unmasked() -> AttackResult:
    target, inputs, labels = digits()
    return Standard(eps=EPS)(target, inputs, references=labels)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["reversed", "detached", "rounded-logits", "outside"])
def test_as_much_is_found_as_without_the_masking(how: str) -> None:
    target, inputs, labels = digits()
    hidden = masked(target, how)
    found = Standard(eps=EPS)(hidden, inputs, references=labels)
    assert headroom(hidden, found) >= headroom(target, unmasked()) - 0.03
    assert found.candidates.zero_gradient is not None
    assert not found.candidates.zero_gradient.any()


@pytest.mark.slow
def test_what_is_rearranged_outside_of_torch_is_searched_as_well_as_by_three_thousand_queries_and_flagged() -> None:
    target, inputs, labels = digits()
    hidden = masked(target, "rearranged-outside")
    found = Standard(eps=EPS)(hidden, inputs, references=labels)
    square = Square(eps=EPS, queries=3000)(hidden, inputs)
    mine, theirs = (each.attacked.work.counts.sum() for each in (found, square))
    assert mine >= theirs - 1  # two random searches: at most one part of the network, in one image of four
    flags = found.candidates
    assert flags.zero_gradient is not None
    assert flags.black_box_won is not None
    assert flags.zero_gradient[found.attacked.work.counts.sum(1) < 6].all()
    assert flags.black_box_won.to(torch.float32).mean() > 0.3


def test_the_search_without_gradients_is_short_where_gradients_are_right() -> None:
    found = unmasked()
    assert found.candidates.black_box_won is not None
    assert not found.candidates.black_box_won.any()
    assert found.candidates.forwards.to(torch.float32).mean() < 1500


def test_saturated_patience_keeps_its_gradient() -> None:
    target, inputs, labels = digits()
    figures = [
        headroom(each, Standard(eps=EPS)(each, inputs, references=labels))
        for each in (masked(target, how, Patience(2)) for how in ("plain", "saturated"))
    ]
    assert figures[0] > 0.8
    assert figures[1] >= 0.9 * figures[0]


def test_a_search_that_gains_nothing_ends_after_a_window_and_one_that_gains_goes_on() -> None:
    target = needle()
    far = target.space.snap(torch.full((2, 1, 4, 4), 0.95))
    spent = PersistentSquare(eps=2 / 255)(target, far).candidates.forwards
    assert (spent <= 601).all()
    with pytest.raises(UsageError, match=r"rivals of shape \[2, 1, 4, 4\], got \[1, 1, 4, 4\]"):
        PersistentSquare(eps=0.1, rivals=far[:1])(target, far)


def test_the_ensemble_treats_a_batch_like_its_samples() -> None:
    target = masked(needle(), "detached")
    inputs, labels = images(needle(), 2)
    whole = Standard(eps=0.05)(target, inputs, references=labels)
    for row in range(2):
        alone = Standard(eps=0.05)(target, inputs[row : row + 1], references=labels[row : row + 1])
        assert alone.inputs.equal(whole.inputs[row : row + 1])
        assert alone.candidates.forwards.equal(whole.candidates.forwards[row : row + 1])


def test_inputs_survive_networks_that_work_in_place() -> None:
    target = masked(needle(), "in-place")
    inputs = needle().space.snap(torch.rand(2, 1, 4, 4))
    before = inputs.clone()
    target.run(inputs)
    target.signals(inputs)
    assert inputs.equal(before)


class StopGradientText(ToyText):
    """A language model whose logits have no gradient."""

    def signals(self, inputs: Sequence[str]) -> StepSignals:
        signals = super().signals(inputs)
        object.__setattr__(signals, "logits", signals.logits.detach())
        return signals

    def soft_logits(self, embeddings: Tensor) -> Tensor:
        return super().soft_logits(embeddings).detach()


class StopGradientLamps(LampTarget):
    """A detector whose boxes and scores have no gradient."""

    def signals(self, inputs: Tensor) -> CandidateSignals:
        signals = super().signals(inputs)
        return CandidateSignals(signals.boxes.detach(), signals.scores.detach(), signals.work)


WITHOUT_STEPS = ("nmtsloth-token", "dgslow", "ttslow")


@pytest.mark.parametrize("name", [*WITHOUT_STEPS, "loopllm", "coercing-llms", "excessive-reasoning"])
def test_texts_are_searched_without_gradients_too(name: str) -> None:
    few: dict[str, Any] = {} if name in WITHOUT_STEPS else {"steps": 2, "candidates": 5}
    target, texts = StopGradientText(), ("a cat", "two dogs run")
    found = ATTACKS.find(name)(norm=ATTACKS.find(name).norms[0], eps=2, **few)(target, texts).candidates
    assert found.zero_gradient is not None
    assert found.zero_gradient.all()


def test_a_trigger_is_learned_without_the_target_s_gradients() -> None:
    texts: Any = ("a cat",)
    learned = Engorgio(eps=5, steps=10, tail=20).fit(StopGradientText(), texts).learned
    assert learned is not None
    assert learned.zero_gradient


@pytest.mark.parametrize("name", ["overload", "daedalus", "phantom-sponges"])
def test_detectors_are_searched_without_gradients_too(name: str) -> None:
    target = StopGradientLamps()
    samples = torch.rand(2, *target.space.shape, generator=torch.Generator().manual_seed(0))
    few: dict[str, Any] = {"epochs": 2} if name == "phantom-sponges" else {"steps": 3}
    found = ATTACKS.find(name)(eps=0.1, **few).fit(target, samples)(target, samples).candidates
    assert found.zero_gradient is not None
    assert found.zero_gradient.all()


def test_gradients_that_are_no_numbers_count_as_zero() -> None:
    point = torch.tensor([1.0, 0.0], requires_grad=True)
    assert gradient_of(point.sqrt().sum(), point).tolist() == [0.5, 0.0]
    assert gradient_of(torch.ones(1, requires_grad=True).sum(), point).tolist() == [0.0, 0.0]
