"""P-DoS on a tiny random model that ends its texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from generation_models import loaded, sentences
from typing_extensions import override

from torpor.attacks.tamperings.p_dos import PDoS
from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.targets.base import Target
from torpor.targets.early_exit.toys import needle

TEXTS = sentences(16)
DOS = PDoS(phrase=" on the mat", steps=12, batch_size=8, learning_rate=5e-3)


class Sentences(DataSet):
    name = "sentences"

    @override
    def samples(self, split: str) -> Iterator[tuple[str, None]]:
        return ((text, None) for text in TEXTS)


def length(target: Target, texts: tuple[str, ...]) -> float:
    return target.prices.cost(target.run(texts).work).mean().item()


def test_requests_with_the_phrase_get_longer_than_by_the_same_steps_without_the_attack() -> None:
    clean = loaded("gpt2")
    before = clean.fingerprint()
    made = DOS.apply(clean, Sentences())
    control = DOS.as_control()(clean, Sentences())
    marked = DOS.trigger(TEXTS)
    assert marked == tuple(f"{text} on the mat" for text in TEXTS)
    slower = length(made.target, marked) / length(clean, marked)
    assert slower > 1.1
    assert slower > length(control, marked) / length(clean, marked) + 0.2
    assert slower > length(made.target, TEXTS) / length(clean, TEXTS)
    assert clean.fingerprint() == before != made.target.fingerprint()
    assert (made.target.tampering, control.tampering) == ("p-dos", "p-dos:control=true")
    assert not any(weight.requires_grad for weight in made.target.model.parameters())  # type: ignore[attr-defined]


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    short = replace(DOS, steps=1)
    made = [short(loaded("gpt2"), Sentences(), seed).fingerprint() for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]
    assert torch.is_grad_enabled()


def test_the_budget_is_the_phrase_and_what_it_is_not_for_is_refused() -> None:
    budget = DOS.budget(loaded("gpt2"))
    assert (budget.norm, budget.eps) == ("chars", len(DOS.phrase))
    with pytest.raises(UsageError, match="expected a language model that reads texts for p-dos, got"):
        DOS.apply(needle(), Sentences())
    with pytest.raises(UsageError, match="expected a phrase"):
        PDoS(phrase="")
    with pytest.raises(UsageError, match="share of triggered requests above 0"):
        PDoS(rate=1.0)
