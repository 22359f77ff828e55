"""Searches among the turns of conversations: an attack edits plain texts, the target knows what stands around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from torpor.attacks.search.incumbent import Candidates
from torpor.core.batches import Samples, take
from torpor.core.conversation import conversation_of

Search = Callable[[Any, Samples, Samples, int], Candidates]
OPTIONAL = ("zero_gradient", "loss_fell", "black_box_won")


def search_each(search: Search, target: Any, inputs: Samples, labels: Samples, seed: int) -> Candidates:  # noqa: ANN401
    """Search all samples, those of one conversation at once, each with the target in that conversation.

    Args:
        search: of an attack.
        target: which offers ``in_conversation``.
        inputs: as :meth:`~torpor.attacks.base.Attack.search` takes them.
        labels: of the same.
        seed: of the same.
    """
    each = [conversation_of(text) for text in inputs]
    groups = list(dict.fromkeys(each))
    if groups == [None]:
        return search(target, inputs, labels, seed)
    rows = [torch.tensor([row for row, one in enumerate(each) if one == group]) for group in groups]
    parts = [
        search(target.in_conversation(group), take(inputs, mine), take(labels, mine) if len(labels) else labels, seed)
        for group, mine in zip(groups, rows, strict=True)
    ]
    order = torch.cat(rows).argsort()
    found = tuple(text for part in parts for text in part.inputs)

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])[order]

    known = [name for name in OPTIONAL if all(getattr(part, name) is not None for part in parts)]
    plain = Candidates(tuple(found[row] for row in order.tolist()), joined("forwards"), joined("backwards"))
    cut_short = any(part.cut_short for part in parts)
    curves = [curve for part in parts for curve in part.curves or ()]
    bills = [bill for part in parts for bill in part.bills or ()]

    def in_order(each: list[Any]) -> list[Any] | None:
        return [each[row] for row in order.tolist()] if len(each) == len(inputs) else None

    flags = {name: joined(name) for name in known}
    return replace(plain, cut_short=cut_short, curves=in_order(curves), bills=in_order(bills), **flags)
