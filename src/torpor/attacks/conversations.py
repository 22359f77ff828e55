"""Searches among the turns of conversations: an attack edits plain texts, the target knows what stands around them."""

from __future__ import annotations

from typing import Any

import torch

from torpor.attacks.search.incumbent import Candidates
from torpor.attacks.search.parts import SearchMany, search_parts
from torpor.core.batches import Samples
from torpor.core.conversation import conversation_of


def search_each(search: SearchMany, target: Any, inputs: Samples, labels: Samples, seed: int) -> Candidates:  # noqa: ANN401
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
    parts = [(target.in_conversation(group), mine) for group, mine in zip(groups, rows, strict=True)]
    return search_parts(search, parts, inputs, labels, seed)
