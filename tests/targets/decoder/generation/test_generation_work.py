"""Units, their FLOPs, utility and calibration."""

from __future__ import annotations

import sys

import pytest
import torch
from generation_models import KINDS, changed, examples, loaded, tokenizer
from hypothesis import given
from hypothesis import strategies as st

from torpor.core.errors import DataError, UsageError
from torpor.meters import WallClock, calibrate
from torpor.targets.decoder.generation.layouts import FixedLayout, Layout, PromptLayout, SourceLayout, attended
from torpor.targets.decoder.generation.pricing import find_prices, forwards_counted
from torpor.targets.decoder.generation.target import GenerationTarget

BEAMS = [("gpt2", 2), ("t5", 2), ("captioner", 3)]


def check_priced(target: GenerationTarget, kind: str) -> None:
    inputs = examples(kind, 3, seed=3)
    for row in range(3):
        with forwards_counted(target.model) as flops:
            work = target.run(inputs[row : row + 1]).work
        assert target.prices.cost(work).tolist() == [float(sum(flops))]


@pytest.mark.parametrize("kind", KINDS)
def test_work_times_prices_is_what_the_counter_counts(kind: str) -> None:
    check_priced(loaded(kind), kind)


@pytest.mark.parametrize(("kind", "beams"), BEAMS)
def test_beams_are_priced_too(kind: str, beams: int) -> None:
    check_priced(changed(kind, num_beams=beams), kind)


def test_prices_are_those_of_a_hand_count() -> None:
    width, layers, vocabulary = 32, 2, len(tokenizer(ends=True))
    body = layers * (4 * width * width + 2 * 4 * width * width) * 2
    head, key = 2 * width * vocabulary, layers * 2 * 2 * width
    assert [unit.flops for unit in loaded("gpt2").units] == [body, body + head, key]
    assert [unit.name for unit in loaded("gpt2").units] == ["prompt_token", "decoder_step", "attended_key"]


@given(st.integers(1, 40), st.integers(1, 40))
def test_attended_keys(first: int, steps: int) -> None:
    assert attended(first, steps) == first * first + sum(first + step - 1 for step in range(2, steps + 1))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 50))
def test_attended_keys_within_a_window(first: int, steps: int, window: int) -> None:
    later = [min(first + step - 1, window) for step in range(2, steps + 1)]
    assert attended(first, steps, window) == first * first + sum(later)


LAYOUTS = [
    PromptLayout(), SourceLayout(), FixedLayout(1), FixedLayout(4), PromptLayout(windows=(5,)),
    PromptLayout(windows=(2,), everything=False), PromptLayout(windows=(3, 9)), PromptLayout(reread=8),
    PromptLayout(windows=(4,), expands=True), PromptLayout(windows=(6,), once=True), SourceLayout(windows=(2,)),
    SourceLayout(windows=(7,), everything=False), FixedLayout(windows=(2,)), FixedLayout(3, windows=(6,)),
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prices_from_probes_hold_for_all_inputs(layout: Layout) -> None:
    true = [701, 11, 907, 17, 19, 23][: len(layout.names)]

    def flops(length: int, steps: int, varied: bool) -> int:
        return sum(price * count for price, count in zip(true, layout.counts(length, steps, 3), strict=True))

    prices = find_prices(layout, 3, flops)
    for length in range(1, 25):
        for steps in range(1, 25):
            counts = layout.counts(length, steps, 3)
            assert sum(p * c for p, c in zip(prices, counts, strict=True)) == flops(length, steps, False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_unit_can_be_priced_by_the_clock(kind: str) -> None:
    target = loaded(kind)
    inputs = examples(kind, 1)
    for work, call in target.probes(inputs):
        with forwards_counted(target.model) as flops:
            call()
        assert target.prices.cost(work).tolist() == [float(sum(flops))]


def test_calibration_finds_prices() -> None:
    target = loaded("gpt2")
    prices = calibrate(target, examples("gpt2", 1), WallClock(target.device), repeats=1, warmup=0)
    assert target.max_work(examples("gpt2", 1)).cost(torch.tensor(prices.per_unit)).item() > 0


def test_utility_needs_references() -> None:
    target, texts = loaded("gpt2"), examples("gpt2", 2)
    outputs = target.run(texts).outputs
    assert target.utility_name == "chrF"
    assert target.utility(outputs, ()).isnan().tolist() == [True, True]
    scores = target.utility(outputs, (outputs[0].text, "something else"))
    assert scores.dtype == torch.float64
    assert scores[0] == 1 > scores[1] >= 0
    with pytest.raises(DataError, match="expected texts as references"):
        target.utility(outputs, torch.zeros(2))
    assert target.agreement(outputs, outputs).all()
    assert target.labels(outputs, None) == ()


def test_a_missing_sacrebleu_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    target, texts = loaded("gpt2"), examples("gpt2", 1)
    outputs = target.run(texts).outputs
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    assert target.utility(outputs, ()).isnan().all()
    with pytest.raises(UsageError, match=r"expected sacrebleu .* pip install 'torpor\[language\]'") as caught:
        target.utility(outputs, ("a reference",))
    assert "\n" not in str(caught.value)
