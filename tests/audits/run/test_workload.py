"""The number of threads of an audit is asked for, or measured on the target."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from torpor.audits.run import timing as module
from torpor.audits.run.estimate import chosen_threads
from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.toys import needle


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def unread() -> DataSet:
    """Fail: no data are needed."""
    return pytest.fail("nothing is to be read")


@pytest.mark.parametrize("asked", [1, 3])
def test_asking_overrules_and_measures_nothing(asked: int) -> None:
    with chosen_threads(needle(), unread, asked) as threads:
        assert torch.get_num_threads() == threads.used == asked
    assert torch.get_num_threads() == 2


def test_no_thread_is_refused() -> None:
    with (
        pytest.raises(UsageError, match="expected from 1 to 1,024 threads, got 0"),
        chosen_threads(needle(), unread, 0),
    ):
        pass


def test_small_target_is_measured_on_a_small_batch(digits_target: EarlyExitTarget) -> None:
    with chosen_threads(digits_target, lambda: digits_target.data(None)) as threads:
        assert str(threads) == f"{threads.used} of 2 (measured on the target)"
        assert torch.get_num_threads() == threads.used
    assert torch.get_num_threads() == 2


def test_one_thread_needs_no_choice() -> None:
    torch.set_num_threads(1)
    with chosen_threads(needle(), unread) as threads:
        assert threads.used == 1


def test_target_without_data_keeps_the_default() -> None:
    toy = needle()
    with chosen_threads(toy, lambda: toy.data(None)) as threads:
        assert str(threads) == "2 of 2 (the target could not be measured)"


def test_long_runs_are_replaced_by_a_probe(digits_target: EarlyExitTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORT_S", 0.0)
    call = module.small_run(digits_target, digits_target.data(None))
    probes = [each for _, each in digits_target.probes(torch.zeros(1, 1, 28, 28))]
    assert call.__qualname__ == probes[0].__qualname__


def test_same_records_whatever_the_number_of_threads(digits_target: EarlyExitTarget) -> None:
    inputs = digits_target.read(digits_target.data(None).load("test", 32).inputs)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaf = inputs.clone().requires_grad_()
        signals = digits_target.signals(leaf)
        (gradient,) = torch.autograd.grad(signals.exit_logits.sum() + signals.margins.sum(), leaf)
        results.append((signals.exit_logits.detach(), gradient, digits_target.run(inputs).work.counts))
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))
