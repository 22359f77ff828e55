"""Threads are used where they shorten a call and do not spin."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from torpor.meters.threads import PROCESSOR, WALL, Threads, gainful_threads, using


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def replayed(wall: Callable[[int], float], processor: Callable[[int], float]) -> Callable[..., tuple[float, float]]:
    """Return a stopwatch that measures what a model of the machine says of the number of threads."""

    def stopwatch(call: Callable[[], object]) -> tuple[float, float]:
        threads = torch.get_num_threads()
        return wall(threads), processor(threads)

    return stopwatch


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (2, 2), (4, 4), (6, 6), (16, 16)])
def test_perfect_scaling_takes_all_threads(most: int, expected: int) -> None:
    watch = replayed(lambda n: 1 / n, lambda n: 1.0)
    assert gainful_threads(lambda: None, most, watch) == expected


def test_amdahl_stops_where_more_threads_gain_little() -> None:
    watch = replayed(lambda n: 0.2 + 0.8 / n, lambda n: 1.0)  # 1, 0.6, 0.4, 0.3, 0.25
    assert gainful_threads(lambda: None, 16, watch) == 8  # 0.25 is over 80 % of 0.3


def test_threads_that_spin_are_not_used_although_they_are_faster() -> None:
    watch = replayed(lambda n: 1 / n**0.5, lambda n: n**0.5)
    assert PROCESSOR < 2**0.5
    assert WALL > 2**-0.5
    assert gainful_threads(lambda: None, 2, watch) == 1


def test_processor_time_is_compared_with_one_thread() -> None:
    watch = replayed(lambda n: 1 / n, lambda n: 1 + 0.1 * (n - 1))  # 1.1, 1.3: each doubling alone would pass
    assert gainful_threads(lambda: None, 4, watch) == 2


def test_busy_machine_gets_one_thread() -> None:
    watch = replayed(lambda n: 1.0 * n, lambda n: 1.0 * n)
    assert gainful_threads(lambda: None, 16, watch) == 1


@pytest.mark.parametrize(("seconds", "expected"), [(10.0, 2), (0.02, 12), (1e-6, 60)])
def test_long_calls_are_measured_once_and_short_ones_several_times(seconds: float, expected: int) -> None:
    calls = list[int]()

    def stopwatch(call: Callable[[], object]) -> tuple[float, float]:
        calls.append(torch.get_num_threads())
        return seconds, seconds

    gainful_threads(lambda: None, 2, stopwatch)
    assert calls == [1, 2] * (expected // 2)


def test_number_of_threads_holds_in_the_block_only() -> None:
    torch.set_num_threads(1)
    with using(Threads(2, 2, "")):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
    assert gainful_threads(lambda: None, 2) in (1, 2)
    assert torch.get_num_threads() == 2
