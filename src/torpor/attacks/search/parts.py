"""Searches of a batch in parts, each with a target of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from torpor.attacks.search.incumbent import Candidates
from torpor.core.batches import Samples, take

SearchMany = Callable[[Any, Samples, Samples, int], Candidates]
"""As :meth:`torpor.attacks.base.Attack.search`."""
OPTIONAL = ("zero_gradient", "loss_fell", "black_box_won")


def search_parts(
    search: SearchMany, parts: Sequence[tuple[Any, Tensor]], inputs: Samples, labels: Samples, seed: int
) -> Candidates:
    """Search the samples of each part with its target, and return what was found in the order of the inputs.

    Args:
        search: of an attack.
        parts: a target, and the rows that it is searched for; each row is in one of them.
        inputs: as ``search`` takes them.
        labels: of the same.
        seed: of the same.
    """
    done = [
        search(target, take(inputs, rows), take(labels, rows) if len(labels) else labels, seed)
        for target, rows in parts
    ]
    order = torch.cat([rows for _, rows in parts]).argsort()
    found = tuple(text for part in done for text in part.inputs)

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in done])[order]

    known = [name for name in OPTIONAL if all(getattr(part, name) is not None for part in done)]
    plain = Candidates(tuple(found[row] for row in order.tolist()), joined("forwards"), joined("backwards"))
    cut_short = any(part.cut_short for part in done)
    curves = [curve for part in done for curve in part.curves or ()]
    bills = [bill for part in done for bill in part.bills or ()]

    def in_order(each: list[Any]) -> list[Any] | None:
        return [each[row] for row in order.tolist()] if len(each) == len(inputs) else None

    flags = {name: joined(name) for name in known}
    return replace(plain, cut_short=cut_short, curves=in_order(curves), bills=in_order(bills), **flags)
