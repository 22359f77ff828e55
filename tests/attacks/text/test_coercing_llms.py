from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch

from torpor.attacks.text.coercing_llms import CoercingLLMs
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.targets.decoder.toy_text import ToyCodec, ToyText

TEXTS = ("the cat sat", "my dog 3", "a tree, a bird")


class Accents(ToyCodec):
    """A tokenizer with tempting tokens that are not ASCII."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = (*self.tokens, "é", "ü")
        self.size = len(self.tokens)


@pytest.mark.parametrize("eps", [1, 4])
def test_the_worst_case_is_reached(eps: int) -> None:
    target = ToyText()
    result = CoercingLLMs(eps=eps, steps=3 * eps, candidates=128)(target, TEXTS)
    worst = [target.worst_steps(text, "suffix", eps) for text in TEXTS]
    assert target.iterations(result.attacked.work).tolist() == worst
    for clean, text in zip(TEXTS, result.inputs, strict=True):
        before, after = target.codec.encode(clean), target.codec.encode(text)
        assert after[: len(before)] == before
        assert len(after) - len(before) == eps


def test_the_longest_output_is_returned_and_the_search_goes_on_from_the_best_of_each_step() -> None:
    class Noting(ToyText):
        """A toy that notes which texts were differentiated."""

        def __init__(self) -> None:
            super().__init__()
            self.followed: list[str] = []
            self.rounds: list[tuple[str, ...]] = []

        def signals(self, inputs: Sequence[str]) -> StepSignals:
            self.followed += inputs
            return super().signals(inputs)

        def score(self, texts: Sequence[str]) -> torch.Tensor:
            self.rounds.append(tuple(texts))
            return super().score(texts)

    target = Noting()
    result = CoercingLLMs(eps=3, steps=20, candidates=2)(target, TEXTS[:1], seed=1)
    toy = ToyText()
    asked = [text for texts in target.rounds for text in texts]
    assert toy.score(result.candidates.inputs).item() == toy.score(asked).max().item()
    for text, texts in zip(target.followed[1:], target.rounds[2:], strict=False):
        assert toy.score([text]).item() == toy.score(texts).max().item()
    lengths = toy.score(target.followed).tolist()
    assert any(after < before for before, after in pairwise(lengths))


def test_candidates_are_limited_and_paid_for() -> None:
    spent = CoercingLLMs(eps=4, steps=3, candidates=5)(ToyText(), TEXTS[:1]).candidates
    assert spent.backwards.tolist() == [3]
    assert 1 + 1 + 3 < spent.forwards.item() <= 1 + 1 + 3 * (1 + 5)


def test_suffixes_are_ascii_and_use_the_room_that_there_is() -> None:
    codec = Accents()
    allowed = CoercingLLMs().allowed(codec, codec.size + 3)
    assert allowed.sum() == ToyCodec().size - len(codec.special)
    assert not allowed[-5:].any()
    target = ToyText(max_tokens=8)
    short = CoercingLLMs(steps=8)(target, ("abcdef",))
    assert len(target.codec.encode(short.inputs[0])) == 8
    assert short.budget_used.tolist() == [2 / 8]
    full = CoercingLLMs(steps=8)(target, ("abcdefgh",))
    assert (full.inputs, full.candidates.forwards.tolist()) == (("abcdefgh",), [1])


def test_the_loss_is_the_papers() -> None:
    logits = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True, True, False]])
    signals = StepSignals(logits, torch.ones(1, 4).long(), mask, (0,), Work(torch.ones(1, 1).long()))
    loss = CoercingLLMs().objective(ToyText())((1, 2))(signals)
    ends = logits[0, :3].softmax(-1)[:, 0].tolist()
    assert loss.item() == pytest.approx(-sum(math.log(1 - end) for end in ends) / 3, abs=1e-6)


def test_the_seed_decides() -> None:
    few = CoercingLLMs(eps=4, steps=2, candidates=4)
    one, again, other = (few(ToyText(), TEXTS, seed=seed).candidates.inputs for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"top_k": 0}, {"candidates": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected steps, top_k and candidates"):
        CoercingLLMs(**wrong)
