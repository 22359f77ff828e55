from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from spoken import recordings

from torpor.core.errors import DataError, UsageError
from torpor.data.scenes import NUMBERS
from torpor.data.speech import MOST_DIGITS
from torpor.targets.resolve import load_target
from torpor.training.decoders import judge
from torpor.training.registry import TRAINERS
from torpor.zoo.entry import SHIPPED
from torpor.zoo.language.tokenizer import BYTES_ONLY, train_tokenizer
from torpor.zoo.speech.architectures import CAP
from torpor.zoo.speech.registry import SPEECH

NAMES = [name for name, entry in SPEECH.items() if entry.ships]
MEGABYTE = 1_000_000


def fsdd() -> Path:
    """Return the data folder that lies beside a developer's checkout."""
    for parent in Path(__file__).resolve().parents:
        folder = parent / "shared" / "data"
        if (folder / "fsdd" / "test.parquet").is_file():
            return folder
    pytest.skip("no shared/data/fsdd in any parent of this checkout")


@pytest.mark.parametrize("name", SPEECH)
def test_weights_are_small_in_half_precision_and_decoding_is_greedy(name: str) -> None:
    assert SPEECH[name].name == name
    model = SPEECH[name].build(train_tokenizer([], BYTES_ONLY, "encoder-decoder"), 0.0)
    assert 2 * sum(value.numel() for value in model.parameters()) < 2 * MEGABYTE
    decoding = model.generation_config
    assert decoding is not None
    assert decoding.max_new_tokens == CAP
    assert (decoding.do_sample, decoding.num_beams, decoding.forced_eos_token_id) == (False, 1, None)
    assert (decoding.pad_token_id, decoding.decoder_start_token_id, decoding.eos_token_id) == (0, 1, 2)
    assert (decoding.suppress_tokens, decoding.begin_suppress_tokens) == (None, None)


def test_no_true_transcript_can_reach_the_cap() -> None:
    longest = " ".join([max(NUMBERS, key=len)] * MOST_DIGITS)
    assert 2 * (len(longest.encode()) + 1) < CAP


def test_recordings_come_from_the_data_folder(tmp_path: Path) -> None:
    recordings(tmp_path / "fsdd", copies=1)
    entry = SPEECH["speech-digits"]
    assert entry.data(tmp_path).load("test").references == entry.data(tmp_path / "fsdd").load("test").references
    with pytest.raises(DataError, match=r"expected the Free Spoken Digit Dataset .*, got no folder; pass --data-dir"):
        TRAINERS["speech-digits"].train(None, tmp_path)
    with pytest.raises(DataError, match=r"train\.parquet, got no such file"):
        TRAINERS["speech-digits"].train(tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize("package", ["transformers", "tokenizers", "sacrebleu"])
def test_a_missing_package_is_named_before_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"expected {package} to train speech-digits, got none; pip install"):
        TRAINERS["speech-digits"].train(tmp_path, tmp_path)


def test_models_are_in_the_package_or_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORPOR_CACHE", str(tmp_path))
    for name, entry in SPEECH.items():
        assert entry.folder() == (SHIPPED if entry.ships else tmp_path), name


@pytest.mark.parametrize("name", NAMES)
def test_the_card_belongs_to_the_weights(name: str) -> None:
    card, weights = SPEECH[name].card(), SHIPPED / name / "model.safetensors"
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.stat().st_size < 2 * MEGABYTE
    assert card["recipe"] == asdict(TRAINERS[name].recipe)
    assert card["test"]["exact_match"] >= 0.8
    assert card["test"]["cap_hit_rate"] == 0
    assert load_target(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_real_speech_is_written_down(name: str) -> None:
    data = SPEECH[name].data(fsdd())
    data.sizes["test"] = 60
    told = judge(SPEECH[name].load(), data, "test")
    assert told["exact_match"] >= 0.75
    assert told["cap_hit_rate"] == 0
