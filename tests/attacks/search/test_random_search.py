"""The costliest is kept, once for all searches, and random search on whatever runs and bills."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torpor.attacks.search.incumbent import Incumbent, random_search
from torpor.core.work import Outcome
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.early_exit.toys import needle

OFFERS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=20)


@settings(deadline=None)
@given(offers=OFFERS, equals=st.booleans())
def test_the_costliest_allowed_candidate_of_least_rank_is_held(
    offers: list[tuple[int, int, int, bool]], equals: bool
) -> None:
    held, texts = Incumbent.begin(torch.full((3, 1), -1.0)), Incumbent.begin(("",) * 3)
    best: dict[int, tuple[int, int, int]] = {}  # cost, minus rank, number of the offer
    for number, (row, cost, rank, allowed) in enumerate(offers):
        place, costs, ranks = torch.tensor([row]), torch.tensor([float(cost)]), torch.tensor([float(rank)])
        may = torch.tensor([allowed])
        took = held.offer(place, torch.tensor([[float(number)]]), costs, ranks, allowed=may, equals=equals)
        assert texts.offer(place, (str(number),), costs, ranks, allowed=may, equals=equals).equal(took)
        ahead = row not in best or (cost, -rank) > best[row][:2] or (equals and (cost, -rank) == best[row][:2])
        assert took.item() == (allowed and ahead)
        if allowed and ahead:
            best[row] = (cost, -rank, number)
    assert held.inputs.flatten().tolist() == [best.get(row, (0, 0, -1))[2] for row in range(3)]
    assert texts.inputs == [str(best[row][2]) if row in best else "" for row in range(3)]
    assert held.cost.tolist() == [best.get(row, (-1,))[0] for row in range(3)]
    assert held.queries.tolist() == [sum(offer[0] == row for offer in offers) for row in range(3)]


def test_what_is_offered_is_copied() -> None:
    inputs, candidates = torch.zeros(1, 2), torch.ones(1, 2)
    held = Incumbent.begin(inputs)
    held.offer(torch.tensor([0]), candidates, torch.tensor([1.0]))
    candidates += 1
    assert held.inputs.tolist() == [[1.0, 1.0]]
    assert inputs.tolist() == [[0.0, 0.0]]


def test_samples_leave_at_their_last_query_and_at_the_most() -> None:
    target = needle()
    asked: list[list[int]] = []

    def grays(query: int, rows: Tensor, held: Incumbent) -> Tensor:
        asked.append(rows.tolist())
        return torch.full((len(rows), 1, 4, 4), 0.9 - query / 10)

    most = target.prices.cost(target.max_work(torch.zeros(3, 1, 4, 4)))
    found = random_search(target, torch.zeros(3, 1, 4, 4), grays, torch.tensor([0, 2, 9]), most=most)
    assert asked == [[1, 2], [1, 2], [2], [2], [2]]  # the fifth gray, 0.5, is in every window
    assert found.queries.tolist() == [0, 2, 5]
    first = target.prices.cost(target.run(torch.full((1, 1, 4, 4), 0.9)).work)
    assert found.cost.tolist() == [-1, first.item(), most[2]]
    assert found.inputs[0].equal(torch.zeros(1, 4, 4))


def test_it_goes_on_from_what_is_held_and_tells_of_each_answer() -> None:
    target = needle()
    seen: list[int] = []

    def watch(rows: Tensor, outcome: Outcome) -> None:
        seen.extend(outcome.work.counts.sum(1).tolist())

    def closer(query: int, rows: Tensor, held: Incumbent) -> Tensor:
        brighter: Tensor = (held.inputs[rows] + 0.1).clamp_max(0.5)
        return brighter

    inputs = torch.zeros(1, 1, 4, 4)
    found = random_search(target, inputs, closer, torch.tensor([3]), rank=lambda outcome: torch.zeros(1), watch=watch)
    random_search(target, inputs, closer, torch.tensor([5]), held=found, first=3, rank=lambda outcome: torch.zeros(1))
    assert found.queries.tolist() == [5]
    shown = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    assert seen == target.run(shown).work.counts.sum(1).tolist()
    assert target.run(found.inputs).work.counts.tolist() == [[1, 1, 1, 1]]


def test_texts_are_searched_alike() -> None:
    target, texts = ToyText(), ("a cat", "a dog")
    tries = ["a 4", "a 9", "a cat"]

    def propose(query: int, rows: Tensor, held: Incumbent) -> tuple[str, ...]:
        return tuple(tries[query] for _ in rows)

    found = random_search(target, texts, propose, torch.tensor([3, 1]))
    costs = [target.attacker_cost(target.run((text,))).item() for text in tries]
    assert found.inputs == [tries[costs.index(max(costs))], tries[0]]
    assert found.cost.tolist() == [max(costs), costs[0]]
