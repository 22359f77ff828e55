"""A beam search over edits of a text that a gradient proposes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.driver import Search
from torpor.attacks.text.search.goal import at_bound
from torpor.attacks.text.search.gradients import GateLoss, TokenGradient, token_gradient
from torpor.attacks.text.search.tally import Tally

Propose = Callable[[str, str, TokenGradient], Iterator[str]]
"""From the clean text, a text and its gradient to texts that are one edit away, best first."""


def beam_search(
    row: int,
    clean: str,
    loss: GateLoss,
    propose: Propose,
    fits: Sendable,
    tally: Tally,
    *,
    beam: int,
    rounds: int,
) -> Search:
    """Keep the costliest texts of each round, and edit each of them once in the next.

    It ends where a text does all that one of its length can make the target do.

    Args:
        row: of the sample.
        clean: its text.
        loss: is differentiated.
        propose: texts; those that may not be sent, or were proposed before, are dropped without a query.
        fits: what may be sent.
        tally: what is found and spent.
        beam: texts that are kept.
        rounds: at most.
    """
    pool, known = [clean], {clean}
    for _ in range(rounds):
        found: list[str] = []
        for text in pool:
            gradient = token_gradient(tally.target, text, loss)
            tally.note(row, gradient)
            for new in propose(clean, text, gradient):
                if new not in known and fits(clean, new):
                    known.add(new)
                    found.append(new)
        if not found:
            return
        costs = (yield found).costs
        order = sorted(range(len(found)), key=costs.__getitem__, reverse=True)[:beam]
        pool = [found[place] for place in order]
        if at_bound(tally.target, pool[0], costs[order[0]]):
            return
