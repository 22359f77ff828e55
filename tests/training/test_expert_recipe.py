"""A mixture of experts learns, resumes, uses its experts alike, and is judged with its devices."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from interrupted_training import InterruptionError, stop_when

from torpor.core.errors import DataError, UsageError
from torpor.training.experts import ExpertTrainer, balance_loss
from torpor.training.registry import TRAINERS
from torpor.zoo.language.passages import Passages

NAME = "moe-multi30k"
SENTENCES = [
    f"A {who} {what} {where}." for who in ("man", "dog") for what in ("runs", "sits") for where in ("here", "on a bus")
]


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    for split in ("train", "validation", "test"):
        pq.write_table(pa.table({"en": [*SENTENCES, "left over"], "de": ["x"] * 9}), tmp_path / f"{split}.parquet")
    return tmp_path


def trainer() -> ExpertTrainer:
    known = TRAINERS[NAME]
    assert isinstance(known, ExpertTrainer)
    return replace(known, recipe=replace(known.recipe, epochs=2, vocab_size=290, batch_tokens=64))


def test_an_interrupted_training_ends_with_the_same_model(captions: Path) -> None:
    pytest.importorskip("transformers")
    whole = trainer().train(captions, captions / "whole", epochs=2)

    checkpoint = captions / "parts" / f"{NAME}.checkpoint.safetensors"
    with pytest.raises(InterruptionError):
        trainer().train(captions, captions / "parts", epochs=2, progress=stop_when(lambda done: checkpoint.is_file()))
    cards = [json.loads(path.read_text()) for path in (whole, trainer().train(captions, captions / "parts", epochs=2))]
    assert cards[0]["sha256"] == cards[1]["sha256"]
    test = cards[0]["test"]
    assert 0 < test["cost_share"] < 1 < test["imbalance_mean"] <= 4
    target = trainer().entry.load(captions / "whole")
    assert target.run(("A man runs here.",)).outputs.shape == (1, 290)
    (captions / "whole" / NAME / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="train it again"):
        trainer().entry.load(captions / "whole")


def test_the_balance_loss_is_least_where_experts_are_used_alike() -> None:
    chosen = torch.tensor([[0, 1], [2, 3], [0, 1], [2, 3]])
    even, uneven = torch.zeros(4, 4), torch.tensor([[5.0, 5, 0, 0]] * 4)
    assert balance_loss(even, chosen).item() == pytest.approx(1)
    assert balance_loss(uneven, torch.tensor([[0, 1]] * 4)).item() == pytest.approx(2, rel=0.02)


def test_passages_end_before_their_last_word(captions: Path) -> None:
    target: Any = trainer().entry
    codec = type("Codec", (), {"encode": lambda self, text: tuple(map(ord, text))})()
    data = target.data(captions, codec)
    assert isinstance(data, Passages)
    batch = data.load("test")
    assert len(batch) == 3
    assert batch.inputs[0] == " ".join(SENTENCES[:3])[: -len(" here.")]
    assert batch.references.tolist() == [ord(" ")] * 3
    with pytest.raises(DataError, match="pass --data-dir"):
        target.data(None, codec)
