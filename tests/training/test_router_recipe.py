"""The small parts of a router learn, resume, and are judged as they are deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from torpor.data.sets import DataSet
from torpor.training.registry import TRAINERS
from torpor.training.routing import RouterTrainer, answers, asked, longer
from torpor.zoo.text.people import people


class Captions(DataSet):
    name = "captions"

    def samples(self, split: str) -> Iterator[tuple[str, int]]:
        for noun in ("man", "dog", "woman and a man", "crowd", "tree"):
            for place in ("in the snow", "on a red bus", "at home"):
                text = f"A {noun} {place}."
                yield text, people(text)


def trainer() -> RouterTrainer:
    known = TRAINERS["router-multi30k"]
    assert isinstance(known, RouterTrainer)
    recipe = replace(known.recipe, epochs=1, batch_size=4)
    return replace(known, entry=replace(known.entry, source=lambda folder: Captions()), recipe=recipe)


def test_it_is_trained_and_the_threshold_sends_a_share_on(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    cards = [json.loads(trainer().train(None, tmp_path / name, epochs=1).read_text()) for name in ("one", "two")]
    assert cards[0]["sha256"] == cards[1]["sha256"]
    assert cards[0]["validation"]["expensive_share"] == pytest.approx(0.25, abs=0.1)
    assert {"accuracy", "cost_share", "accuracy_cheap", "accuracy_large"} <= set(cards[0]["test"])
    target = trainer().entry.load(tmp_path / "one")
    texts = Captions().load("test").inputs
    sent = target.expensive(target.run(texts).work)
    assert sent.equal(asked(target, "gate", texts) > target.threshold)
    wanted = torch.where(sent, answers(target, "large", texts), answers(target, "cheap", texts))
    assert target.run(texts).outputs.argmax(-1).equal(wanted)


def test_texts_grow_by_words_of_others() -> None:
    texts = ("a cat", "two dogs bark")
    more = longer(texts, trainer().recipe)
    assert all(new.startswith(f"{old} ") for old, new in zip(texts, more, strict=True))
    assert all(1 <= len(new.split()) - len(old.split()) <= 6 for old, new in zip(texts, more, strict=True))
    assert more == longer(texts, trainer().recipe)
