"""Half precision: in any batch each row is what it is alone, to the last bit, and batches stay batches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from generation_models import (
    BOS,
    EOS,
    KINDS,
    PAD,
    Part,
    again,
    examples,
    loaded,
    network,
    random_decoder,
    tokenizer,
)
from test_generation_runs import check_alone, check_as_transformers

from torpor.core.batches import Samples
from torpor.core.work import Outcome
from torpor.meters import free
from torpor.targets import from_transformers
from torpor.targets.decoder.generation import room
from torpor.targets.decoder.generation.decoding import Decoder
from torpor.targets.decoder.generation.room import CacheSize
from torpor.targets.decoder.generation.target import GenerationTarget
from torpor.targets.decoder.generation.texts import TextGenerationTarget
from torpor.targets.decoder.stops import EndHazard

pytestmark = pytest.mark.slow

HALVES = [torch.bfloat16, torch.float16]


def halved(kind: str, dtype: torch.dtype, seed: int = 0, **config: Any) -> GenerationTarget:  # noqa: ANN401
    model = network(kind, seed).to(dtype)
    for name, value in config.items():
        setattr(model.generation_config, name, value)
    return again(loaded(kind), kind, model)


def calls_of(target: GenerationTarget, inputs: Samples, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], Outcome]:
    """Run and return the rows of each call of ``generate``."""
    sizes: list[int] = []
    run = Decoder._run

    def note(self: Decoder, fed: Any, *rest: Any) -> Any:  # noqa: ANN401
        sizes.append(len(fed))
        return run(self, fed, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "_run", note)
        outcome = target.run(inputs)
    return sizes, outcome


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_rows_alone(kind: str, seed: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    target, inputs = halved(kind, dtype, seed), examples(kind, 8, seed)
    sizes, outcome = calls_of(target, inputs, monkeypatch)
    check_alone(target, inputs, outcome)
    if kind != "whisper":  # which does not convert features
        check_as_transformers(target, inputs, outcome)
    assert sizes == [8]
    assert target.decoder.tie is None
    assert target.run(inputs).outputs == outcome.outputs


def test_twelve_candidates_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    target = halved("llama", torch.bfloat16)
    assert isinstance(target, TextGenerationTarget)
    texts = tuple(f"the dog sat on the mat and {end}" for end in "abcdefghijkl")
    sizes, outcome = calls_of(target, texts, monkeypatch)
    assert sizes == [12]
    assert target.score(texts).tolist() == target.iterations(outcome.work).tolist()
    assert target.score(texts[:1]).tolist() == target.iterations(outcome.work)[:1].tolist()


OTHERS: dict[str, dict[str, Any]] = {
    "Qwen2": {"num_key_value_heads": 1},
    "Mistral": {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": None},
    "Gemma": {"num_key_value_heads": 2, "head_dim": 8},
    "Cohere": {"num_key_value_heads": 4},
    "GPTNeoX": {},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32},
}


def other(kind: str, dtype: torch.dtype, seed: int = 0, **more: Any) -> Part:  # noqa: ANN401
    return random_decoder(
        kind, seed,
        vocab_size=len(tokenizer(ends=False)), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS,
        **{**OTHERS.get(kind, {}), **more},
    ).to(dtype)  # fmt: skip


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("kind", OTHERS)
def test_further_architectures(kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    target, inputs = from_transformers(other(kind, dtype), tokenizer(ends=False)), examples("llama", 6)
    sizes, outcome = calls_of(target, inputs, monkeypatch)
    check_alone(target, inputs, outcome)
    check_as_transformers(target, inputs, outcome)
    assert sizes == [6]


def test_attention_that_cannot_be_taken_apart_decodes_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = other("Llama", torch.bfloat16, num_key_value_heads=2, attn_implementation="eager")
    target, inputs = from_transformers(model, tokenizer(ends=False)), examples("llama", 5)
    sizes, outcome = calls_of(target, inputs, monkeypatch)
    check_as_transformers(target, inputs, outcome)
    assert sizes == [1] * 5
    assert target.rows_at_once(5) == 1


@pytest.mark.parametrize("kind", ["Bart", "Marian"])
def test_models_that_mind_padding_decode_one_by_one(kind: str) -> None:
    """Their positions count padding: a batch would say something else than its rows."""
    more = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48}
    target = from_transformers(other(kind, torch.float32, **more), tokenizer(ends=False))
    assert not target.decoder.pads
    inputs = examples("llama", 5)
    outcome = target.run(inputs)
    check_alone(target, inputs, outcome)
    check_as_transformers(target, inputs, outcome)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_sampling_and_processors_in_half_precision(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[dict[str, Any]] = [
        {"do_sample": True, "temperature": 20.0, "top_p": 0.8},
        {"repetition_penalty": 1.3},
    ]
    for config in configs:
        target, inputs = halved("llama", dtype, **config), examples("llama", 6)
        sizes, outcome = calls_of(target, inputs, monkeypatch)
        check_alone(target, inputs, outcome)
        assert sizes == [6]


def test_stops_and_caps_in_half_precision() -> None:
    target, inputs = halved("llama", torch.bfloat16).with_stop(EndHazard(0.05)).with_cap(9), examples("llama", 6)
    check_alone(target, inputs, target.run(inputs))


def test_float32_measures_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    target, inputs = loaded("llama"), examples("llama", 10)
    assert target.decoder.tie is not None
    assert 2e-5 <= target.decoder.tie < 1e-3
    sizes, _ = calls_of(target, inputs, monkeypatch)
    assert sizes[0] == 10
    assert len(sizes) < 4


def test_close_calls_leave_the_batch_at_once() -> None:
    target, inputs = loaded("gpt2"), examples("gpt2", 6)
    near = copy.copy(target)
    near.decoder = copy.copy(target.decoder)
    near.decoder.tie = 1e9  # every call is close
    fed: list[int] = []
    handle = near.model.register_forward_pre_hook(
        lambda _, args, kwargs: fed.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    outcome = near.run(inputs)
    handle.remove()
    assert outcome.outputs == target.run(inputs).outputs
    assert fed == [6] + [1] * int(target.iterations(outcome.work).sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_cache_is_measured(dtype: torch.dtype) -> None:
    """Heads that share keys and a head size of its own count, not the hidden size."""
    model = other("Mistral", dtype, num_key_value_heads=1, head_dim=16, sliding_window=None)
    target = from_transformers(model, tokenizer(ends=False))
    per_layer = 2 * 1 * 16 * dtype.itemsize
    assert target.decoder.size == CacheSize(((per_layer, None),) * 2)
    assert target.decoder.size.bytes(100, 1) == 2 * 100 * per_layer


def test_caches_of_encoders_are_measured() -> None:
    for kind, read in (("marian", 2 * 2 * 32 * 4), ("whisper", 50 * 2 * 2 * 32 * 4)):
        size = loaded(kind).decoder.size
        assert size.layers == ((2 * 32 * 4, None),) * 2
        assert size.read == read


def test_rows_depend_on_the_memory_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    target = loaded("llama")
    assert isinstance(target, TextGenerationTarget)
    inputs = examples("llama", 7)
    wanted = target.run(inputs)
    monkeypatch.setattr(room, "free_memory", lambda device: 1_600_000)
    few = target.rows_at_once(8)
    assert 1 < few < 40
    monkeypatch.setattr(room, "free_memory", lambda device: 16_000_000)
    assert 9 * few < target.rows_at_once(8) < 11 * (few + 1)
    monkeypatch.setattr(room, "free_memory", lambda device: None)
    assert target.rows_at_once(8) > 10_000
    monkeypatch.setattr(room, "free_memory", lambda device: 200_000)
    assert target.rows_at_once(8) < 7
    outcome = target.run(inputs)
    assert outcome.outputs == wanted.outputs
    assert outcome.work.counts.equal(wanted.work.counts)


def test_free_memory_is_what_the_system_and_the_container_say(
    tmp_path: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(free, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(free, "GROUP", tmp_path)
    assert free.free_memory("cpu") is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   7 kB\n")
    assert free.free_memory("cpu") == 7 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free.free_memory("cpu") == 7 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert free.free_memory("cpu") == 4000
    assert free.free_memory("meta") is None


LONG = (
    "the dog",
    "the dog sat on the mat and the cat rained",
    "dog went to the mat while it rained on the cat and the dog sat",
    "a",
)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_windows_that_padding_would_fill(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model = other("Mistral", dtype, num_key_value_heads=2, head_dim=16, sliding_window=12)
    target = from_transformers(model, tokenizer(ends=False))
    sizes, outcome = calls_of(target, LONG, monkeypatch)
    check_alone(target, LONG, outcome)
    check_as_transformers(target, LONG, outcome)
    assert len(sizes) == 4 or dtype is torch.float32
    sizes, _ = calls_of(target.with_cap(4), ("the", "dog"), monkeypatch)
    assert sizes[0] == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_positions_that_depend_on_the_longest_row(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    rotary = {
        "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4,
        "original_max_position_embeddings": 16, "factor": 8.0,
    }  # fmt: skip
    model = other("Llama", dtype, num_key_value_heads=2, rope_parameters=rotary)
    target = from_transformers(model, tokenizer(ends=False))
    assert target.decoder.longest == 16
    sizes, outcome = calls_of(target, LONG, monkeypatch)
    check_alone(target, LONG, outcome)
    assert sizes == [1] * 4
    sizes, _ = calls_of(target.with_cap(4), ("the", "dog"), monkeypatch)
    assert sizes[0] == 2
