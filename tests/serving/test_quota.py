"""Quotas of work: never more is spent than was there, whatever is sent and whenever."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from torpor.core.errors import DataError, UsageError
from torpor.serving import ClientQuotas, Quota, QuotaError, TokenBucket, metered
from torpor.serving.affordable import affordable, bound_of, smallest
from torpor.targets.base import Target
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import LampTarget, lit
from torpor.targets.early_exit.toys import needle


def gray(*means: float) -> Tensor:
    return (torch.tensor(means) * 255).round().div(255).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def cost(target: Target, inputs: Tensor | tuple[str, ...]) -> float:
    return target.prices.cost(target.run(inputs).work).sum().item()


class Tape:
    """A clock that tells what was recorded."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


REQUESTS = st.lists(
    st.tuples(st.floats(0, 3), st.sampled_from(["eve", "bob"]), st.floats(0, 1), st.integers(1, 3)), max_size=25
)


@settings(max_examples=40)
@given(REQUESTS, st.floats(1, 400), st.floats(20, 2000))
def test_no_client_spends_more_than_a_burst_and_its_rate(
    requests: list[tuple[float, str, float, int]], rate: float, burst: float
) -> None:
    tape, target = Tape(), PeakTarget(cap=40)
    clients = ClientQuotas(TokenBucket(rate, burst), tape)
    spent: dict[str, list[tuple[float, float]]] = {"eve": [], "bob": []}
    for wait, client, mean, count in requests:
        tape.now += wait
        try:
            outcome = clients.run(client, target, gray(*[mean] * count))
        except QuotaError:
            continue
        spent[client].append((tape.now, target.prices.cost(outcome.work).sum().item()))
    for log in spent.values():
        for first, (start, _) in enumerate(log):
            for last in range(first, len(log)):
                total = sum(flops for _, flops in log[first : last + 1])
                assert total <= burst + rate * (log[last][0] - start) + 1e-6


OVERLAPPING = st.lists(st.tuples(st.floats(0, 2), st.floats(0, 120), st.floats(0, 1), st.booleans()), max_size=40)


@given(OVERLAPPING, st.floats(0, 50), st.floats(1, 100))
@example(
    [(0.0, 1.0, 1.0, True), (1.0, 0.0, 0.0, False), (0.0, 1.0, 1.0, True), (0.0, 0.0, 0.0, False)],
    1.0,
    1.0,
)
@example(
    [(0.0, 12.454226262742573, 0.0, False), (0.0, 19.738516226540707, 0.0, True), (0, 0, 0, False)],
    1.0,
    32.46958736219343,
)
def test_requests_that_overlap_share_one_quota(
    events: list[tuple[float, float, float, bool]], rate: float, burst: float
) -> None:
    tape = Tape()
    clients = ClientQuotas(TokenBucket(rate, burst), tape)
    running: list[Any] = []
    done: list[Any] = []
    for wait, flops, share, starts in events:
        tape.now += wait
        if starts or not running:
            request = clients.reserved("eve", flops)
            try:
                running.append((request, request.__enter__(), flops * share, tape.now))
            except QuotaError:
                assert flops > clients.available("eve")
        else:
            request, settle, spent, begun = running.pop(0)
            settle(spent)
            request.__exit__(None, None, None)
            done.append((begun, tape.now, spent))
        assert -1e-9 <= clients.available("eve") <= burst
    for when in (0, 1):  # whether a cost belongs to the begin or to the end of its request
        log = sorted((entry[when], entry[2]) for entry in done)
        for first, (start, _) in enumerate(log):
            for last in range(first, len(log)):
                assert sum(flops for _, flops in log[first : last + 1]) <= burst + rate * (log[last][0] - start) + 1e-6


def test_a_client_waits_as_long_as_it_is_told() -> None:
    tape, target = Tape(), LampTarget()
    need = bound_of(smallest(target), lit(24)[0])
    clients = ClientQuotas(TokenBucket(need / 4, 2 * need), tape)
    with clients.reserved("eve", 2 * need):
        pass
    with pytest.raises(QuotaError, match="'eve'") as refused:
        clients.run("eve", target, lit(24)[0])
    assert refused.value.retry_after_s is not None
    tape.now += refused.value.retry_after_s + 1e-9
    assert len(clients.run("eve", target, lit(24)[0]).outputs[0]) == 1
    assert clients.available("bob") == 2 * need
    tape.now -= 100  # a clock that runs backward earns nothing
    assert clients.available("eve") < need


def test_failures_are_charged_and_bad_inputs_are_not() -> None:
    tape, target = Tape(), needle()
    clients = ClientQuotas(TokenBucket(0.0, 1000.0), tape)
    with pytest.raises(DataError):
        clients.run("eve", target, torch.full((1, 1, 4, 4), 7.0))
    assert clients.available("eve") == 1000
    with pytest.raises(RuntimeError), clients.reserved("eve", 300.0):
        raise RuntimeError
    assert clients.available("eve") == 700
    with pytest.raises(QuotaError) as refused, clients.reserved("eve", 701.0):
        pass
    assert refused.value.retry_after_s is None
    with clients.reserved("eve", 700.0) as settle:
        settle(100.0)
    assert clients.available("eve") == 600


def test_strangers_do_not_pile_up() -> None:
    tape = Tape()
    clients = ClientQuotas(TokenBucket(1.0, 10.0), tape)
    with clients.reserved("eve", 10.0):
        for number in range(5000):
            assert clients.available(f"client {number}") == 10
        assert len(clients._buckets) <= 1025
        assert clients.available("eve") == 0


def test_a_quota_ends_outputs_gracefully_and_then_refuses() -> None:
    target = metered(PeakTarget(cap=40))
    with Quota(steps=50) as outer, Quota(flops=10_000) as inner:
        first = target.run(gray(0.5))
        second = target.run(gray(0.5))
        assert not first.outputs[0].capped
        assert second.outputs[0].capped
        with pytest.raises(QuotaError):
            target.run(gray(0.5))
    assert outer.spent_steps == inner.spent_steps == 50
    assert inner.spent_flops == target.prices.cost(first.work).item() + target.prices.cost(second.work).item()
    assert len(target.run(gray(0.5)).outputs[0].ids) == 31  # nothing is open any more
    with pytest.raises(UsageError):
        Quota(flops=0)


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(10, 5000), st.integers(1, 120))
def test_no_quota_is_exceeded(means: list[float], flops: float, steps: int) -> None:
    target = metered(PeakTarget(cap=40))
    with Quota(flops=flops, steps=steps) as spent:
        try:
            for mean in means:
                target.run(gray(mean, mean))
        except QuotaError:
            pass
    assert spent.spent_flops <= flops
    assert spent.spent_steps <= steps


INPUTS: dict[str, tuple[Target, Tensor | tuple[str, ...]]] = {
    "exits": (needle(), gray(0.5, 0.2)),
    "steps": (PeakTarget(cap=40), gray(0.5, 0.9)),
    "text": (ToyText(cap=30), ("99", "a cat")),
    "boxes": (LampTarget(nms=NMS(conf=0.1)), lit(24)[0]),
}


@pytest.mark.parametrize("name", INPUTS)
@settings(max_examples=25)
@given(st.floats(0.001, 1.2))
def test_what_is_affordable_is_the_largest_that_fits(name: str, share: float) -> None:
    target, inputs = INPUTS[name]
    whole = target.prices.cost(target.max_work(inputs)).sum().item()
    smaller = affordable(target, inputs, share * whole)
    if share >= 1:
        assert smaller is target
    if smaller is not None:
        bound = smaller.prices.cost(smaller.max_work(inputs)).sum().item()
        assert cost(smaller, inputs) <= bound <= share * whole
        larger = affordable(target, inputs, share * whole * 0.999)
        below = 0 if larger is None else larger.prices.cost(larger.max_work(inputs)).sum().item()
        assert below <= bound
