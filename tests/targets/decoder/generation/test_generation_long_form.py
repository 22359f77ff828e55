"""Recordings of several windows: decoded as transformers does it, and counted window by window."""

from __future__ import annotations

import functools
import json
import wave
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from generation_models import BOS, CAP, EOS, PAD, hub, tokenizer
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.stopwatch import OutOfTime, Stopwatch
from torpor.targets import from_transformers
from torpor.targets.decoder.generation.dense import DenseGenerationTarget
from torpor.targets.decoder.generation.features import reading_features
from torpor.targets.decoder.generation.long_form import LongFormTarget
from torpor.targets.decoder.generation.recordings import seconds_to_read
from torpor.targets.model_options import Options

pytestmark = pytest.mark.slow

SECONDS, RATE = 2.5, 16_000
TIMES = 51
"""Timestamps of a window of one second."""


def parts() -> Any:  # noqa: ANN401 - transformers' own
    extractor = hub().WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    return SimpleNamespace(tokenizer=tokenizer(ends=False), feature_extractor=extractor)


def network(**settings: object) -> Any:  # noqa: ANN401
    """Build a random Whisper of windows of one second, whose timestamps vary."""
    hf, words = hub(), len(tokenizer(ends=False))
    torch.manual_seed(0)
    ids = {"decoder_start_token_id": BOS, "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    sizes = {"d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_mel_bins": 16, "init_std": 0.4}
    places = {"max_source_positions": 50, "max_target_positions": 64}
    none = {"suppress_tokens": None, "begin_suppress_tokens": None}
    config = hf.WhisperConfig(vocab_size=words + 1 + TIMES, **heads, **sizes, **places, **none, **ids)
    model = hf.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight[EOS] *= 3
        model.get_output_embeddings().weight[words:] *= 1.5
    times = {"no_timestamps_token_id": words, "max_initial_timestamp_index": 10}
    model.generation_config = hf.GenerationConfig(max_new_tokens=CAP, **ids, **times)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    return model


@functools.cache
def target() -> LongFormTarget:
    found = from_transformers(network(), parts(), name="recordings", seconds=SECONDS)
    assert isinstance(found, LongFormTarget)
    return found


def sounds(count: int) -> Tensor:
    noise = torch.rand(count, round(SECONDS * RATE), generator=torch.Generator().manual_seed(0)) * 2 - 1
    return (noise * torch.linspace(0.02, 0.9, count).unsqueeze(1) * 32768).round() / 32768


def counts_of(names: Sequence[str], model: Any) -> tuple[list[list[int]], list[Any]]:  # noqa: ANN401
    """Count the tokens of each call of the encoder and the decoder from now on."""
    calls: list[list[int]] = [[] for _ in names]
    hooks = [
        getattr(model, f"get_{name}")().register_forward_pre_hook(
            lambda module, args, kwargs, place=place: calls[place].append(
                kwargs["input_ids"].shape[1] if kwargs.get("input_ids") is not None else 1
            ),
            with_kwargs=True,
        )
        for place, name in enumerate(names)
    ]
    return calls, hooks


def test_windows_are_those_of_transformers_and_each_run_is_counted() -> None:
    long, inputs = target(), sounds(4)
    outcome = long.run(inputs)
    ran = set()
    for row in range(len(inputs)):
        (encoded, decoded), hooks = counts_of(("encoder", "decoder"), long.model)
        features = long.reader(inputs[row : row + 1])["input_features"]
        wanted = long.model.generate(input_features=features, return_timestamps=True)[0].tolist()
        for hook in hooks:
            hook.remove()
        assert list(long._transcribe(inputs[row : row + 1])[0].ids) == wanted
        assert outcome.outputs[row].text == long.codec.decode([one for one in wanted if one < long.times])
        work = dict(zip((unit.name for unit in long.units), outcome.work.counts[row].tolist(), strict=True))
        assert (work["encoder"], work["decoder_step"]) == (len(encoded), sum(decoded))  # a start is one token
        assert len(outcome.outputs[row].ids) == work["decoder_step"]
        ran.add((work["encoder"], work["decoder_step"]))
    assert len(ran) > 1
    assert (outcome.work.counts <= long.max_work(inputs).counts).all()
    assert (outcome.work.counts >= long.least_work().counts).all()
    assert long.windows == (3, 125)
    assert long.iterations(long.static_work()).item() == 125 * CAP


def test_signals_are_the_scores_of_every_step_and_reach_every_window() -> None:
    long, inputs = target(), sounds(2)
    scores = list[Tensor]()
    head = long.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, args, found: scores.append(found[0, -1].detach()))
    outcome = long.run(inputs[:1])
    hook.remove()
    given = inputs.clone().requires_grad_()
    signals = long.signals(given)
    steps = signals.mask.sum(1)
    assert steps.tolist() == long.iterations(signals.work).tolist() == long.iterations(long.run(inputs).work).tolist()
    assert signals.ids[0][signals.mask[0]].tolist() == list(outcome.outputs[0].ids)
    torch.testing.assert_close(signals.logits[0, : steps[0]], torch.stack(scores), atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(signals.logits[0, : steps[0]].square().sum(), given)
    seconds = gradient[0].split(RATE)
    assert all(part.abs().sum() > 0 for part in seconds)
    assert not gradient[1].any()
    assert long.features(inputs).shape == (2, 32)


def test_the_cap_holds_in_every_window() -> None:
    short = target().with_cap(3)
    outcome, found = short.run(sounds(1)), short._transcribe(sounds(1))[0]
    assert max(found.steps) == 3
    assert outcome.outputs[0].capped
    assert outcome.work.counts[0].tolist() == [len(found.steps), sum(found.steps), sum(_keys(found.steps))]
    assert short.iterations(short.static_work()).item() == 125 * 3


def _keys(steps: Sequence[int]) -> list[int]:
    """A step sees its own key and those before it."""
    return [count * (count + 1) // 2 for count in steps]


def test_what_ran_until_the_time_was_over_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = target()._transcribe(sounds(2))
    ticks = iter(range(sum(whole[0].steps) + whole[1].steps[0] + 2))

    def check(watch: Stopwatch) -> None:
        if next(ticks, None) is None:
            raise OutOfTime

    monkeypatch.setattr(Stopwatch, "check", check)
    watch = Stopwatch()
    watch.begin(1e12)
    with pytest.raises(OutOfTime) as over:
        target().until(watch).run(sounds(2))
    assert over.value.ran == {0: sum(whole[0].steps), 1: whole[1].steps[0] + 2}
    assert watch.forwards == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"condition_on_prev_tokens": True}, "windows would begin with texts of different lengths"),
        ({"num_beams": 2}, "one beam"),
        ({"no_timestamps_token_id": None}, "no_timestamps_token_id"),
        ({"lang_to_id": {"<|en|>": 5}}, "names a language"),
        ({"logprob_threshold": -1.0}, "decoded several times"),
    ],
)
def test_what_cannot_be_counted_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_transformers(network(**settings), parts(), name="recordings", seconds=SECONDS)


def test_only_whisper_reads_windows_and_only_where_one_is_too_short() -> None:
    model = network()
    del model.generation_config.no_timestamps_token_id
    one = from_transformers(model, parts(), name="recordings", seconds=1.0)
    assert type(one) is DenseGenerationTarget
    with pytest.raises(UsageError, match="more than 1 seconds"):
        LongFormTarget(one.model, one.codec, one.reader, seconds=0.5, name="recordings")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="one window"):
        reading_features(target())
    with pytest.raises(UsageError, match="up to 86,400 seconds"):
        Options.split("model:seconds=0")


def test_the_longest_recording_says_how_many_seconds_are_read(tmp_path: Path) -> None:
    model, folder = tmp_path / "model", tmp_path / "recordings"
    model.mkdir()
    folder.mkdir()
    for name, frames in (("short", 8000), ("long", 20_100)):
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(b"\0\0" * frames)
    (folder / "other.wav").write_bytes(b"no sound")
    (model / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    assert seconds_to_read(str(model), folder) is None
    (model / "preprocessor_config.json").write_text(json.dumps({"chunk_length": 1}))
    assert seconds_to_read(str(model), folder) == 2.6
    assert seconds_to_read(str(model), folder / "short.wav") is None
    assert seconds_to_read(f"{model}:seconds=2", folder) is None
    (model / "config.json").write_text(json.dumps({"model_type": "marian"}))
    assert seconds_to_read(str(model), folder) is None
