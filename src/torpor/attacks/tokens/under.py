"""Tokens under a patch and elsewhere: a patch has tokens of its own, which cost without any effect on others."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torpor.attacks.search.balls import ball_of
from torpor.core.budget import PATCHES, Budget
from torpor.core.errors import UsageError


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


def tokens_run(target: Any, inputs: Tensor, budget: Budget) -> TokensRun:  # noqa: ANN401 - one that skips tokens
    """Count the tokens that a vision transformer runs under a patch and elsewhere.

    Args:
        target: its signals are :class:`~torpor.targets.tokens.signals.TokenSignals`, with as many patches across as
            down.
        inputs: images ``[B, C, H, W]``.
        budget: of the patch.

    Raises:
        UsageError: if the budget is no patch, or tokens are no square grid.
    """
    if budget.norm not in PATCHES:
        raise UsageError(f"expected norm {' or '.join(PATCHES)}, got {budget.norm}")
    with torch.no_grad():
        runs = target.signals(inputs).alive.round().to(torch.int64)  # [B, L, N]
    side = math.isqrt(runs.shape[2])
    if side * side != runs.shape[2] or any(length % side for length in inputs.shape[-2:]):
        raise UsageError(f"expected a square grid of tokens that divides the image, got {runs.shape[2]} tokens")
    pixels = torch.zeros(1, 1, *inputs.shape[-2:])
    ball_of(budget, target.space).free(pixels).fill_(1)
    covered = torch.nn.functional.adaptive_max_pool2d(pixels, side).flatten().to(runs.device) > 0
    each = runs.sum(1)
    most = runs.shape[1] * int(covered.sum())
    return TokensRun(each[:, covered].sum(1), each[:, ~covered].sum(1), most, runs.shape[1] * runs.shape[2] - most)
