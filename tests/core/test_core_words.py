from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torpor.core import Access, Budget, DataError, ImageSpace, PriceList, Stage, ThreatModel, Unit, UsageError, Work
from torpor.core.batches import sample_generators


@pytest.mark.parametrize(("text", "eps"), [("8/255", 8 / 255), ("0.03125", 0.03125), (0.5, 0.5), (" 1/4 ", 0.25)])
def test_budgets_read_fractions_and_numbers(text: str | float, eps: float) -> None:
    assert Budget.parse("L2", text) == Budget("L2", eps)


@pytest.mark.parametrize("text", ["", "eight", "1/0", "0", "-1", "nan", "inf", "8", math.nan, math.inf])
def test_impossible_linf_budgets_are_refused_in_a_sentence(text: str | float) -> None:
    with pytest.raises(UsageError, match=r"expected eps|expected Linf eps"):
        Budget.parse("Linf", text)


def test_unknown_norms_are_refused() -> None:
    with pytest.raises(UsageError, match="expected norm Linf, L2, L1"):
        Budget("L0", 1.0)


def test_every_byte_survives_the_round_trip() -> None:
    space = ImageSpace((1, 16, 16))
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert space.to_bytes(space.from_bytes(pixels)).equal(pixels)
    assert space.snap(space.from_bytes(pixels)).equal(space.from_bytes(pixels))


@given(st.lists(st.floats(-1, 2, width=32), min_size=4, max_size=4))
def test_snap_is_the_nearest_stored_image(values: list[float]) -> None:
    space = ImageSpace((1, 2, 2))
    inputs = torch.tensor(values).view(1, 1, 2, 2)
    snapped = space.snap(inputs)
    assert space.from_bytes(space.to_bytes(inputs)).equal(snapped)
    assert (snapped - inputs.clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(2, 1, 3, 2), "shape"),
        (torch.zeros(1, 2, 3), "shape"),
        (torch.zeros(1, 1, 2, 3, dtype=torch.uint8), "floating-point"),
        (torch.zeros(0, 1, 2, 3), "empty"),
        (torch.full((1, 1, 2, 3), math.nan), "pixels in"),
        (torch.full((1, 1, 2, 3), 1.01), "pixels in"),
        (torch.full((1, 1, 2, 3), -0.01), "pixels in"),
        (torch.full((1, 1, 2, 3), 255.0), "pixels in"),
    ],
)
def test_inputs_that_cannot_be_sent_are_refused(inputs: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageSpace((1, 2, 3)).check(inputs)


def test_work_counts_whole_runs_only() -> None:
    for counts in (torch.ones(2, 2), torch.ones(2, dtype=torch.int64)):
        with pytest.raises(UsageError, match="int64"):
            Work(counts)


def test_prices_refuse_work_on_other_units() -> None:
    with pytest.raises(UsageError, match="expected work on 1 units, got 2"):
        PriceList("flops", (1.0,)).cost(Work(torch.ones(1, 2, dtype=torch.int64)))
    for price in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="finite prices"):
            PriceList("bad", (price,))
    with pytest.raises(UsageError, match="0 or more"):
        Unit("exit0", -1)


def test_costs_of_large_counts_are_exact() -> None:
    prices = PriceList.flops([Unit("a", 2**40 + 1), Unit("b", 3)])
    assert prices.cost(Work(torch.tensor([[3, 1]]))).item() == 3 * (2**40 + 1) + 3


@given(st.integers(0, 1000), st.integers(0, 2**31), st.permutations(range(4)))
def test_randomness_belongs_to_the_sample_not_to_its_place(seed: int, content: int, order: list[int]) -> None:
    inputs = torch.rand(4, 1, 2, 3, generator=torch.Generator().manual_seed(content))
    seeds = [generator.initial_seed() for generator in sample_generators(inputs, seed, "a")]
    moved = [generator.initial_seed() for generator in sample_generators(inputs[list(order)], seed, "a")]
    assert moved == [seeds[row] for row in order]
    assert len(set(seeds)) == 4
    for other in (sample_generators(inputs, seed + 1, "a"), sample_generators(inputs, seed, "b")):
        assert all(generator.initial_seed() != known for generator, known in zip(other, seeds, strict=True))


def test_threat_models_say_what_the_attacker_sees() -> None:
    budget = Budget("L2", 0.5)
    assert ThreatModel(Stage.UNIVERSAL, Access.WHITE, budget).describe() == "universal, white-box, L2 eps=0.5"
    assert ThreatModel(Stage.EVASION, Access.SCORE, budget).describe() == "evasion, score access, L2 eps=0.5"
