from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from interrupted_training import InterruptionError
from safetensors import safe_open
from spoken import recordings

from torpor.attacks.decoder.slothspeech import SlothSpeech
from torpor.core.errors import UsageError
from torpor.data.speech import SpokenDigits
from torpor.targets.resolve import load_target
from torpor.training.decoders import judge
from torpor.training.loop import Progress, silent
from torpor.training.speech import SpeechRecipe, train_speech
from torpor.zoo.speech.architectures import whisper
from torpor.zoo.speech.registry import SpeechEntry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, WhisperForConditionalGeneration

RECIPE = SpeechRecipe(epochs=3, batch_size=4, dropout=0.2, seed=7)
CAP, EOS = 30, 2


def tiny(tokenizer: PreTrainedTokenizerFast, dropout: float) -> WhisperForConditionalGeneration:
    return whisper(tokenizer, dropout, width=16, layers=(1, 1), heads=2, inner=24, cap=CAP)


def entry() -> SpeechEntry:
    return SpeechEntry("tiny", tiny)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SpokenDigits:
    return SpokenDigits(recordings(tmp_path_factory.mktemp("spoken")), train=10, held_out=4)


@pytest.fixture(scope="module")
def trained(data: SpokenDigits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data, tmp_path_factory.mktemp("trained")).parent


def train(data: SpokenDigits, folder: Path, recipe: SpeechRecipe = RECIPE, progress: Progress = silent) -> Path:
    return train_speech(entry(), data, recipe, folder, progress=progress)


def card(folder: Path) -> dict[str, Any]:
    return entry().card(folder)


def test_an_interrupted_training_ends_with_the_same_bits(data: SpokenDigits, trained: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, loss: float) -> None:
        assert total == 3 * 3  # a last batch of two utterances
        if done > 3:
            raise InterruptionError

    torch.manual_seed(123)  # the state of the global generator must not matter
    with pytest.raises(InterruptionError):
        train(data, tmp_path, progress=stop)
    assert not (tmp_path / "tiny.json").exists()
    train(data, tmp_path)
    assert card(tmp_path)["sha256"] == card(trained)["sha256"]
    train(data, tmp_path, replace(RECIPE, noise=0.5))
    assert card(tmp_path)["sha256"] != card(trained)["sha256"], "noise matters, and a finished checkpoint gives way"


def test_every_epoch_hears_other_utterances(
    data: SpokenDigits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    original = SpokenDigits.utterance

    def utterance(self: SpokenDigits, split: str, number: int) -> tuple[torch.Tensor, str]:
        asked.append((split, number))
        return original(self, split, number)

    monkeypatch.setattr(SpokenDigits, "utterance", utterance)
    train(data, tmp_path)
    assert asked[1:31] == [("train", number) for number in range(30)]
    assert {split for split, _ in asked[31:]} == {"test"}


def test_training_lowers_the_loss(data: SpokenDigits, tmp_path: Path) -> None:
    losses: list[float] = []
    recipe = replace(RECIPE, epochs=10, learning_rate=1e-2, dropout=0, label_smoothing=0)
    train(data, tmp_path, recipe, progress=lambda done, total, loss: losses.append(loss))
    assert losses[-2] < 0.8 * losses[0]


def test_a_damaged_checkpoint_is_a_usage_error(data: SpokenDigits, tmp_path: Path) -> None:
    (tmp_path / "tiny.checkpoint.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(UsageError, match="expected a training checkpoint, got a damaged file"):
        train(data, tmp_path)


def test_the_saved_folder_loads_offline_and_generates_alike(data: SpokenDigits, trained: Path) -> None:
    import transformers

    home = trained / "tiny"
    model = transformers.WhisperForConditionalGeneration.from_pretrained(home, local_files_only=True)
    extractor: Any = transformers.WhisperFeatureExtractor.from_pretrained(home, local_files_only=True)
    target, named, test = entry().load(trained), load_target(f"hf:{home}"), data.load("test")
    waves = target.read(test.inputs)
    outputs = target.run(waves).outputs
    assert outputs == named.run(waves).outputs
    for wave, output in zip(waves, outputs, strict=True):
        features = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
        made = model.generate(features)[0].tolist()  # Whisper's own leaves the end token out
        assert [*made, EOS][: len(output.ids)] == list(output.ids)
    assert target.units == named.units
    assert model.dtype == torch.float32
    with safe_open(home / "model.safetensors", "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not iterable itself
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert card(trained)["parameters"] == sum(value.numel() for value in stored.values())
    assert {path.name for path in home.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_card_has_scores_and_all_that_made_them(data: SpokenDigits, trained: Path) -> None:
    told = json.loads((trained / "tiny.json").read_text(encoding="utf-8"))
    assert told["test"] == judge(entry().load(trained), data, "test")
    assert told["test"]["samples"] == 4
    assert told["test"]["cap"] == CAP
    assert told["recipe"] == asdict(RECIPE)
    assert (told["name"], told["vocabulary"], told["data"]) == ("tiny", 259, data.fingerprint())
    assert told["seconds"] > 0


def test_slothspeech_also_fills_silence(data: SpokenDigits, trained: Path) -> None:
    target, attack = entry().load(trained), SlothSpeech(steps=2)
    waves = target.read(data.load("test", 2).inputs)
    found = attack.search(target, waves, None, 0)
    changed = ((found.inputs - waves) != 0) & (waves == 0)
    assert (changed.sum(1) > 0.9 * (waves == 0).sum(1)).all(), "where the clean sound has no gradient"
    assert found.zero_gradient is not None
    assert not found.zero_gradient.any()
