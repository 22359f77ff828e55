"""What torpor requires of a multi-exit network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn


class EarlyExitModule(Protocol):
    """What a network must offer: ``heads[k](stages[k](... stages[0](images)))`` are the logits of exit ``k``.

    ``stages[k]`` maps one tensor to one tensor and ``heads[k]`` maps it to logits ``[B, C]``, each row on its own. The
    last head is the network's own classifier.
    """

    @property
    def stages(self) -> Sequence[nn.Module] | nn.ModuleList:
        """Consecutive parts of the network."""

    @property
    def heads(self) -> Sequence[nn.Module] | nn.ModuleList:
        """One classifier per stage."""
