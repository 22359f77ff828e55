"""What learns before it is used, and how an audit keeps what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self

from torch import Tensor


class Fitted(Protocol):
    """Something that learned: it hands its state over as tensors, and takes it back.

    So an audit that resumes after an interruption, or in another process, fits nothing twice.
    """

    def state(self) -> Mapping[str, Tensor]:
        """Return what was learned, by name; empty if there is nothing to learn."""

    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        """Return the same object, fitted as the one whose :meth:`state` this is.

        Raises:
            KeyError: if something is missing in ``state``.
        """
