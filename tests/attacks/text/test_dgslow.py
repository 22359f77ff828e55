from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
import torch
from contract_cases import watch
from hypothesis import given
from hypothesis import strategies as st
from step_targets import Translator
from torch import Tensor

from torpor.attacks.text.dgslow import DGSlow, least_norm, likelihood, wanders
from torpor.attacks.text.nmtsloth import LateEnd
from torpor.attacks.text.search import Tally, token_gradient
from torpor.core.signals import StepSignals
from torpor.targets.decoder.toy_text import ToyText

TEXTS = ("the cat sat", "my dog 3")


@pytest.mark.parametrize("fitness", ["adaptive", "combined"])
@pytest.mark.parametrize("eps", [1, 3])
def test_the_worst_case_is_reached(fitness: Literal["adaptive", "combined"], eps: int) -> None:
    target = ToyText()
    result = DGSlow(eps=eps, fitness=fitness)(target, TEXTS)
    assert target.iterations(result.attacked.work).tolist() == [
        target.worst_steps(text, "tokens", eps) for text in TEXTS
    ]


@pytest.mark.parametrize("references", [None, ("~~~", "a")])
def test_passes_are_counted(references: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    target = ToyText()
    passes = watch(target, monkeypatch)
    spent = DGSlow(eps=2)(target, TEXTS, references=references).candidates
    assert spent.backwards.tolist() == [4, 4]
    assert sum(passes.backwards) == 8
    assert spent.forwards.sum() == sum(passes.forwards) - 2 * len(TEXTS)


@given(st.integers(0, 1000), st.sampled_from([0.1, 1.0, 10.0]))
def test_the_weights_have_the_least_norm(seed: int, scale: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    first, second = torch.randn(3, 2, generator=rng), scale * torch.randn(3, 2, generator=rng)
    share = least_norm(first, second)
    assert 0 <= share <= 1
    grid = torch.linspace(0, 1, 101).tolist()
    sizes = [float((part * first + (1 - part) * second).norm()) for part in grid]
    assert float((share * first + (1 - share) * second).norm()) <= min(sizes) + 1e-5


def test_the_gradient_is_that_of_both_losses() -> None:
    target, text = ToyText(), TEXTS[0]
    answer = torch.tensor(target.codec.encode("~~"))
    tally = Tally.start(target, (text,))
    found = DGSlow()._gradient(target, text, answer, 0, tally)
    late = token_gradient(target, text, LateEnd())
    embeddings = target.embedding_matrix()[late.ids].requires_grad_()
    scores = target.soft_logits(torch.cat([embeddings, target.embedding_matrix()[answer[:1]]])[None])[0]
    likely = scores.log_softmax(-1)[len(late.ids) - 1 :].gather(1, answer[:, None]).mean()
    (wrong,) = torch.autograd.grad(likely, [embeddings])
    share = least_norm(late.rows, wrong)
    assert torch.allclose(found.rows, share * late.rows + (1 - share) * wrong, atol=1e-6)
    assert found.loss == pytest.approx(share * late.loss + (1 - share) * likely.item(), rel=1e-4)
    assert (tally.forwards, tally.backwards) == ([3], [2])


def test_likelihoods_are_those_of_the_model() -> None:
    target = ToyText()
    signals = target.signals(("a 3",))
    answer = signals.ids[0]
    expected = signals.logits[0].log_softmax(-1).gather(1, answer[:, None]).mean().exp().item()
    known = likelihood(target, ["a 3", "a 9"] * 20, answer)
    assert len(known) == 40
    assert known[0] == pytest.approx(expected)
    assert known[1] < known[0]  # after a 9 the model would not end yet


class Noting(ToyText):
    """A toy that notes what texts were differentiated, and what answers were forced."""

    def __init__(self) -> None:
        super().__init__()
        self.followed: list[str] = []
        self.rounds: list[list[str]] = []
        self.forced = set[int]()

    def signals(self, inputs: Sequence[str]) -> StepSignals:
        self.followed += inputs
        return super().signals(inputs)

    def score(self, texts: Sequence[str]) -> Tensor:
        self.rounds.append(list(texts))
        return super().score(texts)

    def soft_continuation(self, embeddings: Tensor, continuation: Tensor) -> Tensor:
        self.forced.add(continuation.shape[1])
        return super().soft_continuation(embeddings, continuation)


def test_rounds_go_on_from_the_longest_answer_that_is_also_wrong() -> None:
    target = Noting()
    DGSlow(eps=3, fitness="combined")(target, TEXTS[1:])
    answer = torch.tensor(ToyText().run(TEXTS[1:]).outputs[0].ids)
    for current, tried in zip(target.followed[1:], target.rounds[1:], strict=False):
        steps = ToyText().score(tried).tolist()
        worth = [one / (p + 1e-7) for one, p in zip(steps, likelihood(ToyText(), tried, answer), strict=True)]
        assert current == tried[worth.index(max(worth))]


def test_the_reference_is_the_given_one_or_the_clean_answer() -> None:
    given, clean = Noting(), Noting()
    DGSlow(eps=2)(given, TEXTS[1:], references=("~~~~~~",))
    assert given.forced == {5}
    DGSlow(eps=2)(clean, TEXTS[1:])
    assert clean.forced == {3}  # of the four tokens of the clean answer
    long = Noting().with_cap(7)
    DGSlow(eps=1)(long, TEXTS[1:], references=("~" * 50,))
    assert long.forced == {6}


def test_late_rounds_of_the_adaptive_search_pick_at_random() -> None:
    target = ToyText()
    similar = [TEXTS[0]] * 3
    assert [wanders(target, TEXTS[0], similar, turn, 5) for turn in range(5)] == [False, False, False, True, True]
    assert not wanders(target, TEXTS[0], similar, 0, 1)
    one, again = (DGSlow(eps=5)(target, TEXTS, seed=1).candidates for _ in range(2))
    assert (one.inputs, one.forwards.tolist()) == (again.inputs, again.forwards.tolist())


def test_a_random_pick_does_not_ask_how_likely_the_reference_is(monkeypatch: pytest.MonkeyPatch) -> None:
    combined = DGSlow(eps=2, fitness="combined")(ToyText(), TEXTS).candidates
    monkeypatch.setattr("torpor.attacks.text.dgslow.wanders", lambda *args: True)
    target = Noting()
    found = DGSlow(eps=2)(target, TEXTS[:1]).candidates
    assert found.forwards[0] < combined.forwards[0]
    assert target.followed[1] in target.rounds[1]
    assert target.followed[1] != target.rounds[1][0]


def test_only_models_that_continue_their_prompt_are_attacked() -> None:
    assert DGSlow.applies_to(ToyText())
    assert not DGSlow.applies_to(Translator())
