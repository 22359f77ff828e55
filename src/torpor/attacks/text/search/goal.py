"""The goal: as many decoder steps as possible."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from torpor.attacks.search.incumbent import Improvement
from torpor.targets.decoder.contract import TextTarget

BATCH = 2048  # texts that are handed to the target at a time


def decoder_steps(target: TextTarget, texts: Sequence[str]) -> list[int]:
    """Return how many decoder steps the target really runs for each text, by generating; never a surrogate.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> decoder_steps(ToyText(), ["a 4", "a cat"]), decoder_steps(ToyText(), [])
    ([5, 1], [])
    """
    with torch.no_grad():
        parts = [target.score(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    return [steps for part in parts for steps in part.tolist()]


def rises(
    target: TextTarget, texts: Sequence[str], steps: Sequence[int], above: int, before: int, member: str = ""
) -> list[Improvement]:
    """Return where texts run more decoder steps than all before them, with what they cost; nothing if only a run tells.

    Args:
        target: that ran them.
        texts: in the order in which they ran.
        steps: of each.
        above: steps that must be exceeded.
        before: passes before the first of them.
        member: of an ensemble, which asked.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> [point.passes for point in rises(ToyText(), ("a", "9", "5"), (1, 10, 6), 1, 5)]
    [7]
    """
    places = list[int]()
    for place, count in enumerate(steps):
        if count > above:
            places, above = [*places, place], count
    if not places:
        return []
    known = target.known_work(tuple(texts[place] for place in places), [steps[place] for place in places])
    if known is None:
        return []
    costs = target.prices.cost(known).tolist()
    return [Improvement(before + place + 1, cost, member) for place, cost in zip(places, costs, strict=True)]
