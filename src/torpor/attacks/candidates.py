"""What a search hands over."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from torpor.core.batches import Samples


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a search found, one candidate per sample.

    Attributes:
        inputs: candidates: images ``[B, C, H, W]``, waves ``[B, T]`` or a tuple of texts.
        forwards: forward passes spent on each sample, int64 ``[B]``.
        backwards: backward passes spent on each sample, int64 ``[B]``.
        zero_gradient: whether most of the first gradient was exactly zero, bool ``[B]``; None without gradients.
        loss_fell: whether the loss fell by a tenth or more, bool ``[B]``; None without a surrogate loss.
        black_box_won: whether a gradient-free member beat all others, bool ``[B]``; None outside an ensemble.
        cut_short: whether the search had not come to its end when its time was over.
    """

    inputs: Samples
    forwards: Tensor
    backwards: Tensor
    zero_gradient: Tensor | None = None
    loss_fell: Tensor | None = None
    black_box_won: Tensor | None = None
    cut_short: bool = False
