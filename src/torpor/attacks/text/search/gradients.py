"""First-order scores of token substitutions (HotFlip, Ebrahimi et al., ACL 2018)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from torpor.attacks.iterative import gradient_of
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals, TextGateSignals, evading

TOP = 400
"""Substitutions of one text at most, wherever they are."""
EACH = 25
"""Substitutions at one place at most besides."""

Loss = Callable[[StepSignals], Tensor]
"""A loss per sample ``[B]`` of the steps that a target runs; it remembers nothing. Attacks minimize it."""
GateLoss = Callable[[TextGateSignals], Tensor]
"""The same of the gates of a target that reads texts."""


@dataclass(frozen=True, eq=False)
class TokenGradient:
    """A text's own tokens, neither padding nor special, and the loss's gradient at each.

    Every position has its own row, also where tokens repeat, and only the input's side of an embedding counts, also
    where a model uses one matrix for input and output.

    Attributes:
        ids: tokens, int64 ``[n]``.
        rows: gradient with respect to the embedding at each position, ``[n, D]``.
        loss: at this text.
    """

    ids: Tensor
    rows: Tensor
    loss: float

    @property
    def is_zero(self) -> bool:
        """Whether most of the gradient is exactly zero."""
        return bool((self.rows == 0).to(torch.float32).mean() > 0.5)


def token_gradient(
    target: Any,  # noqa: ANN401 - whatever has embeddings
    text: str,
    objective: Loss | GateLoss,
) -> TokenGradient:
    """Run ``text`` and differentiate the objective with respect to its input embeddings.

    Texts are taken one by one, so that a text has the same gradient, to the last bit, in any batch.

    Raises:
        UsageError: if the target has no embeddings to differentiate with respect to.
    """
    signals = target.signals((text,))
    if signals.embeddings is None or signals.input_ids is None or signals.input_mask is None:
        raise UsageError(f"expected a target with input embeddings, got {target.name}; use a black-box attack")
    loss = evading(signals, objective(signals)).sum()
    gradient = gradient_of(loss, signals.embeddings)
    own = signals.input_mask[0]
    return TokenGradient(signals.input_ids[0][own], gradient[0][own], loss.item())


def first_order(gradient: TokenGradient, matrix: Tensor, allowed: Tensor) -> Tensor:
    """Return by how much the loss would change, to first order, if a token were another: ``[n, V]``.

    ``(E_v - E_t) . G_t`` for position ``t`` and id ``v``; infinite where ``v`` may not be put in, or is there already.

    Args:
        gradient: of the text.
        matrix: input embeddings ``[V, D]``.
        allowed: which ids may be put in, bool ``[V]``.
    """
    with torch.no_grad():
        here = (matrix[gradient.ids] * gradient.rows).sum(-1, keepdim=True)
        change: Tensor = gradient.rows @ matrix.T - here
        change = change.masked_fill(~allowed.to(change.device), torch.inf)
        return change.scatter(1, gradient.ids.unsqueeze(1), torch.inf)


def lowest(changes: Tensor) -> list[tuple[int, int]]:
    """Return rows and columns of the lowest finite entries, ascending, in turns with each row's lowest.

    One place of a text often has all of the lowest entries, and the best edit is at another one.

    >>> lowest(torch.tensor([[1.0, 2.0, 3.0], [5.0, 4.0, torch.inf]]))
    [(0, 0), (0, 1), (1, 1), (0, 2), (1, 0)]
    """
    flat, width = changes.flatten(), changes.shape[1]
    order = flat.topk(min(TOP, len(flat)), largest=False).indices.tolist()
    each = changes.topk(min(EACH, width), largest=False)
    places = each.values.argsort(dim=0, stable=True)  # of each rank, the rows from the lowest entry on
    others = (places * width + each.indices.gather(0, places)).T.flatten().tolist()
    pairs = zip_longest(order, others)
    order = list(dict.fromkeys(place for pair in pairs for place in pair if place is not None))
    finite = flat[order].isfinite().tolist()
    return [divmod(place, width) for place, fine in zip(order, finite, strict=True) if fine]
