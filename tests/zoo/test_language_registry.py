from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from torpor.core.errors import DataError, UsageError
from torpor.zoo.language.numbers import LONGEST
from torpor.zoo.language.registry import LANGUAGE_ZOO
from torpor.zoo.language.tokenizer import train_tokenizer
from torpor.zoo.registry import SHIPPED

MEGABYTES = {"translator-multi30k": 18.0, "lm-multi30k": 10.0, "speller": 1.0}
CAPS = {"translator-multi30k": 128, "lm-multi30k": 96, "speller": 200}


@pytest.fixture
def multi30k(tmp_path: Path) -> Path:
    (tmp_path / "multi30k").mkdir()
    table = pa.table({"en": ["A man in a red hat.", "A dog"], "de": ["Ein Mann mit rotem Hut.", "Ein Hund"]})
    for split in ("train", "validation", "test"):
        pq.write_table(table, tmp_path / "multi30k" / f"{split}.parquet")
    return tmp_path


def test_the_zoo_is_known_by_name() -> None:
    assert set(LANGUAGE_ZOO) == set(MEGABYTES)
    assert all(name == entry.name for name, entry in LANGUAGE_ZOO.items())


@pytest.mark.parametrize("name", LANGUAGE_ZOO)
def test_weights_are_small_in_half_precision_and_decoding_is_greedy(name: str) -> None:
    entry = LANGUAGE_ZOO[name]
    tokenizer = train_tokenizer([], 259, entry.kind)
    model = entry.build(tokenizer, 0.0)
    assert model.config.is_encoder_decoder is (entry.kind == "encoder-decoder")
    numbers = sum(value.numel() for value in model.parameters() if value.requires_grad)
    numbers += (entry.recipe.vocab_size - len(tokenizer)) * model.config.hidden_size  # tied: one row per token
    assert 2 * numbers < MEGABYTES[name] * 1e6
    decoding = model.generation_config
    assert decoding.max_new_tokens == CAPS[name]
    assert (decoding.do_sample, decoding.num_beams, decoding.forced_eos_token_id) == (False, 1, None)
    assert (decoding.pad_token_id, decoding.decoder_start_token_id, decoding.eos_token_id) == (0, 1, 2)


def test_no_clean_answer_of_the_speller_can_reach_its_cap() -> None:
    assert CAPS["speller"] > LONGEST + 1


def test_translations_and_beginnings_come_from_the_data_folder(multi30k: Path) -> None:
    for folder in (multi30k, multi30k / "multi30k"):
        pairs = LANGUAGE_ZOO["translator-multi30k"].data(folder).load("test")
        assert pairs.inputs == ("A man in a red hat.", "A dog")
        assert pairs.references == ("Ein Mann mit rotem Hut.", "Ein Hund")
        beginnings = LANGUAGE_ZOO["lm-multi30k"].data(folder).load("test")
        assert beginnings.inputs == ("A man in a", "A dog")
        assert beginnings.references == (" red hat.", "")
    assert LANGUAGE_ZOO["speller"].data(None).has("validation")


@pytest.mark.parametrize("name", ["translator-multi30k", "lm-multi30k"])
def test_multi30k_must_be_given(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected Multi30k .*, got no folder; pass --data-dir"):
        LANGUAGE_ZOO[name].train(None, tmp_path / name)
    with pytest.raises(DataError, match=r"train\.parquet, got no such file"):
        LANGUAGE_ZOO[name].train(tmp_path, tmp_path / name)


@pytest.mark.parametrize("package", ["transformers", "sacrebleu"])
def test_a_missing_package_is_named_before_training(
    monkeypatch: pytest.MonkeyPatch, multi30k: Path, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"expected {package} to train translator-multi30k, got none; pip install"):
        LANGUAGE_ZOO["translator-multi30k"].train(multi30k, multi30k / "out")


def test_models_are_in_the_package_or_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORPOR_CACHE", str(tmp_path))
    for name, entry in LANGUAGE_ZOO.items():
        assert entry.folder() == (SHIPPED if entry.ships else tmp_path) / name


def test_training_by_name_writes_folder_card_and_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, multi30k: Path
) -> None:
    monkeypatch.setenv("TORPOR_CACHE", str(tmp_path / "cache"))
    entry = LANGUAGE_ZOO["lm-multi30k"]
    small = replace(entry, recipe=replace(entry.recipe, epochs=1, vocab_size=270))
    card = small.train(multi30k)
    assert card == tmp_path / "cache" / "lm-multi30k.json"
    assert (tmp_path / "cache" / "lm-multi30k" / "model.safetensors").is_file()
    assert (tmp_path / "cache" / "lm-multi30k.checkpoint.safetensors").is_file()
    assert json.loads(card.read_text(encoding="utf-8"))["data"].startswith("multi30k en None")
