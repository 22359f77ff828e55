from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torpor.core import MeterError, PriceList, Unit, UsageError, Work
from torpor.meters import Clock, RecordedClock, WallClock, calibrate
from torpor.meters.calibration import calibration
from torpor.targets import Confidence, EarlyExitTarget, ShallowDeepNetwork, Target

ONE = torch.zeros(1, 1, 1, 1)


class Priced:
    """What calibration needs of a target; its probes take their work times known prices, on its own clock."""

    device = torch.device("cpu")

    def __init__(self, prices: Sequence[float], counts: Sequence[Sequence[int]], noise: float = 0.0) -> None:
        self.units = tuple(Unit(f"unit{k}", 1) for k in range(len(prices)))
        self.seconds, self.counts, self.noise = np.array(prices), counts, noise
        self.generator = np.random.default_rng(0)
        self.time = 0.0
        self.diary: list[int] = []

    def now(self) -> float:
        return self.time

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        assert len(inputs) == 1
        for index, row in enumerate(self.counts):

            def call(index: int = index, row: Sequence[int] = row) -> None:
                self.diary.append(index)
                factor = 1 + self.noise * self.generator.standard_normal()
                self.time += float(np.array(row) @ self.seconds) * factor

            yield Work(torch.tensor([row])), call


def price(target: Priced, inputs: Tensor = ONE, clock: Clock | None = None, **options: int) -> PriceList:
    return calibrate(cast(Target, target), inputs, clock or target, **options)


@pytest.mark.parametrize(
    ("prices", "counts"),
    [
        ([1.0, 2.0, 0.5], [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
        ([1e-2, 1e-9], [[1, 10], [1, 5_000_000], [1, 25_000_000]]),
        ([3.0, 0.0], [[1, 0], [1, 7]]),
        ([0.25], [[1], [4]]),
    ],
)
def test_known_prices_are_found(prices: list[float], counts: list[list[int]]) -> None:
    target = Priced(prices, counts)
    found = price(target, ONE.repeat(2, 1, 1, 1))
    np.testing.assert_allclose(found.per_unit, prices, rtol=1e-6, atol=1e-9)
    assert found.name == "seconds on cpu, Priced"


def test_recorded_readings_give_the_same_prices() -> None:
    target = Priced([1.0, 2.0], [[1, 0], [1, 1]])
    clock = RecordedClock.of_durations([1.0, 3.0, 3.0, 1.0])  # forth, then back
    assert price(target, clock=clock, repeats=2, warmup=0).per_unit == pytest.approx((1.0, 2.0))
    assert clock.left == 0


def test_probes_run_in_turns_forth_and_back_after_warming_up() -> None:
    target = Priced([1.0, 2.0], [[1, 0], [1, 1]])
    price(target, repeats=3, warmup=1)
    assert target.diary == [0, 1, 0, 1, 1, 0, 0, 1]


def test_noisy_times_give_prices_close_by_and_never_negative() -> None:
    prices = [1.0, 0.3, 0.0, 2.0]
    target = Priced(prices, np.tril(np.ones((4, 4), dtype=int)).tolist(), noise=0.02)
    found = price(target, ONE.repeat(8, 1, 1, 1), repeats=9)
    assert min(found.per_unit) >= 0
    np.testing.assert_allclose(found.per_unit, prices, atol=0.1)


@pytest.mark.parametrize(
    ("counts", "names"),
    [
        ([[1, 1, 0], [2, 2, 1], [2, 2, 3]], "unit0, unit1;"),
        ([[1, 0, 0], [1, 1, 0]], "unit2;"),
        ([[0, 0, 0]], "unit0, unit1, unit2;"),
        ([], "unit0, unit1, unit2;"),
    ],
)
def test_units_that_no_probe_singles_out_are_named(counts: list[list[int]], names: str) -> None:
    target = Priced([1.0, 1.0, 1.0], counts)
    with pytest.raises(MeterError, match=f"got none for {names}"):
        price(target)
    assert target.diary == []


def test_a_clock_that_stands_still_is_an_error() -> None:
    target = Priced([1.0], [[1]])
    with pytest.raises(MeterError, match="take time"):
        price(target, clock=RecordedClock([0.0] * 10), repeats=1)


@pytest.mark.parametrize(("rows", "repeats", "warmup"), [(0, 5, 3), (1, 0, 3), (1, 5, -1)])
def test_nothing_to_time_is_a_usage_error(rows: int, repeats: int, warmup: int) -> None:
    target = Priced([1.0], [[1]])
    with pytest.raises(UsageError, match="expected at least 1 input"):
        price(target, ONE[:rows], repeats=repeats, warmup=warmup)


def test_an_early_exit_target_is_priced_by_the_wall_clock() -> None:
    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Conv2d(width, 32, 3, padding=1), nn.ReLU()) for width in (1, 32, 32)]
    heads = [nn.Sequential(nn.Flatten(), nn.Linear(32 * 16 * 16, 10)) for _ in stages]
    net = ShallowDeepNetwork(stages, heads)
    target = EarlyExitTarget(net, Confidence(0.9), input_shape=(1, 16, 16))
    prices = calibrate(target, torch.rand(1, 1, 16, 16), WallClock(target.device), repeats=3)
    assert len(prices.per_unit) == len(target.units)
    whole = prices.cost(target.max_work(torch.zeros(1, 1, 16, 16))).item()
    assert 1e-6 < whole < 10


def test_prices_from_a_crowded_machine_say_so_in_their_name() -> None:
    target = Priced([1.0, 2.0], [[1, 0], [1, 1]])

    class CrowdedClock(WallClock):
        """The target's own clock, with threads that wait half of the time."""

        def now(self) -> float:
            return target.time

        def waited(self) -> float | None:
            return target.time / 2

    found = price(target, clock=CrowdedClock())
    assert found.name == "seconds on cpu, CrowdedClock, busy machine"
    assert found.per_unit == pytest.approx((1.0, 2.0))


def test_times_that_prices_explain_have_no_error() -> None:
    target = Priced([1.0, 2.0], [[1, 0], [1, 1], [1, 4]])
    found = calibration(cast(Target, target), ONE, target)
    assert (found.valid, found.reason) == (True, None)
    assert found.error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("seconds", "valid"), [(3.0, True), (3.3, True), (4.5, False), (1.5, False)])
def test_a_call_that_prices_were_not_fitted_to_tells_their_error(seconds: float, valid: bool) -> None:
    target = Priced([1.0, 2.0], [[1, 0], [1, 1]])

    def call() -> None:
        target.time += seconds

    found = calibration(cast(Target, target), ONE, target, check=[(Work(torch.tensor([[1, 1]])), call)])
    assert found.prices.per_unit == pytest.approx((1.0, 2.0))
    assert found.error == pytest.approx(abs(seconds / 3 - 1), abs=1e-9)
    assert found.valid == valid
    assert valid or str(found.reason).startswith("prices miss the time of a call by 50%")


def test_prices_of_a_noisy_clock_are_not_valid() -> None:
    found = calibration(cast(Target, Priced([1.0, 2.0], [[1, 0], [1, 1]], noise=0.5)), ONE, RecordedClock.of_durations(
        [1.0, 3.0, 6.0, 2.0, 1.0, 3.0, 9.0, 3.0, 1.0, 3.0]
    ), warmup=0)  # fmt: skip
    assert not found.valid
    assert "repeats of the same call spread by" in str(found.reason)
