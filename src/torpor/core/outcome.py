"""What a target returns for a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from torpor.core.renamed import Renamed
from torpor.core.work import Work


@dataclass(frozen=True, eq=False)
class Outcome:
    """Outputs of a dynamic run and the work that produced them.

    Attributes:
        outputs: the target's own kind, one entry per sample: logits ``[B, C]`` for classifiers, a tuple of
            :class:`Generation` for decoders.
        work: counts per sample and unit.
        rejected: which samples an input detector rejected, bool ``[B]``, whose outputs mean nothing; None if the target
            rejects no inputs.
    """

    outputs: Any
    work: Work
    rejected: Tensor | None = None

    refused = Renamed("rejected")


@dataclass(frozen=True)
class Generation:
    """What a decoder generated for one sample.

    Attributes:
        ids: tokens after the prompt or start token, the end token included if there was one, no padding.
        text: the same as text, special tokens left out.
        capped: whether the cap or a guard ended it, not an end token.
    """

    ids: tuple[int, ...]
    text: str
    capped: bool
