"""Tokens under a patch and elsewhere: those under it may run because of what it shows, without any effect on others."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torpor.core.budget import PATCHES, Budget
from torpor.core.errors import UsageError
from torpor.core.patches import PLACES, window


class TokensRun(NamedTuple):
    """How many tokens layers ran, all of them together.

    Attributes:
        under: those that look at a pixel of the patch, int64 ``[B]``.
        elsewhere: all others, int64 ``[B]``.
        most_under: the most that could run under the patch.
        most_elsewhere: the most that could run elsewhere.
    """

    under: Tensor
    elsewhere: Tensor
    most_under: int
    most_elsewhere: int


def tokens_run(target: Any, inputs: Tensor, ran: Tensor, budget: Budget) -> TokensRun | None:  # noqa: ANN401 - one that skips tokens
    """Run the signals of images, and count the tokens under a patch and elsewhere: see :func:`tokens_apart`.

    Args:
        target: its signals are :class:`~torpor.targets.tokens.signals.TokenSignals`.
        inputs: images ``[B, C, H, W]``.
        ran: tokens that ran, over all layers, int64 ``[B]``.
        budget: of the patch.

    Raises:
        UsageError: if the budget is no patch.
    """
    with torch.no_grad():
        alive = target.signals(inputs).alive
    return tokens_apart(alive, inputs, ran, budget)


def tokens_apart(alive: Tensor, inputs: Tensor, ran: Tensor, budget: Budget) -> TokensRun | None:
    """Count the tokens that a vision transformer runs under a patch and elsewhere.

    Signals tell where they are, the work of the run how many: both counts add up to ``ran``, also where signals are
    rounded otherwise, or a detector rejected the input.

    Args:
        alive: of the signals, ``[B, L, N]``.
        inputs: images ``[B, C, H, W]``.
        ran: tokens that ran, over all layers, int64 ``[B]``.
        budget: of the patch.

    Returns:
        The counts; None if tokens are not as many across as down, each as large.

    Raises:
        UsageError: if the budget is no patch.
    """
    if budget.norm not in PATCHES:
        raise UsageError(f"expected norm {' or '.join(PATCHES)}, got {budget.norm}")
    alive = alive.round().to(torch.int64).cpu()
    _, layers, count = alive.shape
    side = math.isqrt(count)
    if side * side != count or any(length % side for length in inputs.shape[-2:]):
        return None
    pixels = torch.zeros(1, *inputs.shape[-2:])
    pixels[:, *window(budget.eps, PLACES[budget.norm], *inputs.shape[-2:])] = 1
    covered = torch.nn.functional.adaptive_max_pool2d(pixels, side).flatten() > 0
    most_under = layers * int(covered.sum())
    most_elsewhere = layers * count - most_under
    under = alive.sum(1)[:, covered].sum(1)
    under = torch.minimum(under.maximum(ran - most_elsewhere), ran.clamp(max=most_under))
    return TokensRun(under, ran - under, most_under, most_elsewhere)
