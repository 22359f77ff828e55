"""The toy language model, the parts of discrete searches, and what every attack on texts owes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torpor.attacks.base import Attack, AttackResult, Candidates
from torpor.attacks.controls.text import BestOfK, KeepWriting, RandomEdits
from torpor.attacks.text.coercing_llms import CoercingLLMs
from torpor.attacks.text.dgslow import DGSlow
from torpor.attacks.text.engorgio import Engorgio
from torpor.attacks.text.eogen import EOGen
from torpor.attacks.text.excessive_reasoning import ExcessiveReasoning
from torpor.attacks.text.llmeffichecker import LLMEffiCheckerChar, LLMEffiCheckerStructure, LLMEffiCheckerToken
from torpor.attacks.text.long_requests import LongRequests
from torpor.attacks.text.loopllm import LoopLLM
from torpor.attacks.text.nmtsloth import NMTSlothChar, NMTSlothStructure, NMTSlothToken
from torpor.attacks.text.repetition import RepeatedRequests
from torpor.attacks.text.search import (
    Move,
    Sendable,
    Tally,
    TokenGradient,
    decoder_steps,
    drive,
    first_order,
    greedy,
    insertable,
    readable,
    token_gradient,
)
from torpor.attacks.text.search.transformations import case_flips, insertions, token_spans
from torpor.attacks.text.sponge_genetic import SpongeGenetic
from torpor.attacks.text.ttslow import TTSlow
from torpor.core.budget import COUNTS, Budget
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.text import levenshtein
from torpor.core.threat import Paper
from torpor.core.work import Outcome, Work
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.decoder.toy_text import CHARACTERS, EOS, ToyText

TEXTS = ("the cat", "my dog 3", "tree, bird", "Zip 99~")
texts = st.text(st.sampled_from("a9z~ Z"), min_size=1, max_size=8).filter(str.strip)
QUERIES = torch.tensor([5, 0, 7, 3])
ATTACKS: dict[str, Callable[[], Attack]] = {
    "nmtsloth-char": NMTSlothChar,
    "nmtsloth-token": NMTSlothToken,
    "nmtsloth-structure": NMTSlothStructure,
    "llmeffichecker-char": LLMEffiCheckerChar,
    "llmeffichecker-token": LLMEffiCheckerToken,
    "llmeffichecker-structure": LLMEffiCheckerStructure,
    "engorgio": lambda: Engorgio(eps=6, steps=30, tail=20),
    "loopllm": lambda: LoopLLM(eps=4, steps=3),
    "loopllm-segment": lambda: LoopLLM(eps=5, segment=2, steps=3, candidates=20),
    "coercing-llms": lambda: CoercingLLMs(eps=4, steps=3, candidates=20),
    "excessive-reasoning": lambda: ExcessiveReasoning(eps=4, steps=3, candidates=20),
    "dgslow": DGSlow,
    "ttslow": TTSlow,
    "eogen": lambda: EOGen(eps=6, population=8, generations=4),
    "repetition-suffix": RepeatedRequests,
    "repetition-prompt": lambda: RepeatedRequests(norm="prompt", eps=6),
    "control-long-suffix": LongRequests,
    "sponge-genetic": lambda: SpongeGenetic(eps=6, pool=8, epochs=5, alphabet=94),
    **{f"control-random-{norm}": partial(RandomEdits, norm=norm, eps=3) for norm in COUNTS},
    **{f"control-best-{norm}": partial(BestOfK, norm=norm, eps=3, queries=QUERIES) for norm in COUNTS},
    "control-keep-suffix": KeepWriting,
    "control-keep-prompt": lambda: KeepWriting(norm="prompt", eps=20),
}


class Counting(ToyText):
    """A toy that counts the texts it is given, and its backward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.given = self.backwards = 0

    def run(self, inputs: Sequence[str]) -> Outcome:
        self.given += len(inputs)
        return super().run(inputs)

    def soft_logits(self, embeddings: torch.Tensor) -> torch.Tensor:
        self.given += len(embeddings)
        scores = super().soft_logits(embeddings)
        if scores.requires_grad:
            scores.register_hook(lambda gradient: setattr(self, "backwards", self.backwards + len(gradient)))
        return scores

    def signals(self, inputs: Sequence[str]) -> StepSignals:
        self.given += len(inputs)
        signals = super().signals(inputs)
        signals.logits.register_hook(lambda gradient: setattr(self, "backwards", self.backwards + len(gradient)))
        return signals


class Numb(ToyText):
    """A toy that no input moves."""

    def __init__(self) -> None:
        super().__init__()
        self._matrix = torch.zeros_like(self._matrix)


@cache
def fitted(name: str) -> Attack:
    return ATTACKS[name]().fit(ToyText(), TEXTS)


def attack_rows(name: str, target: TextTarget, rows: slice) -> AttackResult:
    attack = fitted(name)
    if isinstance(attack, BestOfK):
        attack = replace(attack, queries=attack.queries[rows])
    return attack(target, TEXTS[rows], seed=2)


@cache
def whole(name: str) -> AttackResult:
    return attack_rows(name, ToyText(), slice(None))


@pytest.mark.parametrize("name", ATTACKS)
def test_candidates_are_sendable_texts_within_budget(name: str) -> None:
    target, attack, result = ToyText(), fitted(name), whole(name)
    for clean, candidate, sent in zip(TEXTS, result.candidates.inputs, result.inputs, strict=True):
        far = target.space.distance(clean, candidate, attack.norm)
        assert far is not None
        assert far <= attack.eps
        assert target.space.survives(candidate)
        assert not set(target.codec.encode(candidate)) & target.codec.special
        assert sent in (clean, candidate)
    longer = target.iterations(result.attacked.work) >= target.iterations(result.clean.work)
    assert longer.all()
    for text, clean, steps in zip(result.inputs, TEXTS, target.iterations(result.attacked.work).tolist(), strict=True):
        assert target.score([text]).item() == steps
        if "structure" not in name:  # which was fitted on texts that hold heavier words than the tokenizer
            assert steps <= target.worst_steps(clean, attack.norm, int(attack.eps))


@pytest.mark.parametrize("name", ATTACKS)
def test_a_batch_equals_its_samples(name: str) -> None:
    target, together = ToyText(), whole(name)
    parts = [attack_rows(name, target, rows) for rows in (slice(0, 1), slice(1, 3), slice(3, 4))]
    assert tuple(text for part in parts for text in part.candidates.inputs) == together.candidates.inputs
    assert torch.cat([part.candidates.forwards for part in parts]).equal(together.candidates.forwards)
    assert torch.cat([part.candidates.backwards for part in parts]).equal(together.candidates.backwards)
    flags = [part.candidates.zero_gradient for part in parts]
    assert all((flag is None) == (together.candidates.zero_gradient is None) for flag in flags)


@pytest.mark.parametrize("name", ATTACKS)
def test_passes_are_counted_as_they_happen_and_the_seed_decides(name: str) -> None:
    target = Counting()
    again = attack_rows(name, target, slice(None)).candidates
    assert target.given - 2 * len(TEXTS) == again.forwards.sum()
    assert target.backwards == again.backwards.sum()
    assert again.inputs == whole(name).candidates.inputs


@pytest.mark.parametrize("name", ATTACKS)
def test_failures_count_as_clean(name: str) -> None:
    result = attack_rows(name, Numb(), slice(None))
    assert result.attacked.work.counts[:, 1].equal(result.clean.work.counts[:, 1])
    full = ToyText(cap=3)
    at_cap = fitted(name)(full, ("9 cats",) * len(TEXTS), seed=0)
    assert (full.iterations(at_cap.attacked.work) == 3).all()
    at_once = ("nmtsloth", "llmeffichecker", "dgslow", "ttslow")  # what others append costs, too
    if name.startswith(at_once):
        assert at_cap.inputs == at_cap.clean_inputs
        assert at_cap.candidates.forwards.tolist() == [1] * len(TEXTS)


RANDOM = ("control-r", "control-b", "sponge", "eogen")


@pytest.mark.parametrize("name", [name for name in ATTACKS if name.startswith(RANDOM)])
def test_another_seed_draws_other_randomness(name: str) -> None:
    other = fitted(name)(ToyText(), TEXTS, seed=3).candidates.inputs
    assert other != whole(name).candidates.inputs


@given(text=texts, eps=st.integers(1, 3), name=st.sampled_from(sorted(ATTACKS)), room=st.integers(8, 12))
@settings(max_examples=40)
def test_no_attack_exceeds_its_budget_or_the_room(text: str, eps: int, name: str, room: int) -> None:
    target = ToyText(cap=12, max_tokens=room)
    attack = fitted(name)
    if not isinstance(attack, Engorgio):  # whose trigger is as long as it was when it was fitted
        eps = max(eps, getattr(attack, "segment", 1))
        attack = replace(attack, eps=eps)
    if isinstance(attack, BestOfK):
        attack = replace(attack, queries=torch.tensor([2]))
    if isinstance(attack, SpongeGenetic):
        attack = replace(attack, epochs=2)
    candidate = attack(target, (text,), seed=eps).candidates.inputs[0]
    if candidate != text:
        assert target.space.survives(candidate)
        far = target.space.distance(text, candidate, attack.norm)
        assert far is not None
        assert far <= attack.eps


@given(texts, texts)
def test_no_text_is_costlier_than_the_toys_worst_case(clean: str, text: str) -> None:
    target = ToyText()
    for norm in COUNTS:
        far = target.space.distance(clean, text, norm)
        if far is not None and norm != "words":
            assert target.score([text]).item() <= target.worst_steps(clean, norm, far)


def test_the_toys_worst_case_is_reached() -> None:
    target = ToyText()
    assert target.score(["the cat999", "the cat9999", "9999"]).tolist() == [28, 37, 37]
    assert target.worst_steps("the cat", "chars", 3) == 28
    assert target.worst_steps("the cat", "suffix", 2) == target.worst_steps("the cat", "tokens", 2) == 37
    assert target.worst_steps("the cat", "prompt", 2) == 37
    assert target.worst_steps("a ~", "chars", 2) == target.score(["9a 9"]).item() == 19
    assert target.worst_steps("a cat", "words", 2) == target.score(["pizzazz pizzazz"]).item() == 9
    assert target.with_cap(5).worst_steps("a cat", "prompt", 32) == 5


def test_the_toys_ways_to_be_asked_agree() -> None:
    target = ToyText()
    signals = target.signals(TEXTS)
    assert signals.work.counts.equal(target.run(TEXTS).work.counts)
    assert signals.mask.sum(1).equal(target.score(TEXTS))
    assert signals.input_ids is not None
    assert signals.input_mask is not None
    assert signals.embeddings is not None
    for row, text in enumerate(TEXTS):
        ids = signals.input_ids[row][signals.input_mask[row]]
        assert tuple(ids.tolist()) == target.codec.encode(text)
        assert signals.embeddings[row][signals.input_mask[row]].equal(target.embedding_matrix()[ids])
        length = int(signals.mask[row].sum())
        written = signals.ids[row, :length]
        assert signals.logits[row, :length].argmax(-1).equal(written)
        everything = target.embedding_matrix()[torch.cat([ids, written[:-1]])]
        assert torch.allclose(target.soft_logits(everything[None])[0, len(ids) - 1 :], signals.logits[row, :length])
    work = target.max_work(TEXTS)
    assert (work.counts >= target.run(TEXTS).work.counts).all()
    assert all(call() is not None for _, call in target.probes(TEXTS[:1]))


@given(st.text(st.sampled_from(CHARACTERS), min_size=1, max_size=20))
def test_the_toys_codec_is_lossless_on_its_characters(text: str) -> None:
    codec = ToyText().codec
    if not any(special in text for special in codec.special_texts):
        assert codec.decode(codec.encode(text)) == text


def test_special_tokens_and_texts_are_refused() -> None:
    target = ToyText()
    fits = Sendable(target.space, Budget("chars", 40))
    assert target.codec.encode("</s>") == (EOS,)
    assert not any(fits("cat", f"cat {special}") for special in target.codec.special_texts)
    assert not fits("cat", "cat ä")  # unknown, so it would not survive
    allowed = insertable(target.codec, target.codec.size + 2)
    assert not allowed[list(target.codec.special)].any()
    assert not allowed[-2:].any()
    assert allowed.sum() == target.codec.size - len(target.codec.special)


def test_bytes_and_control_characters_are_not_put_in() -> None:
    tokens = ("</s>", "a", "\0", "\x1b", "\ufffd", "\n", "x</s>", "", "é")
    codec = SimpleNamespace(
        size=9, special=frozenset({0}), special_texts=("</s>",), decode=lambda ids: "".join(tokens[id_] for id_ in ids)
    )
    assert insertable(cast(Any, codec)).nonzero().flatten().tolist() == [1, 5, 8]


@given(st.lists(st.integers(0, ToyText().codec.size - 1), max_size=12), st.integers(1, 6))
def test_readable_texts_survive_and_are_short(ids: list[int], most: int) -> None:
    space = ToyText().space
    text = readable(space, ids, most)
    if text is not None:
        assert space.survives(text)
        assert len(space.codec.encode(text)) <= most


def test_token_spans_are_where_the_tokens_are() -> None:
    codec = ToyText().codec
    text = "a pizzazz 9997"
    spans = token_spans(codec, text, codec.encode(text))
    assert [text[slice(*span)] for span in spans if span] == ["a", "pizzazz", "99", "9", "7"]
    assert spans[2] is None  # a space alone
    assert token_spans(codec, "another text", codec.encode(text))[0] is not None
    assert token_spans(codec, "other", codec.encode(text)) == [None] * 6


def test_character_edits_are_one_edit_away() -> None:
    edits = [*insertions("a Cat", (2, 5)), *case_flips("a Cat", (2, 5))]
    assert len(edits) == 4 * 94 + 3
    assert {levenshtein("a Cat", edit) for edit in edits} == {1}
    assert list(case_flips("ß1", (0, 2))) == []  # its capital would be two characters


def by_position(positions: torch.Tensor) -> TextTarget:
    """Return a target whose loss weighs each input position, with one special token in front."""

    def signals(inputs: Sequence[str]) -> StepSignals:
        embeddings = torch.ones(1, 4, 2, requires_grad=True)
        logits = (embeddings.sum(-1) * positions).sum().view(1, 1, 1)
        ids, mask = torch.tensor([[0, 7, 7, 7]]), torch.tensor([[False, True, True, True]])
        steps = torch.ones(1, 1, dtype=torch.bool)
        return StepSignals(logits, torch.zeros(1, 1).long(), steps, (0,), Work(torch.ones(1, 1).long()), None,
                           embeddings, ids, mask)  # fmt: skip

    return cast(TextTarget, SimpleNamespace(signals=signals, name="by-position"))


def total(signals: StepSignals) -> torch.Tensor:
    return signals.logits.sum((1, 2))


def test_repeated_tokens_have_their_own_gradient_rows() -> None:
    gradient = token_gradient(by_position(torch.tensor([9.0, 1.0, 2.0, 0.0])), "777", total)
    assert gradient.ids.tolist() == [7, 7, 7]
    assert gradient.rows.tolist() == [[1, 1], [2, 2], [0, 0]]
    assert not gradient.is_zero
    assert token_gradient(by_position(torch.tensor([9.0, 0.0, 0.0, 1.0])), "777", total).is_zero


def test_targets_without_embeddings_are_refused() -> None:
    no_embeddings = cast(Any, by_position(torch.ones(4)))
    signals = no_embeddings.signals
    no_embeddings.signals = lambda inputs: replace(signals(inputs), embeddings=None)
    with pytest.raises(UsageError, match="use a black-box attack"):
        token_gradient(no_embeddings, "777", total)


@given(st.integers(0, 1000))
def test_first_order_changes_are_those_of_a_linear_loss(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    matrix, rows = torch.randn(5, 3, generator=rng), torch.randn(2, 3, generator=rng)
    ids = torch.randint(5, (2,), generator=rng)
    allowed = torch.tensor([True, True, False, True, True])
    changes = first_order(TokenGradient(ids, rows, 0.0), matrix, allowed)
    for place in range(2):
        for token in range(5):
            expected = float((matrix[token] - matrix[ids[place]]) @ rows[place])
            if token == 2 or token == ids[place]:
                assert changes[place, token] == torch.inf
            else:
                assert float(changes[place, token]) == pytest.approx(expected, abs=1e-5)


def scripted(rounds: list[list[str]]) -> Callable[[int, str, Tally], Iterator[str]]:
    """Return a move that proposes the given texts, round by round."""
    pages = iter(rounds)
    return lambda row, text, tally: iter(next(pages))


def climbed(target: TextTarget, move: Move, fits: Sendable, *, rounds: int, most: int | None = None) -> Tally:
    """Return what greedy rounds from one text found."""
    tally = Tally.start(target, ("a 3",))
    drive(target, {0: greedy(0, "a 3", move, fits, tally, rounds=rounds, most=most)}, tally)
    return tally


def test_the_search_goes_on_from_worse_texts_and_returns_the_best() -> None:
    target = ToyText()
    seen: list[str] = []
    pages = iter([["a 8", "a 9", "a 9"], ["a 7", "a 6"], ["a 4"]])

    def move(row: int, text: str, tally: Tally) -> Iterator[str]:
        seen.append(text)
        return iter(next(pages))

    tally = climbed(target, move, Sendable(target.space, Budget("chars", 3)), rounds=3)
    assert seen == ["a 3", "a 9", "a 7"]
    assert tally.candidates(white=False).inputs == ("a 9",)
    assert tally.best(0) == ("a 9", 10)
    assert tally.forwards == [1 + 2 + 2 + 1]  # the repeated proposal asks nothing


def test_the_search_drops_what_may_not_be_sent_and_stops_at_the_cap() -> None:
    target = ToyText(cap=10)
    fits = Sendable(target.space, Budget("chars", 1))
    none = climbed(target, scripted([["a 3", "a 99999", "a 3</s>", "", "a 3\0"]]), fits, rounds=3)
    assert (none.held.inputs, none.forwards) == (["a 3"], [1])
    capped = climbed(target, scripted([["a 39", "a 4"]]), fits, rounds=3)
    assert (*capped.best(0), capped.forwards) == ("a 39", 10, [3])
    first = climbed(target, scripted([["a 4", "a 5", "a 6"]] * 3), fits, rounds=1, most=2)
    assert (first.held.inputs, first.forwards) == (["a 5"], [3])


def test_lengths_are_asked_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.attacks.text.search.goal.BATCH", 2)
    assert decoder_steps(ToyText(), ["1", "2", "3", "4", "5"]) == [2, 3, 4, 5, 6]


class Smuggler(NMTSlothChar):
    """An attack that returns what it likes."""

    id: ClassVar[str] = "smuggler"
    paper: ClassVar[Paper | None] = None
    payload: ClassVar[str]

    def search(self, target: TextTarget, inputs: Sequence[str], labels: object, seed: int) -> Candidates:
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Candidates((self.payload,) * len(inputs), nothing, nothing)


@pytest.mark.parametrize("payload", ["a cat</s>", "a cat 99 and 99", "a cat9ä", "", " ", "a cat9\0"])
def test_what_breaks_the_rules_is_replaced_by_the_clean_text(payload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Smuggler, "payload", payload, raising=False)
    result = Smuggler()(ToyText(), ("a cat",))
    assert result.inputs == ("a cat",)
    assert result.budget_used.tolist() == [0.0]
    assert ToyText().iterations(result.attacked.work).tolist() == [1]


def test_impossible_budgets_are_refused() -> None:
    with pytest.raises(UsageError, match="expected norm chars for nmtsloth-char"):
        NMTSlothChar(norm="tokens")
    with pytest.raises(UsageError, match="whole number"):
        NMTSlothChar(eps=1.5)
