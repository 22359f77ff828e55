from __future__ import annotations

from typing import Any

import pytest
import torch

from torpor.attacks.text.loopllm import LoopLLM, RepeatedSegment, repeated
from torpor.attacks.text.search import Sendable, TokenGradient, insertable
from torpor.attacks.text.search.coordinates import per_slot
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.targets.decoder.toy_text import ToyText

TEXTS = ("the cat sat", "my dog 3", "a tree, a bird")


@pytest.mark.parametrize("eps", [1, 4, 30])
def test_the_worst_case_is_reached(eps: int) -> None:
    target = ToyText()
    result = LoopLLM(eps=eps, steps=4)(target, TEXTS)
    worst = [target.worst_steps(text, "suffix", eps) for text in TEXTS]
    assert target.iterations(result.attacked.work).tolist() == worst
    for clean, text in zip(TEXTS, result.inputs, strict=True):
        before, after = target.codec.encode(clean), target.codec.encode(text)
        assert after[: len(before)] == before
        assert len(set(after[len(before) :])) == 1
        assert len(after) - len(before) == eps


def test_longer_segments_repeat_and_fit() -> None:
    target = ToyText()
    result = LoopLLM(eps=8, segment=3, steps=8)(target, ("the cat sat",))
    suffix = target.codec.encode(result.inputs[0])[len(target.codec.encode("the cat sat")) :]
    assert len(suffix) == 6  # the third repetition would not fit
    assert suffix[:3] == suffix[3:]
    assert result.budget_used.tolist() == [0.75]
    assert target.iterations(result.attacked.work).item() > 0.7 * target.worst_steps("the cat sat", "suffix", 6)


def test_candidates_are_limited_and_paid_for() -> None:
    target = ToyText()
    spent = LoopLLM(eps=2, steps=2, candidates=5)(target, TEXTS[:1]).candidates
    assert spent.backwards.tolist() == [2]
    assert 1 + 1 + 2 < spent.forwards.item() <= 1 + 1 + 2 * (1 + 5)


def test_the_loss_is_the_papers() -> None:
    logits = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True, True, False]])
    loss = RepeatedSegment((2, 5, 2))(
        StepSignals(logits, torch.zeros(1, 4).long(), mask, (0,), Work(torch.ones(1, 1).long()))
    )
    p = logits[0, :3].softmax(-1)
    assert loss.item() == pytest.approx(-(p[:, 2] + p[:, 5]).log().mean().item())


def test_repetitions_share_a_gradient_and_rows_of_zeros_stay_zero() -> None:
    matrix = torch.eye(4)
    rows = torch.tensor([[9.0, 9, 9, 9], [1, 0, 0, 0], [0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]])
    gradient = TokenGradient(torch.tensor([3, 0, 1, 0, 1]), rows, 0.0)
    changes = per_slot(gradient, 1, (0, 1), matrix, torch.tensor([True, True, True, False]))
    assert not changes.isnan().any()
    assert changes[0, [0, 3]].tolist() == [torch.inf] * 2  # itself, and what is not allowed
    assert changes[1, [1, 3]].tolist() == [torch.inf] * 2
    assert changes[1, [0, 2]].tolist() == [0, 0]
    assert changes[0, 1].item() == pytest.approx(1 / 2**0.5)  # (0 + 2) - 1, beside (0 + 0) - 1
    assert changes[0, 2].item() == pytest.approx(-1 / 2**0.5)


def test_suffixes_that_would_be_read_otherwise_are_refused() -> None:
    target = ToyText(max_tokens=8)
    fits = Sendable(target.space, Budget("suffix", 4))
    (nine,) = target.codec.encode("9")
    assert repeated(fits, "a cat", (nine,)) is None  # 9999 is two tokens
    assert repeated(fits, "a", target.codec.encode("<")) == "a<<<<"
    assert repeated(fits, "abcdef", target.codec.encode("<")) == "abcdef<<"  # the room that there is
    assert repeated(fits, "abcdefgh", target.codec.encode("<")) is None
    assert insertable(target.codec)[nine]
    full = LoopLLM(eps=4)(target, ("abcdefgh",))
    assert full.inputs == ("abcdefgh",)
    assert full.candidates.forwards.tolist() == [1]


@pytest.mark.parametrize("wrong", [{"segment": 0}, {"steps": 0}, {"top_k": 0}, {"candidates": 0}, {"segment": 31}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"expected (steps|a segment)"):
        LoopLLM(**wrong)
