from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torpor.attacks.text.nmtsloth import (
    LateEnd,
    NMTSloth,
    NMTSlothChar,
    NMTSlothStructure,
    NMTSlothToken,
    importance,
)
from torpor.attacks.text.search import TokenGradient, token_gradient
from torpor.attacks.text.search.words import Proposer, shape, similar_words, vocabulary_words
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.decoder.toy_text import ToyCodec, ToyText

TEXTS = ("the cat sat", "my dog 3", "a tree, a bird")
WORK = Work(torch.ones(1, 1, dtype=torch.int64))


@pytest.mark.parametrize("loss", ["end-and-chosen", "end"])
@pytest.mark.parametrize("attack", [NMTSlothChar, NMTSlothToken])
@pytest.mark.parametrize("eps", [1, 3])
def test_the_worst_case_is_reached(attack: type[NMTSloth], loss: str, eps: int) -> None:
    target = ToyText()
    chosen = attack(loss=loss, eps=eps)  # type: ignore[arg-type]
    result = chosen(target, TEXTS[:2])
    worst = [target.worst_steps(text, chosen.norm, eps) for text in TEXTS[:2]]
    assert target.iterations(result.attacked.work).tolist() == worst
    assert result.budget_used.tolist() == [1.0, 1.0]
    assert result.candidates.backwards.tolist() == [eps, eps]
    assert result.candidates.zero_gradient is not None
    assert not result.candidates.zero_gradient.any()


def test_words_are_replaced_by_the_worst_of_the_same_shape() -> None:
    target = ToyText()
    result = NMTSlothStructure()(target, TEXTS)
    assert result.inputs[:2] == ("pizzazz pizzazz pizzazz", "pizzazz pizzazz 3")
    assert target.iterations(result.attacked.work)[0] == target.worst_steps(TEXTS[0], "words", 3)
    assert ", " in result.inputs[2]  # punctuation stays


def test_characters_change_where_the_token_matters() -> None:
    class Late(ToyText):
        """A toy whose gradient is largest at the last token."""

        def signals(self, inputs: Sequence[str]) -> StepSignals:
            signals = super().signals(inputs)
            assert signals.embeddings is not None
            place = torch.arange(signals.embeddings.shape[1])
            signals.embeddings.register_hook(lambda gradient: -place.view(1, -1, 1).expand_as(gradient).to(gradient))
            return signals

    result = NMTSlothChar(eps=1)(Late(), ("dog cat cat",))
    assert result.inputs[0].startswith("dog cat ")
    assert result.inputs[0] != "dog cat cat"


@given(st.integers(0, 1000), st.booleans())
def test_the_loss_is_the_papers(seed: int, chosen: bool) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 5, 7, generator=rng, dtype=torch.float64)
    ids = torch.randint(1, 7, (2, 5), generator=rng)
    ids[0, 2] = 0
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])
    losses = LateEnd(chosen=chosen)(StepSignals(logits, ids, mask, (0,), WORK))
    for row in range(2):
        terms = []
        for step in range(int(mask[row].sum())):
            p = logits[row, step].softmax(-1)
            q = p[0] + p[ids[row, step]] if chosen else p[0]
            if chosen and ids[row, step] == 0:
                q = q / 2
            terms.append(-torch.log(1 - q))
        assert losses[row].item() == pytest.approx(torch.stack(terms).mean().item(), abs=1e-9)


def test_a_sure_model_leaves_a_gradient_and_steps_after_the_end_none() -> None:
    logits = torch.zeros(1, 3, 4)
    logits[..., 1] = 500.0
    logits.requires_grad_()
    mask = torch.tensor([[True, True, False]])
    signals = StepSignals(logits, torch.tensor([[1, 1, 3]]), mask, (0,), WORK)
    loss = LateEnd()(signals)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[0, :2].abs().sum(-1) > 0).all()
    assert not logits.grad[0, 2].any()


def test_importance_is_the_signed_sum() -> None:
    rows = torch.tensor([[1.0, 1.0], [-3.0, 1.0], [5.0, -9.0], [1.0, 1.0]])
    assert importance(TokenGradient(torch.zeros(4).long(), rows, 0.0)) == [2, 1, 0, 3]


def test_substitutes_survive_retokenization() -> None:
    target = ToyText()
    text = "9 9"  # a 9 in the middle would make 99 and 9
    gradient = token_gradient(target, text, LateEnd())
    for changed in NMTSlothToken().neighbors(target)(text, gradient):
        ids = target.codec.encode(changed)
        assert target.codec.decode(ids) == changed
        assert len(ids) == 3
        assert sum(one != other for one, other in zip(ids, target.codec.encode(text), strict=True)) == 1


def test_words_come_from_the_tokenizer_from_other_texts_or_from_a_model() -> None:
    assert vocabulary_words(ToyCodec()) == ("bird", "cat", "dog", "fuzz", "jazz", "pizzazz", "tree", "zip")
    target = ToyText()
    plain = NMTSlothStructure(eps=1)
    fitted = plain.fit(target, ("An ant, (or) 77!", "ZZ zz"))
    assert fitted.words == ("77", "An", "ZZ", "ant", "or", "zz")
    assert fitted(target, ("a cat",)).inputs[0] in ("zz cat", "a zz")
    assert fitted(target, ("A cat",)).inputs == ("ZZ cat",)

    def model(target: TextTarget, words: tuple[str, ...]) -> Proposer:
        return lambda text, span: ["9z", text[slice(*span)]]

    assert NMTSlothStructure(eps=2, proposer=model)(target, ("a cat!",)).inputs == ("9z 9z!",)
    assert hash(plain) == hash(NMTSlothStructure(eps=1))


def test_similar_words_come_first() -> None:
    target = ToyText()
    assert similar_words(target, ("few", "cap", "Cap", "c4p", "map"))("a map", (2, 5)) == ["cap", "few"]
    assert shape("Cat") != shape("cat") != shape("c4t")


def test_words_come_from_the_text_where_the_tokenizer_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.attacks.text.search.words.vocabulary_words", lambda codec: ())
    (text,) = NMTSlothStructure(eps=1)(ToyText(), ("a cat (fuzz",)).inputs
    assert set(text.replace("(", "").split()) <= {"a", "cat", "fuzz"}
    assert text in ("fuzz cat (fuzz", "a fuzz (fuzz")
    fitted = NMTSlothStructure().fit(ToyText(), ("fuzz",))
    assert ToyText().iterations(fitted(ToyText(), ("a cat",)).attacked.work).tolist() == [5]
