"""Patches: whole pixels within a share of the area, and nothing else changes, whatever the image's shape."""

from __future__ import annotations

import math

import pytest
import torch
from attack_cases import images
from hypothesis import assume, given
from hypothesis import strategies as st
from patched import covered
from torch import Tensor

from torpor.attacks.base import Attack
from torpor.attacks.controls.dense import Flat, Noise, Shuffled
from torpor.attacks.early_exit.deepsloth_universal import DeepSlothUniversal
from torpor.attacks.early_exit.square import Square
from torpor.attacks.registry import load_attack
from torpor.attacks.search.balls import ball_of, check_budget, confine, spendable
from torpor.attacks.search.frames import PerFrame
from torpor.attacks.search.incumbent import Incumbent
from torpor.attacks.search.patches import Patch
from torpor.core.budget import PATCHES, Budget, budget_text, eps_text
from torpor.core.errors import UsageError
from torpor.core.patches import PLACES, sides
from torpor.core.space import DenseSpace, FeatureSpace, ImageSpace, VideoSpace, WaveSpace
from torpor.targets.early_exit.toys import WindowTarget, needle

SHARES = st.floats(1e-3, 1)
LENGTHS = st.integers(1, 40)


@given(share=SHARES, height=LENGTHS, width=LENGTHS)
def test_a_patch_is_the_largest_square_of_at_most_the_share_or_a_column_more(
    share: float, height: int, width: int
) -> None:
    rows, columns = sides(share, height, width)
    assert rows * columns <= share * height * width * (1 + 1e-9)
    assert rows <= height
    assert columns <= width
    side = min(math.isqrt(math.floor(share * height * width)), height, width)
    assert min(rows, columns) >= side
    square = abs(rows - columns) <= 1
    assert square or rows == height or columns == width


@given(shares=st.tuples(SHARES, SHARES), height=LENGTHS, width=LENGTHS, norm=st.sampled_from(PATCHES))
def test_a_smaller_patch_lies_within_a_larger_one(
    shares: tuple[float, float], height: int, width: int, norm: str
) -> None:
    less, more = (Patch(share, PLACES[norm]).window(height, width) for share in sorted(shares))
    if less[0].start == less[0].stop:
        return
    for inner, outer in zip(less, more, strict=True):
        assert outer.start <= inner.start
        assert inner.stop <= outer.stop
    assert Budget(norm, max(shares)).contains(Budget(norm, min(shares)))


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(2, 12), st.integers(2, 12)),
    frames=st.integers(0, 3),
    share=st.floats(0.05, 1),
    norm=st.sampled_from(PATCHES),
    seed=st.integers(0, 2**31),
)
def test_pixels_outside_never_change_and_those_inside_may_be_any(
    shape: tuple[int, int, int], frames: int, share: float, norm: str, seed: int
) -> None:
    space: DenseSpace = VideoSpace((frames, *shape)) if frames else ImageSpace(shape)
    budget, rng = Budget(norm, share), torch.Generator().manual_seed(seed)
    clean = space.snap(torch.rand(2, *space.shape, generator=rng))
    wanted = torch.rand(2, *space.shape, generator=rng) * 3 - 1
    sent, used = confine(space, clean, wanted, budget)
    assert space.from_bytes(space.to_bytes(sent)).equal(sent)
    rows, columns = Patch(share, PLACES[norm]).window(*shape[1:])
    inside = torch.zeros(shape[1:], dtype=torch.bool)
    inside[rows, columns] = True
    assume(inside.any())  # less than one pixel is refused before
    assert inside.sum() <= share * inside.numel() * (1 + 1e-9)
    assert sent[..., ~inside].equal(clean[..., ~inside])
    assert torch.allclose(sent[..., inside], space.clamp(wanted)[..., inside], atol=1.001 / 255)
    assert (used <= 1).all()
    assert not confine(space, clean, clean, budget)[1].any()


@pytest.mark.parametrize("norm", PATCHES)
def test_what_is_used_is_the_share_of_the_patch_that_changed(norm: str) -> None:
    space = ImageSpace((3, 8, 6))
    clean = torch.zeros(2, 3, 8, 6)
    moved = clean.clone()
    ball = ball_of(Budget(norm, 0.25), space)
    ball.free(moved)[0, 1, :, 0] = 1 / 255  # one channel of one of three columns, by one level
    ball.free(moved)[1] = 1
    assert confine(space, clean, moved, Budget(norm, 0.25))[1].tolist() == [pytest.approx(1 / 4), 1]
    assert spendable(Budget(norm, 0.25), space) == 12 / 48
    assert sides(0.25, 8, 6) == (3, 4)


def test_norms_are_in_units_of_the_share_and_infinite_outside() -> None:
    ball, delta = Patch(0.25), torch.zeros(3, 1, 4, 4)
    delta[0, 0, 0, 0], delta[1, 0, 1, 1], delta[2, 0, 3, 3] = 1.0, -0.5, 0.01
    assert ball.norm(delta).tolist() == [0.25, 0.125, torch.inf]
    steepest = ball.steepest(torch.ones(1, 1, 4, 4))
    assert ball.norm(steepest).item() == 1
    assert ball.even(0.25, delta) == 1
    assert covered(ball.random([torch.Generator()], 0.25, delta[:1])).item() == 0.25


def test_a_patch_of_a_video_holds_for_each_frame() -> None:
    space = VideoSpace((2, 1, 4, 4))
    ball = ball_of(Budget("patch", 0.25), space)
    assert isinstance(ball, PerFrame)
    drawn = ball.spent([torch.Generator().manual_seed(1)], 0.25, torch.zeros(1, *space.shape))
    assert covered(drawn[0]).tolist() == [0.25, 0.25]
    assert drawn.abs().sum() == 8
    shown = ball.common(torch.ones(1, 1, 4, 4), torch.full((1, *space.shape), 0.25))
    assert shown.sum() == 8 * 0.75


@pytest.mark.parametrize("space", [WaveSpace((64,)), FeatureSpace((8, 8))], ids=["wave", "features"])
def test_sounds_have_no_patches(space: DenseSpace) -> None:
    with pytest.raises(UsageError, match="expected norm Linf, L2, L1 for"):
        check_budget(Budget("patch", 0.08), space)


def test_shares_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="write 8% or 0\\.08"):
        Budget("patch", 8)
    with pytest.raises(UsageError, match="expected eps as a number"):
        Budget.parse("Linf", "8%")
    with pytest.raises(UsageError, match="at least one pixel, 1/64 of the area"):
        check_budget(Budget("patch", 0.01), ImageSpace((3, 8, 8)))
    with pytest.raises(UsageError, match="expected norm chars for nmtsloth-char"):
        load_attack("nmtsloth-char", norm="patch")
    check_budget(Budget("patch", 1 / 64), ImageSpace((3, 8, 8)))


def test_a_share_is_read_and_said_in_per_cent() -> None:
    assert Budget.parse("patch", "8%") == Budget.parse("patch", " 8 %") == Budget("patch", 0.08)
    assert load_attack("standard", norm="patch").eps == 0.08
    row = {"norm": "patch", "eps": 0.08, "eps_spent": spendable(Budget("patch", 0.08), ImageSpace((3, 32, 32)))}
    assert budget_text(row) == "patch 8 % of the area (7.91 % spent)"
    assert budget_text(row, short=True) == "patch 8 % (7.91 %)"
    assert eps_text("patch", 0.02) == "2 %"


@pytest.mark.parametrize("norm", PATCHES)
@pytest.mark.parametrize("attack", ["deepsloth:steps=60", "square:queries=100", "standard"])
def test_attacks_find_what_a_patch_can_do(attack: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, (inputs, labels) = needle(), images(needle(), 6)
    inside = torch.zeros(4, 4, dtype=torch.bool)
    inside[Patch(0.5, PLACES[norm]).window(4, 4)] = True

    def reach(inputs: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        low, high = (torch.where(inside, level, inputs).flatten(1).mean(1) for level in (0.0, 1.0))
        return low, high

    monkeypatch.setattr(target, "reach", reach)
    result = load_attack(attack, norm=norm, eps=0.5)(target, inputs, references=labels, seed=1)
    found = result.attacked.work.counts.sum(1)
    worst = target.worst_depth(inputs, 0.5)
    assert (found <= worst).all()
    assert (found > result.clean.work.counts.sum(1)).any()
    if attack == "standard":
        assert found.equal(worst)
    assert result.inputs[..., ~inside].equal(inputs[..., ~inside])


def test_squares_are_drawn_within_the_patch() -> None:
    inputs, target = torch.full((2, 1, 16, 16), 128 / 255), WindowTarget([0.5], [0.1], side=16)
    generators = [torch.Generator().manual_seed(row) for row in range(2)]
    propose = Square(norm="patch-center", eps=0.25, share=0.14, queries=10_000).proposal(target, inputs, generators)
    held, rows = Incumbent.begin(inputs), torch.arange(2)
    stripes, square = (propose(query, rows, held) for query in (0, 1))
    assert (stripes != inputs).sum((1, 2, 3)).tolist() == [64, 64]
    assert (square != inputs).sum((1, 2, 3)).tolist() == [9, 9]  # a seventh of the patch, not of the image


@pytest.mark.parametrize("kind", [Noise, Flat])
def test_controls_spend_the_patch(kind: type[Attack]) -> None:
    target, inputs = needle(), images(needle(), 4)[0]
    found = kind(norm="patch", eps=0.25).search(target, inputs, inputs, 0)
    sent, used = confine(target.space, inputs, found.inputs, Budget("patch", 0.25))
    assert (used >= 0.75).all()  # a pixel may be at the end of its range before
    if kind is Flat:
        mean = inputs.mean((2, 3), keepdim=True).expand(-1, -1, 2, 2)
        assert sent[..., :2, :2].equal(target.space.snap(mean))


def test_a_shuffled_patch_has_the_same_pixels_in_the_same_place() -> None:
    target, inputs = needle(), images(needle(), 4)[0]
    change = Patch(0.6).random([torch.Generator().manual_seed(row) for row in range(4)], 0.6, inputs)
    mixed = Shuffled(norm="patch", eps=0.6, perturbation=change).search(target, inputs, inputs, 0).inputs - inputs
    assert (covered(mixed) <= 0.6).all()
    assert torch.allclose(mixed.flatten(1).sort(1).values, change.flatten(1).sort(1).values, atol=1e-6)
    assert not torch.allclose(mixed, change)


def test_a_universal_patch_shows_the_same_on_every_image() -> None:
    target, (inputs, labels) = needle(), images(needle(), 8)
    attack = DeepSlothUniversal(norm="patch", eps=0.4).fit(target, images(needle(), 12, seed=9)[0])
    sent, _ = confine(target.space, inputs, attack.search(target, inputs, labels, 0).inputs, attack.budget)
    patch = sent[..., :2, :3]
    assert patch.equal(patch[:1].expand_as(patch))
    assert (covered(sent - inputs) <= 0.4).all()
    before, after = (target.prices.cost(target.run(each).work) for each in (inputs, sent))
    assert after.sum() > before.sum()
