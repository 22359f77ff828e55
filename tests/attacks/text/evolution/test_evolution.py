"""Evolutionary search on texts and the ensemble that holds it, on the toy whose worst case is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from step_targets import Translator
from text_encoders import TEXTS as ENCODED
from text_encoders import exiting

from torpor.attacks.base import Attack
from torpor.attacks.text import standard
from torpor.attacks.text.evolution import population
from torpor.attacks.text.evolution.edits import DELETE, Edit, EditVariation, in_characters, in_tokens, in_words
from torpor.attacks.text.evolution.evolution import Evolution, variations
from torpor.attacks.text.evolution.new_tokens import TokenVariation
from torpor.attacks.text.evolution.population import CHILDREN, Population
from torpor.attacks.text.long_requests import REQUESTS
from torpor.attacks.text.nmtsloth import NMTSlothToken
from torpor.attacks.text.repetition import SEGMENTS
from torpor.attacks.text.search import Search, Sendable, Tally, TextSearch
from torpor.attacks.text.standard import StandardText
from torpor.core.budget import COUNTS, Budget
from torpor.core.errors import UsageError
from torpor.core.threat import Paper
from torpor.core.work import Outcome
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.decoder.toy_text import ToyText

TEXTS = ("the cat sat", "my dog 3~")
BUDGETS = [("chars", 2), ("tokens", 2), ("words", 2), ("suffix", 3), ("prompt", 3)]
sentences = st.text(st.sampled_from("a9z~ Z"), min_size=1, max_size=8).filter(str.strip)


@pytest.mark.parametrize("attack", [Evolution, StandardText])
@pytest.mark.parametrize(("norm", "eps"), BUDGETS)
def test_the_worst_case_is_reached(attack: type[TextSearch], norm: str, eps: int) -> None:
    target = ToyText()
    result = attack(norm=norm, eps=eps)(target, TEXTS)
    worst = [target.worst_steps(text, norm, eps) for text in TEXTS]
    assert target.iterations(result.attacked.work).tolist() == worst


@pytest.mark.parametrize("norm", COUNTS)
@given(text=sentences, seed=st.integers(0, 1000))
def test_children_stay_within_the_budget(norm: str, text: str, seed: int) -> None:
    fits = Sendable(ToyText().space, Budget(norm, 2))
    variation, rng = variations(fits)(text), Random(seed)
    pool = [variation.draw(rng) for _ in range(4)]
    for _ in range(20):
        pool.append(variation.vary(rng.choice(pool), pool[:3], rng))
    spelled = {genome: variation.spell(genome) for genome in pool}
    assert all(len(genome) <= 2 for genome in pool)
    for found in filter(variation.sendable, spelled.values()):
        assert fits(text, found)
        genome = variation.read(found)
        assert genome is not None
        assert variation.spell(genome) == found


def test_edits_are_made_at_their_places() -> None:
    fits = Sendable(ToyText().space, Budget("chars", 9))
    edits = EditVariation(fits, "a cat", in_characters("a cat"))
    assert edits.spell((Edit(0, DELETE, ""), Edit(1, "insert", "z"), Edit(1, "insert", "9"), Edit(5, "insert", "!")))
    assert edits.spell((Edit(0, "replace", "b"), Edit(5, "insert", "s"))) == "b cats"
    codec = fits.space.codec
    tokens = EditVariation(Sendable(fits.space, Budget("tokens", 1)), "a cat", in_tokens("a cat", codec, [5]))
    assert tokens.spell((Edit(1, "replace", codec.encode(" dog")[0]),)) == "a dog"
    words = EditVariation(Sendable(fits.space, Budget("words", 1)), "a cat ", in_words("a cat ", ("dog",)))
    assert words.spell((Edit(0, "replace", " dog"),)) == "dog cat "
    assert words.spell((Edit(2, "insert", " dog"),)) == "a cat dog "


def test_no_text_is_asked_twice_and_plateaus_are_crossed() -> None:
    fits = Sendable(ToyText().space, Budget("suffix", 2))
    variation = TokenVariation(fits, "a", ToyText().codec.encode("zZ"))
    searched = Population(variation, "a", Random(0))
    seen: list[str] = []
    while texts := searched.generation():
        seen += texts
        for text in texts:
            searched.learn(text, 1)
        assert variation.spell(searched.elites[0][1]) == texts[-1]
    assert sorted(seen) == ["aZ", "aZZ", "aZa", "aZz", "aa", "aaZ", "aaa", "aaz", "az", "azZ", "aza", "azz"]


@pytest.mark.parametrize(("attack", "before"), [(Evolution, 0), (StandardText, len(REQUESTS) + SEGMENTS)])
def test_few_outputs_at_the_cap_are_enough(attack: type[TextSearch], before: int) -> None:
    capped = Translator(cap=2)  # which any digit above 0 reaches; its bound is that of the text
    found = attack(norm="prompt", eps=3)(capped, TEXTS[:1])
    assert found.attacked.work.counts.tolist() == [[3, 2]]
    assert 1 + 4 <= found.candidates.forwards.item() <= 1 + before + 4 + 8


def test_what_cannot_win_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    target: Any = exiting()
    tally = Tally.start(target, ("the cat sat",))
    longer, shorter = "the cat sat, 9", "a"
    highest = target.prices.cost(target.max_work(("the cat",))).item()
    tally.held.cost[0] = highest
    assert tally.can_win(0, (longer, shorter, "the cat")) == [longer]

    batches, run = list[tuple[str, ...]](), target.run

    def note(texts: tuple[str, ...]) -> Outcome:
        batches.append(texts)
        outcome: Outcome = run(texts)
        return outcome

    monkeypatch.setattr(target, "run", note)
    Evolution(norm="words", eps=1, queries=200)(target, ENCODED[:1])
    best = count = 0.0
    for texts in batches[:-1]:  # the last one verifies what was found
        if count > CHILDREN:  # after the first generation
            assert target.prices.cost(target.max_work(texts)).min().item() > best
        count += len(texts)
        best = max(best, target.prices.cost(run(texts).work).max().item())
    assert count > 2 * CHILDREN


def test_gradients_only_propose() -> None:
    target = ToyText()
    with_, without = (
        Evolution(norm="tokens", eps=2, queries=200, gradients=use)(target, TEXTS) for use in (True, False)
    )
    assert (with_.candidates.backwards > 0).all()
    assert not without.candidates.backwards.any()
    assert (with_.candidates.forwards + with_.candidates.backwards <= 202).all()
    assert (target.iterations(with_.attacked.work) >= target.iterations(without.attacked.work)).all()


def test_a_change_too_many_undoes_an_older_one() -> None:
    fits = Sendable(ToyText().space, Budget("tokens", 2))
    codec = fits.space.codec
    variation = EditVariation(fits, "a cat a cat", in_tokens("a cat a cat", codec, [5]))
    before, after = "z cat z cat", "z cat z dog"
    found = {variation.near(after, before, Random(seed)) for seed in range(20)}
    assert found == {"z cat a dog", "a cat z dog"}
    assert variation.near("a cat z cat", "a cat a cat", Random(0)) == "a cat z cat"
    assert not variation.sendable(variation.near("a cat a cat", before, Random(0)))


def test_nmtsloths_turn_in_tokens_lasts_until_its_rounds_are_over() -> None:
    members = {member.id: member for member in StandardText(norm="tokens", eps=2).ensemble}
    sloth = members["nmtsloth-token"]
    tally = _searched(sloth, ToyText(), ("the cat sat",))
    assert tally.backwards[0] <= 2
    assert 0 < tally.forwards[0] <= 1 + 2 * (standard.ROUND + 1)
    with pytest.raises(UsageError, match="1 candidate or more"):
        NMTSlothToken(norm="tokens", first=0)


def test_queries_are_refused_where_there_are_none() -> None:
    with pytest.raises(UsageError, match="1 query or more"):
        Evolution(queries=0)


class Oracle(TextSearch):
    """A member that knows the answer, and asks for it once."""

    id: ClassVar[str] = "oracle"
    paper: ClassVar[Paper | None] = None
    norms: ClassVar[tuple[str, ...]] = COUNTS

    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        def ask(row: int) -> Search:
            yield [f"{inputs[row]}{'9' * (int(self.eps) - 1)}"]

        return ask


def test_what_one_member_finds_the_evolution_goes_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy ends at once unless a text ends in three nines, which nobody finds by chance."""

    class Needle(ToyText):
        def score(self, texts: Sequence[str]) -> torch.Tensor:
            return torch.tensor([len(text) if text.endswith("9999") else 1 for text in texts])

    monkeypatch.setattr("torpor.attacks.text.standard.MEMBERS", {"chars": (Evolution, Oracle)})
    tally = _searched(StandardText(norm="chars", eps=5), Needle(), ("abc",))
    assert tally.held.inputs[0].endswith("9999")
    assert tally.best(0)[1] == len("abc") + 5
    monkeypatch.setattr("torpor.attacks.text.standard.MEMBERS", {"chars": (Evolution,)})
    assert _searched(StandardText(norm="chars", eps=5), Needle(), ("abc",)).best(0) == ("abc", 1)


def test_all_passes_are_spent_however_long_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(standard.PATIENCE, "chars", population.CHILDREN)

    class Deaf(ToyText):
        def score(self, texts: Sequence[str]) -> torch.Tensor:
            return torch.ones(len(texts), dtype=torch.int64)

    tally = _searched(StandardText(norm="chars", eps=3, queries=1500), Deaf(), ("a cat sat on a mat",))
    assert tally.spent(0) == 1500  # more than the evolution asks on its own


def _searched(attack: Attack, target: TextTarget, texts: Sequence[str]) -> Tally:
    from torpor.attacks.text.search import drive

    assert isinstance(attack, TextSearch)
    tally = Tally.start(target, texts)
    search = attack.begin(target, texts, 0, tally)
    drive(target, {row: search(row) for row in tally.open}, tally)
    return tally


def test_members_take_turns_when_they_find_nothing_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(standard.PATIENCE, "chars", population.CHILDREN)
    asked: list[str] = []

    class Deaf(ToyText):
        def score(self, texts: Sequence[str]) -> torch.Tensor:
            asked.extend(texts)
            return torch.ones(len(texts), dtype=torch.int64)

    tally = _searched(StandardText(norm="chars", eps=2), Deaf(), ("a cat sat",))
    assert tally.best(0) == ("a cat sat", 1)
    assert tally.backwards[0] == 4  # two rounds of TTSlow, two of NMTSloth
    assert "a cat" in asked  # LLMEffiChecker leaves words out
    assert len(asked) + 4 == tally.forwards[0]  # each gradient takes a pass of its own
