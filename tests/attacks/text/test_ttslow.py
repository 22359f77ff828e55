from __future__ import annotations

import math

import pytest
import torch

from torpor.attacks.decoder.objectives import end_probability
from torpor.attacks.text.nmtsloth import LateEnd
from torpor.attacks.text.search.characters import LOOKALIKES
from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.gradients import token_gradient
from torpor.attacks.text.ttslow import TTSlow, lookalikes, swaps
from torpor.core.budget import Budget
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.targets.decoder.toy_text import ToyCodec, ToyText

WORK = Work(torch.ones(1, 1, dtype=torch.int64))


@pytest.mark.parametrize("eps", [1, 2])
def test_the_worst_case_is_reached(eps: int) -> None:
    target, texts = ToyText(), ("the cat sat", "my dog 3", "a tree, a bird")
    found = TTSlow(eps=eps)(target, texts)
    assert target.iterations(found.attacked.work).tolist() == [target.worst_steps(text, "chars", eps) for text in texts]


def test_a_swap_counts_as_two_characters() -> None:
    (swapped,) = swaps("ab", (0, 2))
    assert swapped == "ba"
    assert not Sendable(ToyText().space, Budget("chars", 1))("ab", swapped)
    assert Sendable(ToyText().space, Budget("chars", 2))("ab", swapped)


def test_lookalikes_are_other_letters_of_the_same_number() -> None:
    word = "seven one"
    found = list(lookalikes(word, (0, len(word))))
    assert len(found) == sum(letter in LOOKALIKES for letter in word)
    assert all(len(text) == len(word) and not text.isascii() for text in found)
    assert not any(letter.isascii() for letter in LOOKALIKES.values())


def test_the_loss_is_of_the_stop_alone_and_finite_where_nothing_else_can_be_chosen() -> None:
    stops = torch.tensor([[-2.0, 0.5, 3.0]], requires_grad=True)
    logits = torch.stack([torch.zeros_like(stops), stops], -1)
    signals = StepSignals(logits, torch.tensor([[0, 1, 1]]), torch.ones(1, 3, dtype=torch.bool), (1,), WORK)
    wanted = sum(math.log(1 + math.exp(stop)) for stop in (-2.0, 0.5, 3.0)) / 3
    losses = [LateEnd(chosen=chosen)(signals) for chosen in (True, False)]
    assert [loss.item() for loss in losses] == pytest.approx([wanted, wanted], abs=1e-6)
    (gradient,) = torch.autograd.grad(losses[0].sum(), stops)
    assert gradient[0].tolist() == pytest.approx((end_probability(signals)[0] / 3).tolist(), abs=1e-6)


def test_candidates_come_in_the_order_of_importance_and_are_one_edit_away() -> None:
    target, text = ToyText(), "ab cat"
    gradient = token_gradient(target, text, LateEnd(chosen=False))
    proposed = list(TTSlow().neighbors(target)(text, gradient))
    assert "ba cat" in proposed
    assert "9b cat" in proposed
    codec = ToyCodec()
    assert all(codec.encode(one) for one in proposed)
