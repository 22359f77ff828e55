"""Which prompts to decode together so that what they begin with is computed once."""

from __future__ import annotations

from collections.abc import Sequence

WORTH = 256
"""Tokens that must be saved for another batch to pay."""


def shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two prompts begin with alike.

    >>> shared([1, 2, 3], [1, 2, 4]), shared([1], [1])
    (2, 1)
    """
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))


def alike(rows: Sequence[Sequence[int]], worth: int = WORTH) -> list[list[int]]:
    """Return the numbers of prompts in groups, each of which begins with as many common tokens as pays.

    A group's saving is its common tokens times its rows but one. In the order of a dictionary, a row joins the group
    before it unless that group would lose more than ``worth`` tokens of its saving.

    Args:
        rows: ids of each prompt.
        worth: tokens that another batch costs.

    >>> alike([[7, 1, 2, 3], [7, 8, 8, 9], [7, 1, 2, 4], [7, 8, 8, 8]], worth=0)
    [[0, 2], [3, 1]]
    >>> alike([[7, 1, 2, 3], [7, 8, 8, 9], [7, 1, 2, 4], [7, 8, 8, 8]])
    [[0, 2, 3, 1]]
    """
    groups: list[list[int]] = []
    common = 0
    for number in sorted(range(len(rows)), key=lambda number: tuple(rows[number])):
        group = groups[-1] if groups else []
        now = min(common, shared(rows[group[0]], rows[number])) if group else len(rows[number])
        if group and (len(group) - 1) * common - len(group) * now <= worth:
            group.append(number)
            common = now
        else:
            groups.append([number])
            common = len(rows[number])
    return groups
