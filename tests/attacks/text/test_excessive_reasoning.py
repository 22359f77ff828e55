from __future__ import annotations

import pytest
import torch
from contract_cases import watch
from step_targets import Translator

from torpor.attacks.text.excessive_reasoning import (
    ExcessiveReasoning,
    LongReasoning,
    deliberation_ids,
    priorities,
    sentence_starts,
    thinking_ends,
)
from torpor.attacks.text.search.forced import answer_scores, chosen
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.work import Work
from torpor.targets.decoder.toy_text import EOS, ToyCodec, ToyText

TEXTS = ("the cat sat", "my dog 3")


class Thinker(ToyCodec):
    """A tokenizer with tokens of reasoning models."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = (*self.tokens, " Wait", "But", " wait</s>", "</think>")
        self.size = len(self.tokens)

    def encode(self, text: str) -> tuple[int, ...]:
        return (self.tokens.index(text),) if text in self.tokens else super().encode(text)


def signals_of(ids: list[int], logits: torch.Tensor) -> StepSignals:
    """Return the signals of one answer."""
    mask = torch.ones(1, len(ids), dtype=torch.bool)
    return StepSignals(logits, torch.tensor([ids]), mask, (EOS,), Work(torch.ones(1, 1).long()))


@pytest.mark.parametrize("eps", [1, 3])
def test_the_worst_case_is_reached(eps: int) -> None:
    target = ToyText()
    result = ExcessiveReasoning(eps=eps, steps=5 * eps, candidates=100)(target, TEXTS)
    worst = [target.worst_steps(text, "suffix", eps) for text in TEXTS]
    assert target.iterations(result.attacked.work).tolist() == worst


def test_passes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    target = ToyText()
    passes = watch(target, monkeypatch)
    spent = ExcessiveReasoning(eps=3, steps=2, candidates=4)(target, TEXTS).candidates
    assert spent.backwards.tolist() == [2, 2]
    assert spent.forwards.sum() == sum(passes.forwards) - 2 * len(TEXTS)


def test_forced_answers_have_the_scores_of_the_model() -> None:
    target = ToyText()
    signals = target.signals(TEXTS[1:])
    assert signals.embeddings is not None
    assert signals.input_mask is not None
    own = signals.embeddings[0][signals.input_mask[0]].detach()
    answer = signals.ids[0]
    assert torch.allclose(answer_scores(target, own[None], answer)[0], signals.logits[0].detach())
    assert chosen(signals.logits, signals.ids)[0, 0].item() == pytest.approx(
        signals.logits[0, 0].log_softmax(-1)[answer[0]].item()
    )


def test_tokens_that_depend_on_the_prompt_have_priority() -> None:
    target = ToyText()
    signals = target.signals(("my dog 3", "a"))
    weights = priorities(target, signals)
    lengths = signals.mask.sum(1).tolist()
    assert weights[0, : lengths[0]].mean().item() == pytest.approx(1)
    written = signals.logits[0, : lengths[0]].log_softmax(-1).gather(-1, signals.ids[0, : lengths[0], None])[:, 0]
    before = target.embedding_matrix()[signals.ids[0, : lengths[0] - 1]]
    count = len(target.codec.encode("my dog 3"))
    blank = target.soft_logits(torch.cat([torch.zeros(count, before.shape[1]), before])[None])[0, count - 1 :]
    change = (written - blank.log_softmax(-1).gather(-1, signals.ids[0, : lengths[0], None])[:, 0]).abs().detach()
    assert torch.allclose(weights[0, : lengths[0]], change / change.mean())


def test_the_losses_are_the_papers() -> None:
    target = ToyText()
    signals = target.signals(TEXTS[1:])
    loss = LongReasoning(target, (7, 9), (EOS, 5), beta=50)
    p = signals.logits[0].detach().softmax(-1)
    weights = priorities(target, signals)[0]
    steps = range(len(p))
    keep = -sum(float(weights[t] * p[t, signals.ids[0, t]].log()) for t in steps) / len(p)
    delay = -sum(float((1 - p[t, EOS] - p[t, 5]).log()) for t in steps) / len(p)
    deliberate = -float((p[0, 7] + p[0, 9]).log())  # the toy's only sentence begins at the first step
    found = [value.item() for value in loss.losses(signals)]
    assert found == pytest.approx([keep, deliberate, delay], rel=1e-4)
    assert loss(signals).item() == pytest.approx(keep + deliberate + 50 * delay, rel=1e-4)


def test_sentences_begin_at_the_start_and_after_an_end() -> None:
    codec = ToyCodec()
    ids = [*codec.encode("ab. c!"), EOS]
    starts = sentence_starts(codec, signals_of(ids, torch.zeros(1, len(ids), codec.size)))
    assert starts.tolist() == [[True, False, False, True, False, False, True]]


def test_words_of_deliberation_and_the_end_of_thinking_are_found_among_the_tokens() -> None:
    plain, codec = ToyCodec(), Thinker()
    assert thinking_ends(plain) == ()
    assert [codec.tokens[token] for token in thinking_ends(codec)] == ["</think>"]
    assert [codec.tokens[token] for token in deliberation_ids(codec, codec.size)] == [" Wait", "But"]


def test_only_models_that_continue_their_prompt_are_attacked() -> None:
    assert ExcessiveReasoning.applies_to(ToyText())
    assert not ExcessiveReasoning.applies_to(Translator())
    with pytest.raises(UsageError, match="beta of 0 or more"):
        ExcessiveReasoning(beta=-1)
