"""Layers that forget keys: what is charged is what runs, for every mix of layers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from generation_models import Part, hub, tokenizer
from torch import Tensor
from window_models import CONFIGS, WINDOW, counted, windowed

from torpor.core.errors import MeterError
from torpor.meters import WallClock, calibrate
from torpor.targets import from_transformers
from torpor.targets.decoder.generation.lengths import cache_windows, named_lengths
from torpor.targets.decoder.generation.pricing import forwards_counted
from torpor.targets.decoder.generation.target import GenerationTarget

pytestmark = pytest.mark.slow

TEXTS = ("t", "the c", "the dog sat", "cat on the mat and it rained")


def price(target: GenerationTarget, text: str) -> tuple[int, int]:
    work = target.run((text,)).work
    assert (work.counts <= target.max_work((text,)).counts).all()
    assert (work.counts <= target.static_work().counts).all()
    return int(target.prices.cost(work).item()), int(target.iterations(work).item())


@pytest.mark.parametrize("kind", CONFIGS)
def test_work_is_what_torch_counts_for_transformers_own_generation(kind: str) -> None:
    target = windowed(kind)
    for cap, text in ((12, TEXTS[0]), (3, TEXTS[1]), (7, TEXTS[3])):
        cost, steps = price(target.with_cap(cap), text)
        assert cost == counted(target, text, steps)


@pytest.mark.parametrize("kind", ["mistral", "gemma2", "gpt-oss"])
def test_neighbors_and_padding_change_no_count(kind: str) -> None:
    target = windowed(kind)
    together = target.run(TEXTS).work.counts
    alone = torch.cat([target.run((text,)).work.counts for text in TEXTS])
    assert torch.equal(together, alone)


def test_beams_are_priced_with_windows_too() -> None:
    target = windowed("gemma2", num_beams=2)
    cost, steps = price(target, TEXTS[1])
    assert cost == counted(target, TEXTS[1], steps)


def test_units_are_those_that_cost_something() -> None:
    names = {kind: [unit.name for unit in windowed(kind).units[2:]] for kind in ("llama", "mistral", "gemma2")}
    within = f"attended_key_within_{WINDOW}"
    assert names == {"llama": ["attended_key"], "mistral": [within], "gemma2": ["attended_key", within]}


def test_windows_that_are_not_outgrown_are_no_units() -> None:
    target = windowed("mistral, window out of reach")
    assert [unit.name for unit in target.units[2:]] == ["attended_key"]
    assert cache_windows(target.model) == (64,)
    assert {64, 48} <= set(named_lengths(target.model))


def test_windowed_units_can_be_priced_by_the_clock() -> None:
    target = windowed("gemma2")
    for work, call in target.probes(TEXTS[:1]):
        with forwards_counted(target.model) as flops:
            call()
        assert int(target.prices.cost(work).item()) == sum(flops)
    inputs: Part = TEXTS[:1]
    assert len(calibrate(target, inputs, WallClock(target.device), repeats=1, warmup=0).per_unit) == 4


@pytest.mark.parametrize("large", [1, 64, 1000])
@pytest.mark.parametrize("kind", ["gemma2", "mixtral", "deepseek-v3", "falcon, alibi", "recurrentgemma"])
def test_shapes_alone_cost_the_same(kind: str, large: int) -> None:
    target = windowed(kind)
    found = []
    for size in (None, large):
        with forwards_counted(target.model, size) as flops:
            target.decoder.force(target._example(9), 4)
        found.append(sum(flops))
    assert found[0] == found[1] > 0


def _recent(key: Tensor, steps: bool) -> Tensor:
    return key[:, :, -9:] if steps else key


def _sink(key: Tensor, steps: bool) -> Tensor:
    return torch.cat([key[:, :, :2], key[:, :, -9:]], 2) if steps and key.shape[2] > 11 else key


def _chunk(key: Tensor, steps: bool) -> Tensor:
    return key[:, :, (key.shape[2] - 1) // 13 * 13 :] if steps else key


def _short_prompts(key: Tensor, steps: bool) -> Tensor:
    return key if steps else key[:, :, -10:]


@pytest.mark.parametrize("keep", [_recent, _sink, _chunk, _short_prompts])
def test_keys_that_no_setting_says_are_dropped_are_noticed(keep: Callable[[Tensor, bool], Tensor]) -> None:
    hf = hub()

    def attend(
        module: Part, query: Tensor, key: Tensor, value: Tensor, *rest: Part, **more: Part
    ) -> tuple[Tensor, None]:
        steps = query.shape[2] == 1
        key, value = (keep(part, steps).repeat_interleave(2, 1) for part in (key, value))
        found = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return found.transpose(1, 2).contiguous(), None

    hf.AttentionInterface.register("forgetful", attend)
    model = copy.deepcopy(windowed("llama").model)
    model.config._attn_implementation = "forgetful"
    with pytest.raises(MeterError, match="expected FLOPs linear in prompt_token, decoder_step, attended_key, got"):
        from_transformers(model, tokenizer(ends=False))


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Mamba", {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 1}),
        ("Rwkv", {"hidden_size": 16, "num_hidden_layers": 2, "context_length": 48}),
    ],
)
def test_models_without_a_cache_of_keys_are_refused(family: str, settings: dict[str, int]) -> None:
    hf = hub()
    config = getattr(hf, f"{family}Config")(vocab_size=280, pad_token_id=0, bos_token_id=1, eos_token_id=2, **settings)
    with pytest.raises(MeterError, match="expected"):
        from_transformers(getattr(hf, f"{family}ForCausalLM")(config), tokenizer(ends=False))
