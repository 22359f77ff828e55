from __future__ import annotations

import math

import pytest
import torch

from torpor.attacks.decoder.objectives import LowerEnd
from torpor.attacks.decoder.slothspeech import SlothSpeech
from torpor.attacks.search.optimizers import Change
from torpor.core.signals import StepSignals
from torpor.core.space import FeatureSpace, WaveSpace
from torpor.core.work import Work
from torpor.targets.decoder.toy_steps import PeakTarget

END = 2


def signals_of(logits: list[list[list[float]]], lengths: list[int]) -> StepSignals:
    scores = torch.tensor(logits)
    mask = torch.arange(scores.shape[1]) < torch.tensor(lengths).unsqueeze(1)
    work = Work(torch.tensor([[1, length] for length in lengths]))
    return StepSignals(scores, scores.argmax(-1), mask, (END,), work)


def test_the_loss_is_the_papers() -> None:
    ended = [[5.0, 1.0, -2.0], [3.0, 4.0, 7.0], [100.0, 100.0, 100.0]]
    capped = [[5.0, 1.0, -2.0], [3.0, 4.0, 1.5], [9.0, 8.0, 0.5]]
    losses = LowerEnd()(signals_of([ended, capped], [2, 3]), 0, {})
    assert losses.tolist() == pytest.approx([(-2 + 7) - 4, (-2 + 1.5 + 0.5) - 9])


def test_steps_after_the_end_carry_no_gradient() -> None:
    signals = signals_of([[[5.0, 1.0, -2.0], [3.0, 4.0, 7.0], [1.0, 1.0, 1.0]]], [2])
    logits = signals.logits.clone().requires_grad_()
    LowerEnd()(StepSignals(logits, signals.ids, signals.mask, (END,), signals.work), 0, {}).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[[0, 0, 1], [0, -1, 1], [0, 0, 0]]]


def test_it_attacks_sounds_and_their_features_only() -> None:
    assert SlothSpeech.applies_to(PeakTarget(space=WaveSpace((8,))))
    assert SlothSpeech.applies_to(PeakTarget(space=FeatureSpace((2, 4))))
    assert not SlothSpeech.applies_to(PeakTarget())


def test_a_step_is_a_tenth_of_the_budget_and_few_steps_can_spend_it() -> None:
    waves = torch.zeros(2, 100)
    assert SlothSpeech(eps=0.02).iterations == 101
    assert SlothSpeech(eps=0.02).rate(waves) == pytest.approx(0.002)
    assert SlothSpeech(norm="L2", eps=0.5).rate(waves) * math.sqrt(100) == pytest.approx(0.05)
    assert SlothSpeech(eps=0.02, steps=4).rate(waves) == pytest.approx(0.01)


def test_features_are_moved_as_in_the_paper() -> None:
    features = torch.zeros(2, 3, 12)
    attack = SlothSpeech(eps=0.25)
    assert attack.rate(features) == 0.1
    assert attack.start(features, 0).eq(0).all()
    assert attack.start(features[:, 0], 0).ne(0).any()
    assert SlothSpeech.default_budget("Linf", None, (3, 12)).eps == 0.25
    assert SlothSpeech.default_budget("L2", None, (3, 12)).eps == pytest.approx(0.25 * 6)
    assert SlothSpeech.default_budget("Linf", None, (36,)).eps == 0.01
    assert SlothSpeech.default_budget("Linf", "0.1", (3, 12)).eps == 0.1


def test_the_penalty_is_that_of_the_norm_and_its_gradient_is_finite() -> None:
    change = torch.tensor([[0.3, -0.4]])
    assert SlothSpeech(norm="L2", eps=0.5).penalty(change).item() == pytest.approx(0.025)
    assert SlothSpeech().penalty(change).item() == pytest.approx(0.04)
    for norm in ("Linf", "L2"):
        gradient = Change().gradient(
            torch.zeros(1, 4), torch.zeros(1, 4), torch.ones(1, 4), SlothSpeech(norm=norm).penalty
        )
        assert gradient.isfinite().all()
