from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import pytest

from torpor.core.errors import DataError
from torpor.data.scenes import NUMBERS
from torpor.targets.decoder.synthesis import MOST_CHARACTERS, STOP
from torpor.targets.resolve import load_target
from torpor.training.registry import TRAINERS
from torpor.zoo.entry import SHIPPED
from torpor.zoo.speech.digit_strings import MOST_DIGITS
from torpor.zoo.speech.synthesis import SYNTHESIS

NAME = "tts-digits"


def test_the_card_belongs_to_the_weights_and_speech_ends_when_it_should() -> None:
    card, weights = SYNTHESIS[NAME].card(), SHIPPED / f"{NAME}.safetensors"
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.stat().st_size < 2_000_000
    assert card["recipe"] == asdict(TRAINERS[NAME].recipe)
    assert card["test"]["near_length"] >= 0.9
    assert card["test"]["exact_match"] >= 0.9
    assert card["test"]["cap_hit_rate"] == 0


def test_held_out_texts_are_heard_right_and_no_folder_is_needed() -> None:
    target = load_target(NAME)
    batch = target.data(None).load("test", 12)
    outcome = target.run(target.read(batch.inputs))
    assert target.utility(outcome.outputs, batch.references).mean() >= 0.9
    assert all(output.ids[-1] == STOP for output in outcome.outputs)
    steps = dict(zip(batch.inputs, outcome.work.counts[:, 1].tolist(), strict=True))
    assert max(steps, key=steps.__getitem__).count(" ") > min(steps, key=steps.__getitem__).count(" ")


def test_texts_leave_room_for_edits() -> None:
    longest = " ".join([max(NUMBERS, key=len)] * MOST_DIGITS)
    assert len(longest) + 8 <= MOST_CHARACTERS


def test_recordings_come_from_the_data_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the Free Spoken Digit Dataset .*, got no folder; pass --data-dir"):
        TRAINERS[NAME].train(None, tmp_path)
    with pytest.raises(DataError, match=r"train\.parquet, got no such file"):
        TRAINERS[NAME].train(tmp_path / "nowhere", tmp_path)
