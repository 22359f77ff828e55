"""How sure class scores are: what traces of exits and of decoder steps have in common."""

from __future__ import annotations

import math

from torch import Tensor

TINY = 1e-9


def sureness(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return confidence, entropy as a share of its maximum, and the gap between the two likeliest, each ``[...]``.

    >>> import torch
    >>> [value.item() for value in sureness(torch.zeros(4))]
    [0.25, 1.0, 0.0]
    """
    probabilities = logits.softmax(-1)
    entropy = -(probabilities * probabilities.clamp_min(TINY).log()).sum(-1) / math.log(logits.shape[-1])
    best = probabilities.topk(2, -1).values
    return best[..., 0], entropy, best[..., 0] - best[..., 1]
