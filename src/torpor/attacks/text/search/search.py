"""The search that published attacks on texts share: greedy rounds of one edit each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from torpor.attacks.text.search.constraints import Sendable
from torpor.attacks.text.search.driver import Search
from torpor.attacks.text.search.tally import Tally

AT_ONCE = 128  # candidates of one sample that are scored together
Move = Callable[[int, str, Tally], Iterable[str]]
"""From a sample's row and current text to the texts that the next round may try; what it spends goes into the tally."""


def greedy(
    row: int, clean: str, move: Move, fits: Sendable, tally: Tally, *, rounds: int, most: int | None = None
) -> Search:
    """Change a text by one edit per round: always the edit after which the target generates longest.

    The next round starts from that text even if it is shorter than the best so far. A sample whose output reached the
    cap leaves; the candidates that it has left are not even asked about, since none can be longer.

    Args:
        row: of the sample.
        clean: its text.
        move: proposes candidates; those that may not be sent, or were proposed twice, are dropped without a query.
        fits: what may be sent.
        tally: what is found and spent.
        rounds: edits at most.
        most: candidates per round at most; all if None.
    """
    current = clean
    for _ in range(rounds):
        before, longest = current, -1
        proposed = dict.fromkeys(move(row, before, tally))
        sendable = islice((text for text in proposed if text != before and fits(clean, text)), most)
        while texts := list(islice(sendable, AT_ONCE)):
            steps = yield texts
            if max(steps) > longest:
                longest, current = max(steps), texts[steps.index(max(steps))]
            if longest >= tally.cap:
                return
        if longest < 0:
            return
