"""FLOPs that grow with the length of a text: so many per call, per token, and per pair of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torpor.core.errors import MeterError


class Growth(NamedTuple):
    """FLOPs of a call on ``n`` tokens: ``each + token * n + pair * n ** 2``.

    Attributes:
        each: per call.
        token: per token.
        pair: per pair of tokens.
    """

    each: int
    token: int
    pair: int

    def at(self, tokens: int) -> int:
        """Return the FLOPs of a call on so many tokens.

        >>> Growth(1, 2, 3).at(10)
        321
        """
        return self.each + self.token * tokens + self.pair * tokens**2


def growth(flops: Callable[[int], int], longest: int, what: str) -> Growth:
    """Return how the FLOPs of a call grow, from calls on 2, 3 and 4 tokens, checked on others.

    Args:
        flops: of a call on so many tokens.
        longest: tokens of a text at most.
        what: is called, for errors.

    Raises:
        MeterError: if they grow in another way, so that no price per token and pair is right.

    >>> growth(lambda tokens: 5 + 7 * tokens + 2 * tokens**2, 64, "layer 0")
    Growth(each=5, token=7, pair=2)
    """
    two, three, four = (flops(tokens) for tokens in (2, 3, 4))
    twice = four - 2 * three + two
    found = Growth(0, 0, 0)
    if twice % 2 == 0:
        pair = twice // 2
        token = three - two - 5 * pair
        found = Growth(two - 2 * token - 4 * pair, token, pair)
    others = (7, longest)
    if min(found) < 0 or twice % 2 or any(found.at(tokens) != flops(tokens) for tokens in others):
        counted = ", ".join(f"{flops(tokens):,} on {tokens}" for tokens in (2, 3, 4, *others))
        raise MeterError(
            f"expected FLOPs of {what} that grow with tokens and their pairs, got {counted} tokens; compute every "
            "text as it is, without padding or windows"
        )
    return found
