"""The goal: as many decoder steps as possible, or what costs most where steps are not counted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from torpor.attacks.search.incumbent import Improvement
from torpor.targets.decoder.contract import TextTarget

BATCH = 2048  # texts that are handed to the target at a time


class Answers(NamedTuple):
    """What some texts made a target do.

    Attributes:
        steps: decoder steps of each; what each costs, in runs of the cheapest unit, where steps are not counted.
        costs: of each in the target's currency, 0 if it was rejected; None where only the steps are known.
    """

    steps: list[int]
    costs: list[float] | None = None


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
    """Return what each text makes the target do, in the way that it offers: by scores, by steps, or by cost alone.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> ask(ToyText(), ["a 4", "a cat"])
    Answers(steps=[5, 1], costs=None)
    """
    if target.offers("score"):
        return Answers(decoder_steps(target, texts))
    steps, costs = list[int](), list[float]()
    for start in range(0, len(texts), BATCH):
        outcome = target.run(tuple(texts[start : start + BATCH]))
        billed: list[float] = target.attacker_cost(outcome).tolist()
        if _counts_steps(target):
            counted = target.iterations(outcome.work)
            steps += (counted if outcome.rejected is None else counted.masked_fill(outcome.rejected, 0)).tolist()
        else:
            least = min((price for price in target.prices.per_unit if price > 0), default=1.0)
            steps += [round(cost / least) for cost in billed]
        costs += billed
    return Answers(steps, costs)


def most_steps(target: Any) -> int:  # noqa: ANN401 - whatever reads texts and bills them
    """Return the steps of :class:`Answers` than which no text has more: the cap; no limit where it is not known.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> most_steps(ToyText(cap=30))
    30
    """
    if target.offers("score", "most_goal"):
        return int(target.most_goal)
    return int(target.cap) if target.offers("score", "cap") or _counts_steps(target) else sys.maxsize


def rises(
    target: Any,  # noqa: ANN401 - whatever reads texts and bills them
    texts: Sequence[str],
    answers: Answers,
    above: int,
    before: int,
    member: str = "",
) -> list[Improvement]:
    """Return where texts run more decoder steps than all before them, with what they cost; nothing if only a run tells.

    Args:
        target: that ran them.
        texts: in the order in which they ran.
        answers: to all of them.
        above: steps that must be exceeded.
        before: passes before the first of them.
        member: of an ensemble, which asked.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> [point.passes for point in rises(ToyText(), ("a", "9", "5"), Answers([1, 10, 6]), 1, 5)]
    [7]
    """
    places = list[int]()
    for place, count in enumerate(answers.steps):
        if count > above:
            places, above = [*places, place], count
    if not places:
        return []
    if answers.costs is not None:
        costs = [answers.costs[place] for place in places]
    else:
        ran = tuple(texts[place] for place in places), [answers.steps[place] for place in places]
        known = target.known_work(*ran) if target.offers("known_work") else None
        if known is None:
            return []
        costs = target.prices.cost(known).tolist()
    return [Improvement(before + place + 1, cost, member) for place, cost in zip(places, costs, strict=True)]


def _counts_steps(target: Any) -> bool:  # noqa: ANN401
    return bool(target.offers("iterations", "cap"))
