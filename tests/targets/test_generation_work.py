"""Units, their FLOPs, utility and calibration."""

from __future__ import annotations

import math

import pytest
import torch
from generation_models import KINDS, changed, examples, hub, loaded, tokenizer
from hypothesis import given
from hypothesis import strategies as st

from torpor.core.errors import DataError, MeterError
from torpor.meters import WallClock, calibrate
from torpor.targets import from_transformers
from torpor.targets.generation.chrf import chrf
from torpor.targets.generation.layouts import FixedLayout, Layout, PromptLayout, SourceLayout, attended
from torpor.targets.generation.pricing import forwards_counted, solve
from torpor.targets.generation.target import GenerationTarget

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


def test_models_with_windows_are_refused() -> None:
    hf = hub()

    config = hf.MistralConfig(
        vocab_size=280, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, sliding_window=3, max_position_embeddings=32, pad_token_id=0, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    with pytest.raises(MeterError, match="FLOPs linear in prompt_token, decoder_step, attended_key, got"):
        from_transformers(hf.MistralForCausalLM(config), tokenizer(ends=False))


@given(st.integers(1, 40), st.integers(1, 40))
def test_attended_keys(first: int, steps: int) -> None:
    assert attended(first, steps) == first * first + sum(first + step - 1 for step in range(2, steps + 1))


@pytest.mark.parametrize("layout", [PromptLayout(), SourceLayout(), FixedLayout(1), FixedLayout(4)])
def test_probes_single_out_every_unit(layout: Layout) -> None:
    rows = [layout.counts(length, steps, 3) for length, steps in layout.probes]
    prices = [7, 11, 13, 17, 19][: len(layout.names)]
    values = [sum(price * count for price, count in zip(prices, row, strict=True)) for row in rows]
    assert solve(rows, values) == prices


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


@given(st.text(max_size=20), st.text(max_size=20))
def test_chrf_is_that_of_sacrebleu(output: str, reference: str) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    wanted = sacrebleu.sentence_chrf(output, [reference]).score / 100
    assert math.isclose(chrf(output, reference), wanted, abs_tol=1e-12)


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
