"""The goal: what costs the attacker's victim most, by the very cost that a row reports."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torpor.attacks.search.incumbent import Improvement
from torpor.core.work import Outcome, Work
from torpor.targets.base import Target
from torpor.targets.decoder.contract import TextTarget

BATCH = 2048  # texts that are handed to the target at a time


class Answers(NamedTuple):
    """What some texts made a target do.

    Attributes:
        steps: what searches make as large as they can: decoder steps of each, unless its target has another goal; what
            each costs, in runs of the cheapest unit, where steps are not counted.
        costs: of each in the target's currency, what it reads included; 0 if it was rejected.
    """

    steps: list[int]
    costs: list[float]


def decoder_steps(target: TextTarget, texts: Sequence[str]) -> list[int]:
    """Return how many decoder steps the target really runs for each text, by generating; never a surrogate.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> decoder_steps(ToyText(), ["a 4", "a cat"]), decoder_steps(ToyText(), [])
    ([5, 1], [])
    """
    with torch.no_grad():
        parts = [target.score(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    return [steps for part in parts for steps in part.tolist()]


def ask(target: Any, texts: Sequence[str]) -> Answers:  # noqa: ANN401 - whatever reads texts and bills them
    """Return what each text makes the target do: by its work, if that is known sooner than by a run, or by runs.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> ask(ToyText(), ["a 4", "a cat"])
    Answers(steps=[5, 1], costs=[5030.0, 1020.0])
    """
    found = Answers([], [])
    for start in range(0, len(texts), BATCH):
        some = tuple(texts[start : start + BATCH])
        answers = _foreseen(target, some) or _ran(target, some)
        found.steps.extend(answers.steps)
        found.costs.extend(answers.costs)
    return found


def ask_each(target: Any, asked: Mapping[int, Sequence[str]]) -> dict[int, Answers]:  # noqa: ANN401
    """Return the answers to the texts of each row, which are decoded together.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> [answers.steps for answers in ask_each(ToyText(), {3: ["a 4"], 7: [], 9: ["a cat", "9"]}).values()]
    [[5], [], [1, 10]]
    """
    answers = ask(target, [text for texts in asked.values() for text in texts])
    found, start = dict[int, Answers](), 0
    for row, texts in asked.items():
        mine = slice(start, start + len(texts))
        found[row] = Answers(answers.steps[mine], answers.costs[mine])
        start = mine.stop
    return found


def _foreseen(target: Any, texts: Sequence[str]) -> Answers | None:  # noqa: ANN401
    """Return what follows from the work of each text, or from its decoder steps; None if only a run can tell."""
    if target.offers("work_of"):
        with torch.no_grad():
            found = target.work_of(texts)
        return Answers(_goals(target, found).tolist(), target.attacker_cost(Outcome((), found)).tolist())
    if not target.offers("score", "known_work"):
        return None
    steps = decoder_steps(target, texts)
    work: Work | None = target.known_work(texts, steps)
    return None if work is None else Answers(steps, target.prices.cost(work).tolist())


def _ran(target: Any, texts: Sequence[str]) -> Answers:  # noqa: ANN401
    with torch.no_grad():
        outcome = target.run(texts)
    costs: list[float] = target.attacker_cost(outcome).tolist()
    if _counts_steps(target):
        counted = _goals(target, outcome.work)
        steps = counted if outcome.rejected is None else counted.masked_fill(outcome.rejected, 0)
        return Answers(steps.tolist(), costs)
    least = min((price for price in target.prices.per_unit if price > 0), default=1.0)
    return Answers([round(cost / least) for cost in costs], costs)


def _goals(target: Any, work: Work) -> Tensor:  # noqa: ANN401
    goals: Tensor = target.goal(work) if target.offers("goal") else target.iterations(work)
    return goals


def most_steps(target: Any) -> int:  # noqa: ANN401 - whatever reads texts and bills them
    """Return the steps of :class:`Answers` than which no text has more: the cap; no limit where it is not known.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> most_steps(ToyText(cap=30))
    30
    """
    if target.offers("score", "most_goal"):
        return int(target.most_goal)
    return int(target.cap) if target.offers("score", "cap") or _counts_steps(target) else sys.maxsize


def at_bound(target: Target, text: str, cost: float) -> bool:
    """Tell whether a text costs all that its static bound allows.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> target = ToyText(cap=9, max_tokens=2)
    >>> [at_bound(target, text, float(cost)) for text, cost in (("9", 9010), ("9z", 9020))]
    [False, True]
    """
    return bool(cost >= float(target.prices.cost(target.max_work((text,)))))


def rises(answers: Answers, above: float, before: int, member: str = "") -> list[Improvement]:
    """Return where texts cost more than all before them.

    Args:
        answers: to all of them, in the order in which they ran.
        above: cost that must be exceeded.
        before: passes before the first of them.
        member: of an ensemble, which asked.

    >>> [point.passes for point in rises(Answers([1, 10, 6], [1.0, 10.0, 6.0]), 1, 5)]
    [7]
    """
    found = list[Improvement]()
    for place, cost in enumerate(answers.costs, 1):
        if cost > above:
            found.append(Improvement(before + place, cost, member))
            above = cost
    return found


def _counts_steps(target: Any) -> bool:  # noqa: ANN401
    return bool(target.offers("iterations", "cap"))
