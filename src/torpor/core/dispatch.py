"""Seeing every operator that runs."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class EagerMode(TorchDispatchMode):
    """A mode that code which is not compiled runs under.

    Torch guards other modes against its compiler, and imports all of that when an operator first runs under one: a
    second or more in every process.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
