"""Attacks against targets whose worst case is known, and attacks that learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attack_cases import images, noise, random_net
from benchmarks.masked import rearranged_outside
from contract_rows import own_attacks
from hypothesis import given, settings
from hypothesis import strategies as st
from text_encoders import TEXT_ENCODERS, routing
from token_toys import TOKEN_TARGETS
from torch import Tensor

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.controls.dense import BestNoise, Shuffled
from torpor.attacks.controls.text import BestOfK
from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.attacks.early_exit.deepsloth_universal import DeepSlothClassUniversal, DeepSlothUniversal
from torpor.attacks.early_exit.pgd import PGD
from torpor.attacks.early_exit.square import Square
from torpor.attacks.early_exit.standard import Standard
from torpor.attacks.early_exit.uap import deepfool
from torpor.attacks.registry import ATTACKS, attack_ids, load_attack
from torpor.attacks.search.balls import Ball
from torpor.attacks.search.optimizers import Project, ShrinkingBall, State
from torpor.core.errors import DataError, UsageError
from torpor.targets.base import Target
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.toys import WindowTarget, needle, tug

LABEL = torch.tensor([0])


def wider(target: WindowTarget, factor: float) -> WindowTarget:
    """Scale every window: one in 10,000 is more than float32 can blur."""
    return WindowTarget(target.centers, [width * factor for width in target.widths])


@st.composite
def toy_images(draw: st.DrawFn) -> Tensor:
    mean, spread, seed = draw(st.floats(0, 1)), draw(st.floats(0, 0.5)), draw(st.integers(0, 2**20))
    noise = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) - 0.5
    return needle().space.snap(mean + spread * noise)


@settings(max_examples=25)
@given(toy_images(), st.floats(1 / 255, 0.5), st.sampled_from([needle, tug]), st.sampled_from(["deepsloth", "square"]))
def test_no_attack_beats_the_closed_form_worst_case(inputs: Tensor, eps: float, make: type, name: str) -> None:
    target: WindowTarget = make()
    attack = DeepSloth(eps=eps) if name == "deepsloth" else Square(eps=eps, queries=60)
    depth = attack(target, inputs).attacked.work.counts.sum(1)
    assert (depth <= wider(target, 1.0001).worst_depth(inputs, eps)).all()


@pytest.mark.parametrize("make", [needle, tug])
@pytest.mark.parametrize("eps", [8 / 255, 0.1, 0.3])
def test_standard_reaches_the_worst_case_of_most_samples(make: type, eps: float) -> None:
    target: WindowTarget = make()
    inputs, labels = images(target, 24)
    result = Standard(eps=eps)(target, inputs, references=labels)
    depth = result.attacked.work.counts.sum(1)
    assert (depth <= wider(target, 1.0001).worst_depth(inputs, eps)).all()
    reached = depth >= wider(target, 0.97).worst_depth(inputs, eps)
    assert reached.to(torch.float64).mean() >= 0.9
    assert eps < 0.1 or (depth > result.clean.work.counts.sum(1)).any()


def test_the_closed_form_is_what_brute_force_finds() -> None:
    for target in (needle(2), tug(2)):
        inputs = target.space.snap(torch.linspace(0, 1, 40).view(40, 1, 1, 1).expand(40, 1, 2, 2).contiguous())
        for eps in (5 / 255, 30 / 255):
            shifts = torch.arange(-int(eps * 255), int(eps * 255) + 1) / 255
            depths = torch.stack(
                [target.run(target.space.snap(inputs + shift)).work.counts.sum(1) for shift in shifts]
            ).amax(0)
            assert (depths <= wider(target, 1.0001).worst_depth(inputs, eps)).all()
            assert (depths >= wider(target, 0.97).worst_depth(inputs, eps)).all()


@pytest.mark.parametrize("mean", [0.36, 0.64])
@pytest.mark.parametrize("name", ["deepsloth", "square", "standard", "deepsloth-universal"])
def test_attacks_move_pixels_both_up_and_down(mean: float, name: str) -> None:
    target = needle()
    flat = target.space.snap(torch.full((4, 1, 4, 4), mean))
    attack = load_attack(name, eps=0.15).fit(target, flat)
    result = attack(target, flat[:1], references=LABEL)
    assert result.attacked.work.counts.sum() == 4
    assert ((result.inputs - flat[:1]).mean().item() > 0) is (mean < 0.5)


def test_square_finds_what_gradients_hide() -> None:
    """Inputs that were rearranged outside of torch have no gradient: only the attack that needs none finds any."""

    class Masked(WindowTarget):
        def signals(self, inputs: Tensor):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return super().signals(rearranged_outside(inputs) + 0 * inputs)

    target = Masked([0.5, 0.5], [0.2, 0.1])
    inputs = target.space.snap(torch.full((3, 1, 4, 4), 0.74))
    result = Standard(eps=0.2)(target, inputs)
    assert result.attacked.work.counts.sum(1).tolist() == [3, 3, 3]
    assert result.candidates.black_box_won is not None
    assert result.candidates.black_box_won.all()
    assert result.candidates.zero_gradient is not None
    assert result.candidates.zero_gradient.all()


@pytest.mark.parametrize("name", [kind.id for kind in own_attacks() if kind.learns])
def test_universal_attacks_refuse_to_attack_before_they_are_fitted(name: str) -> None:
    attack = load_attack(name)
    known = (
        (needle(), torch.zeros(1, 1, 4, 4)),
        (ToyText(), ("a cat",)),
        (LampTarget(), torch.zeros(1, 1, 16, 24)),
        (TOKEN_TARGETS["halting"](), torch.zeros(1, 1, 8, 8)),
        (TEXT_ENCODERS["text-exits"](), ("a cat",)),
        (routing(), ("a cat",)),
    )
    target, inputs = next(pair for pair in known if attack.applies_to(pair[0]))
    with pytest.raises(UsageError, match="expected a fitted attack"):
        attack(target, inputs)


def test_controls_are_matched_to_the_same_batch() -> None:
    target = needle()
    inputs, _ = images(target, 4)
    with pytest.raises(UsageError, match=r"of shape \[4, 1, 4, 4\], got \[8, 1, 4, 4\]"):
        Shuffled(eps=0.1, perturbation=noise("Linf", 0.1, inputs.repeat(2, 1, 1, 1)))(target, inputs)


def test_class_universal_needs_references_and_keeps_classes_apart() -> None:
    target = needle()
    attack = DeepSlothClassUniversal(eps=0.15)
    flat = target.space.snap(torch.tensor([0.36, 0.64] * 3).view(6, 1, 1, 1).expand(6, 1, 4, 4).contiguous())
    with pytest.raises(UsageError, match="needs references"):
        attack.fit(target, flat)
    fitted = attack.fit(target, flat, references=torch.tensor([0, 1] * 3))
    assert fitted.learned is not None
    assert not fitted.learned.zero_gradient
    up, down = (part.mean().item() for part in fitted.learned.perturbations)
    assert up > 0.05
    assert down < -0.05
    both = fitted(target, flat[:2], references=torch.tensor([0, 1]))
    assert both.attacked.work.counts.sum(1).tolist() == [4, 4]
    swapped = fitted(target, flat[:2], references=torch.tensor([1, 0]))
    assert swapped.attacked.work.counts.sum(1).tolist() == swapped.clean.work.counts.sum(1).tolist()


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_universal_perturbations_belong_to_the_budget_and_to_no_image(norm: str) -> None:
    target = random_net(3, (1, 6, 8), seed=2)
    inputs, _ = images(target, 6)
    eps = {"Linf": 0.1, "L2": 0.6, "L1": 3.0}[norm]
    fitted = DeepSlothUniversal(norm=norm, eps=eps).fit(target, inputs[3:], seed=1)
    assert fitted.learned is not None
    delta = fitted.learned.perturbations
    assert tuple(delta.shape) == (1, 1, 6, 8)
    length = {"Linf": delta.abs().max(), "L2": delta.norm(), "L1": delta.abs().sum()}[norm]
    assert 0.3 * eps < length <= eps * (1 + 1e-5)
    result = fitted(target, inputs[:3])
    assert result.candidates.inputs.equal(result.clean_inputs + delta)
    again = DeepSlothUniversal(norm=norm, eps=eps).fit(target, inputs[3:], seed=1).learned
    assert again is not None
    assert again.perturbations.equal(delta)


def test_few_fitting_images_do_not_cut_the_l2_schedule_short(monkeypatch: pytest.MonkeyPatch) -> None:
    radii: list[float] = []
    moves: list[float] = []
    radius_of, step_of = ShrinkingBall.radius, ShrinkingBall.step

    def spy(self: ShrinkingBall, step: int, eps: float) -> float:
        radii.append(radius_of(self, step, eps))
        return radii[-1]

    def measure(
        self: ShrinkingBall,
        ball: Ball,
        delta: Tensor,
        gradient: Tensor,
        loss: Tensor,
        step: int,
        state: State,
        to: Project,
    ) -> Tensor:
        moves.append(
            (step_of(self, ball, delta, gradient, loss, step, state, lambda moved: moved) - delta).norm().item()
        )
        return step_of(self, ball, delta, gradient, loss, step, state, to)

    monkeypatch.setattr(ShrinkingBall, "radius", spy)
    monkeypatch.setattr(ShrinkingBall, "step", measure)
    DeepSlothUniversal(norm="L2", eps=0.4).fit(needle(), torch.full((3, 1, 4, 4), 0.8))
    assert max(radii) == pytest.approx(0.4 / 0.9**10)
    assert min(radii) == pytest.approx(0.4)
    assert len({round(radius, 6) for radius in radii}) == 11
    first = 0.1 * 0.4 / 0.9**10
    assert [moves[0], moves[50], moves[-1]] == pytest.approx([first, first * 0.9, first * 0.9**10], rel=1e-4)


def test_deepfool_crosses_the_boundary_of_the_final_classifier() -> None:
    target = random_net(2, (1, 5, 7), seed=4)
    image = torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    label = int(target.signals(image).exit_logits[0, -1].argmax())
    passes = [0, 0]
    change = deepfool(target, image, label, passes)
    assert 0 < passes[0] < passes[1]
    assert int(target.signals(image + change).exit_logits[0, -1].argmax()) != label
    assert int(target.signals(image + 0.5 * change).exit_logits[0, -1].argmax()) == label


def test_pgd_lowers_accuracy(digits_target: EarlyExitTarget, digits_test: tuple[Tensor, Tensor]) -> None:
    inputs, labels = digits_test[0][:32], digits_test[1][:32]
    found = PGD(eps=0.15)(digits_target, inputs, references=labels).candidates.inputs
    right = [
        (digits_target.signals(batch).exit_logits[:, -1].argmax(-1) == labels).to(torch.float64).mean().item()
        for batch in (inputs, found)
    ]
    assert right[1] < 0.5 < right[0]


class Liar(Attack):
    """Returns whatever it was told to, budget or not."""

    id = "liar"
    paper = None

    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Candidates(torch.full_like(inputs, float("nan") if self.eps > 0.9 else 0.5), nothing, nothing)


def test_the_call_trusts_no_search() -> None:
    inputs = needle().space.snap(torch.full((1, 1, 4, 4), 0.9))
    result = Liar(eps=0.1)(needle(), inputs)
    assert result.inputs.equal(inputs)
    assert result.attacked.work.counts.sum() == 1
    assert Liar(eps=0.5)(needle(), inputs).attacked.work.counts.sum() == 4
    with pytest.raises(UsageError, match="expected finite candidates"):
        Liar(eps=0.95)(needle(), inputs)
    with pytest.raises(UsageError, match="one reference per input, got 2 for 1"):
        DeepSloth()(needle(), inputs, references=torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UsageError, match="at least 1/255"):
        DeepSloth(eps=0.003)(needle(), inputs)
    with pytest.raises(DataError):
        DeepSloth()(needle(), inputs + 1)


def test_attacks_are_plain_values() -> None:
    assert DeepSloth() == DeepSloth()
    assert hash(DeepSloth()) == hash(DeepSloth())
    assert DeepSloth(eps=0.1) != DeepSloth()
    for name in set(attack_ids()) - {Shuffled.id, BestNoise.id, BestOfK.id}:
        attack = load_attack(name)
        assert attack.id == name
        assert f"eps={ATTACKS.find(name).default_budget().eps}" in repr(attack)
        assert hash(attack) == hash(load_attack(name))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sloth", {}, "expected an attack by its name or as .*, got 'sloth'; did you mean deepsloth"),
        ("DeepSlot", {}, r"got 'DeepSlot'; did you mean deepsloth\? see: torpor list attacks$"),
        ("control-shuffled", {}, "expected perturbation for control-shuffled, got none; audits add this control"),
        ("square", {"steps": 3}, "no number of steps for square"),
        ("deepsloth", {"steps": 0}, "1 step or more"),
        ("deepsloth", {"norm": "L0"}, "expected norm"),
        ("deepsloth", {"eps": "x"}, "expected eps"),
    ],
)
def test_impossible_settings_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_attack(name, **options)
