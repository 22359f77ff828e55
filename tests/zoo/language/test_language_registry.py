from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from torpor.core.errors import DataError, UsageError
from torpor.training.language import LanguageTrainer
from torpor.training.registry import TRAINERS
from torpor.zoo.entry import SHIPPED
from torpor.zoo.language.numbers import LONGEST
from torpor.zoo.language.registry import LANGUAGE_MODELS
from torpor.zoo.language.tokenizer import train_tokenizer

MEGABYTES = {"translator-multi30k": 18.0, "lm-multi30k": 10.0, "speller": 1.0}
CAPS = {"translator-multi30k": 128, "lm-multi30k": 96, "speller": 160}


@pytest.fixture
def multi30k(tmp_path: Path) -> Path:
    (tmp_path / "multi30k").mkdir()
    table = pa.table({"en": ["A man in a red hat.", "A dog"], "de": ["Ein Mann mit rotem Hut.", "Ein Hund"]})
    for split in ("train", "validation", "test"):
        pq.write_table(table, tmp_path / "multi30k" / f"{split}.parquet")
    return tmp_path


def test_the_zoo_is_known_by_name() -> None:
    assert set(LANGUAGE_MODELS) == set(MEGABYTES)
    assert all(name == entry.name for name, entry in LANGUAGE_MODELS.items())


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_weights_are_small_in_half_precision_and_decoding_is_greedy(name: str) -> None:
    entry = LANGUAGE_MODELS[name]
    tokenizer = train_tokenizer([], 259, entry.kind)
    model = entry.build(tokenizer, 0.0)
    assert model.config.is_encoder_decoder is (entry.kind == "encoder-decoder")
    numbers = sum(value.numel() for value in model.parameters() if value.requires_grad)
    trainer = TRAINERS[name]
    assert isinstance(trainer, LanguageTrainer)
    numbers += (trainer.recipe.vocab_size - len(tokenizer)) * model.config.hidden_size  # tied: one row per token
    assert 2 * numbers < MEGABYTES[name] * 1e6
    decoding = model.generation_config
    assert decoding.max_new_tokens == CAPS[name]
    assert (decoding.do_sample, decoding.num_beams, decoding.forced_eos_token_id) == (False, 1, None)
    assert (decoding.pad_token_id, decoding.decoder_start_token_id, decoding.eos_token_id) == (0, 1, 2)


def test_no_clean_answer_of_the_speller_can_reach_its_cap() -> None:
    assert CAPS["speller"] > LONGEST + 1


def test_translations_and_beginnings_come_from_the_data_folder(multi30k: Path) -> None:
    for folder in (multi30k, multi30k / "multi30k"):
        pairs = LANGUAGE_MODELS["translator-multi30k"].data(folder).load("test")
        assert pairs.inputs == ("A man in a red hat.", "A dog")
        assert pairs.references == ("Ein Mann mit rotem Hut.", "Ein Hund")
        beginnings = LANGUAGE_MODELS["lm-multi30k"].data(folder).load("test")
        assert beginnings.inputs == ("A man in a", "A dog")
        assert beginnings.references == (" red hat.", "")
    assert LANGUAGE_MODELS["speller"].data(None).has("validation")


@pytest.mark.parametrize("name", ["translator-multi30k", "lm-multi30k"])
def test_multi30k_must_be_given(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected Multi30k .*, got no folder; pass --data-dir"):
        TRAINERS[name].train(None, tmp_path)
    with pytest.raises(DataError, match=r"train\.parquet, got no such file"):
        TRAINERS[name].train(tmp_path, tmp_path)


@pytest.mark.parametrize("package", ["transformers", "sacrebleu"])
def test_a_missing_package_is_named_before_training(
    monkeypatch: pytest.MonkeyPatch, multi30k: Path, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"expected {package} to train translator-multi30k, got none; pip install"):
        TRAINERS["translator-multi30k"].train(multi30k, multi30k)


def test_models_are_in_the_package_or_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORPOR_CACHE", str(tmp_path))
    for name, entry in LANGUAGE_MODELS.items():
        assert entry.folder() == (SHIPPED if entry.ships else tmp_path), name


def test_training_by_name_writes_folder_card_and_checkpoint(tmp_path: Path, multi30k: Path) -> None:
    trainer = TRAINERS["lm-multi30k"]
    assert isinstance(trainer, LanguageTrainer)
    small = replace(trainer, recipe=replace(trainer.recipe, vocab_size=270))
    card = small.train(multi30k, tmp_path, epochs=1, seed=5)
    assert card == tmp_path / "lm-multi30k.json"
    assert (tmp_path / "lm-multi30k" / "model.safetensors").is_file()
    assert (tmp_path / "lm-multi30k.checkpoint.safetensors").is_file()
    told = json.loads(card.read_text(encoding="utf-8"))
    assert told["data"].startswith("multi30k en None")
    assert (told["recipe"]["seed"], told["recipe"]["epochs"]) == (5, 1)
