"""Encoders of texts learn, resume, and are judged as they are deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupted_training import InterruptionError, stop_when

from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.training.registry import TRAINERS
from torpor.training.texts import TextTrainer, of_one_length
from torpor.zoo.text.people import people

NOUNS = ("man", "dog", "woman and a man", "crowd", "tree")
PLACES = ("in the snow", "on a red bus", "at home")


class Sentences(DataSet):
    name = "sentences"

    def samples(self, split: str) -> Iterator[tuple[str, int]]:
        for noun in NOUNS:
            for place in PLACES:
                text = f"A {noun} {place}."
                yield text, people(text)


def trainer(name: str) -> TextTrainer:
    known = TRAINERS[name]
    assert isinstance(known, TextTrainer)
    recipe = replace(known.recipe, epochs=2, vocab_size=300, batch_size=4)
    return replace(known, entry=replace(known.entry, source=lambda folder: Sentences()), recipe=recipe)


@pytest.mark.parametrize("name", ["eetext-multi30k", "skim-multi30k"])
def test_an_interrupted_training_ends_with_the_same_weights(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    whole = trainer(name).train(None, tmp_path / "whole", epochs=2)

    checkpoint = tmp_path / "parts" / f"{name}.checkpoint.safetensors"
    with pytest.raises(InterruptionError):
        trainer(name).train(None, tmp_path / "parts", epochs=2, progress=stop_when(lambda done: checkpoint.is_file()))
    resumed = trainer(name).train(None, tmp_path / "parts", epochs=2)
    cards = [json.loads(path.read_text()) for path in (whole, resumed)]
    assert cards[0]["sha256"] == cards[1]["sha256"]
    assert {"accuracy", "cost_share"} <= set(cards[0]["test"])
    target = trainer(name).entry.load(tmp_path / "whole")
    assert target.run(("A man in the snow.",)).outputs.shape == (1, 4)
    (tmp_path / "whole" / name / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match="train it again"):
        trainer(name).entry.load(tmp_path / "whole")


def test_batches_hold_texts_of_one_length_and_every_text_once() -> None:
    lengths = [3, 7, 3, 3, 9, 7]
    groups = of_one_length(lengths, 2, torch.Generator().manual_seed(0))
    assert all(len({lengths[row] for row in group.tolist()}) == 1 and len(group) <= 2 for group in groups)
    assert sorted(row for group in groups for row in group.tolist()) == list(range(6))
