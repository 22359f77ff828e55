from __future__ import annotations

import pytest

from torpor.attacks.text.llmeffichecker import (
    LLMEffiChecker,
    LLMEffiCheckerChar,
    LLMEffiCheckerStructure,
    LLMEffiCheckerToken,
)
from torpor.core.signals import StepSignals
from torpor.core.threat import Access
from torpor.targets.decoder.toy_text import ToyText

TEXTS = ("the cat sat", "a tree, a bird", "just two words")


class Opaque(ToyText):
    """A toy that shows nothing but its outputs."""

    decoder_only = False

    def signals(self, inputs: object) -> StepSignals:
        raise AssertionError

    def embedding_matrix(self) -> None:  # type: ignore[override]
        raise AssertionError


@pytest.mark.parametrize("attack", [LLMEffiCheckerChar(), LLMEffiCheckerToken(), LLMEffiCheckerStructure()])
def test_lengths_alone_are_enough(attack: LLMEffiChecker) -> None:
    target = Opaque()
    result = attack(target, TEXTS, seed=1)
    steps = target.iterations(result.attacked.work).tolist()
    worst = [target.worst_steps(text, attack.norm, 3) for text in TEXTS]
    assert attack.access is Access.DECISION
    assert result.candidates.backwards.tolist() == [0, 0, 0]
    assert result.candidates.zero_gradient is None
    if attack.norm in ("chars", "words"):
        assert steps == worst
    else:  # 50 of 104 tokens at every position: the heaviest is among them more often than not
        assert all(found >= 0.8 * most for found, most in zip(steps, worst, strict=True))


def test_the_word_that_matters_is_edited() -> None:
    result = LLMEffiCheckerChar(eps=2)(ToyText(), ("cat 7 dog", "dog (4). cat", "cat"))
    assert result.inputs[0] == "cat 979 dog"  # no longer than 997, and a token more to read
    assert result.inputs[1] == "dog (949). cat"
    assert ToyText().score([result.inputs[2]]).item() == 19  # a single word cannot be deleted


def test_deletions_are_paid_for() -> None:
    one, three = (LLMEffiCheckerChar(eps=1)(ToyText(), (text,)).candidates.forwards.item() for text in ("cat", "a b c"))
    assert one == 1 + len({*_edits("cat")})
    assert three == 1 + (1 + 3) + len({*_edits("a")})


def _edits(word: str) -> list[str]:
    from torpor.attacks.text.search.transformations import case_flips, insertions

    return [*insertions(word, (0, len(word))), *case_flips(word, (0, len(word)))]
