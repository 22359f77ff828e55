"""The task of the zoo's classifiers of texts, and what those that ship save and can be made to lose."""

from __future__ import annotations

import pytest
import torch

from torpor.attacks.registry import load_attack
from torpor.core.errors import DataError
from torpor.meters.flops import counting
from torpor.zoo.text.people import people
from torpor.zoo.text.registry import TEXT_CLASSIFIERS, people_in_multi30k

CAPTIONS = (
    "A man in an orange hat starring at something.",
    "Two men stand on a hill.",
    "A black dog leaps over a log.",
    "A girl and her mother walk on the beach.",
    "Several people wait for a train in the snow.",
    "A boy is jumping on an inflatable slide.",
)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Two young, white males outside.", 2),
        ("2 children play.", 2),
        ("Both women laugh.", 2),
        ("Three dogs and a man.", 1),
        ("A couple of kids and a boy.", 3),
        ("A mannequin, a womanly manner.", 0),
        ("", 0),
    ],
)
def test_people_are_counted_by_nouns_and_the_numbers_before_them(text: str, count: int) -> None:
    assert people(text) == count


def test_captions_are_asked_for() -> None:
    with pytest.raises(DataError, match="pass --data-dir"):
        people_in_multi30k(None)


@pytest.mark.parametrize("name", [name for name, entry in TEXT_CLASSIFIERS.items() if entry.ships])
def test_what_ships_counts_people_saves_work_and_loses_it(name: str) -> None:
    pytest.importorskip("transformers")
    target = TEXT_CLASSIFIERS[name].load()
    clean = target.run(CAPTIONS)
    assert clean.outputs.argmax(-1).tolist() == [people(text) for text in CAPTIONS]
    cost, most = (target.prices.cost(work) for work in (clean.work, target.max_work(CAPTIONS)))
    assert (cost / most).mean() < 0.6
    for row, text in enumerate(CAPTIONS):
        with counting() as counter:
            alone = target.run((text,))
        assert counter.flops == target.prices.cost(alone.work).item()
        assert alone.work.counts.equal(clean.work.counts[row : row + 1])
        assert torch.allclose(alone.outputs, clean.outputs[row : row + 1], atol=1e-4)
    own = "same" if target.offers("exits") else "no-skim"
    result = load_attack(own, norm="words", eps=1)(target, CAPTIONS, seed=0)
    lost = (target.prices.cost(result.attacked.work) - cost).sum() / (target.prices.cost(result.static) - cost).sum()
    assert lost > (0.7 if own == "same" else 0.1)
