from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from contract_cases import watch
from torch import Tensor

from torpor.attacks.controls.text import RandomEdits
from torpor.attacks.text.engorgio import Engorgio
from torpor.core.errors import UsageError
from torpor.core.text import unpack
from torpor.core.threat import Stage
from torpor.targets.decoder.toy_text import ToyText

FEW: dict[str, Any] = {"eps": 8, "steps": 400, "tail": 40, "escape": "tail"}
TEXTS: Any = ("the cat sat", "my dog 3")


class Translator(ToyText):
    """A toy that claims to have an encoder."""

    decoder_only = False


class Broken(ToyText):
    """A toy whose scores are no numbers."""

    def soft_logits(self, embeddings: Tensor) -> Tensor:
        return super().soft_logits(embeddings) * torch.nan


class Fading(ToyText):
    """A toy that notes its passes, and whose scores are no numbers from some call on."""

    calls = backwards = 0

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    def soft_logits(self, embeddings: Tensor) -> Tensor:
        self.calls += 1
        logits = super().soft_logits(embeddings)
        logits.register_hook(self._note)
        return logits if self.calls <= self.good else logits * torch.nan

    def _note(self, gradient: Tensor) -> None:
        self.backwards += 1


def trigger(attack: Engorgio) -> str:
    assert attack.learned is not None
    return unpack(attack.learned.perturbations)[0]


def test_the_trigger_beats_random_prompts() -> None:
    target = ToyText()
    attack = Engorgio(**FEW).fit(target, TEXTS)
    result = attack(target, TEXTS)
    assert result.inputs == (trigger(attack),) * 2
    learned = target.iterations(result.attacked.work)[0].item()
    random = RandomEdits(norm="prompt", eps=8)(target, tuple(f"{number} cats" for number in range(20)))
    assert learned > 2 * target.iterations(target.run(random.candidates.inputs).work).float().mean()
    assert attack.stage is Stage.UNIVERSAL
    assert attack.learned is not None
    assert attack.learned.backwards == 400
    assert not attack.learned.zero_gradient


def test_the_reading_with_the_longest_real_answer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    target = ToyText()
    asked: list[str] = []
    score = target.score

    def spy(texts: Sequence[str]) -> Tensor:
        asked.extend(texts)
        return score(texts)

    monkeypatch.setattr(target, "score", spy)
    chosen = trigger(Engorgio(**FEW | {"steps": 60}).fit(target, TEXTS))
    assert len(asked) > 1
    assert score([chosen]).item() == score(asked).max().item()
    assert all(target.space.survives(text) and len(target.codec.encode(text)) <= 8 for text in asked)


def test_the_loss_is_the_papers() -> None:
    target = ToyText()
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(6, target.codec.size, generator=rng)
    soft = (3 * torch.randn(6, target.codec.size, generator=rng)).softmax(-1)
    embeddings = soft @ target.embedding_matrix()
    predicted = target.soft_logits(embeddings[None])[0].softmax(-1)
    mimicry = sum(-(scores[t + 1].softmax(-1) * predicted[t].log()).sum() for t in range(5)) / 5
    for attack, rows in ((Engorgio(alpha=2), slice(None)), (Engorgio(alpha=2, escape="tail"), slice(4, None))):
        expected = mimicry + 2 * predicted[rows, 2].sum()  # 2 is the end token
        assert attack._loss(target, soft, embeddings, scores, 4).item() == pytest.approx(float(expected), abs=1e-4)


def test_the_seed_decides_and_the_texts_do_not() -> None:
    few = Engorgio(eps=5, steps=40, tail=20)
    first = trigger(few.fit(ToyText(), TEXTS, seed=1))
    assert first == trigger(few.fit(ToyText(), TEXTS[:1], seed=1))
    assert first != trigger(few.fit(ToyText(), TEXTS, seed=2))


def test_a_settled_trigger_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.attacks.text.engorgio.PATIENCE", 0)
    learned = Engorgio(eps=5, steps=40, tail=20).fit(ToyText(), TEXTS).learned
    assert learned is not None
    assert learned.backwards == 1


@pytest.mark.parametrize("good", [9, 1000])
def test_what_learning_takes_is_counted(good: int, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Fading(good)
    passes = watch(target, monkeypatch)
    learned = Engorgio(**FEW | {"steps": 40}).fit(target, TEXTS).learned
    assert learned is not None
    assert learned.backwards == target.backwards == min(good, 40)
    assert learned.forwards == sum(passes.forwards)


def test_only_fitted_attacks_on_decoders_run() -> None:
    with pytest.raises(UsageError, match="before fit"):
        Engorgio()(ToyText(), TEXTS)
    assert not Engorgio.applies_to(Translator())
    with pytest.raises(UsageError, match="expected an attack on text generation with text inputs, got engorgio"):
        Engorgio().fit(Translator(), TEXTS)
    with pytest.raises(UsageError, match="survives the tokenizer"):
        Engorgio(steps=3).fit(Broken(), TEXTS)
    with pytest.raises(UsageError, match="1 step or more"):
        Engorgio(steps=0)
    with pytest.raises(UsageError, match="decoder-only"):
        super(ToyText, ToyText()).soft_logits(torch.zeros(1, 1, 1))
