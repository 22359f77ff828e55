"""Early-exit networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.core.lazy import lazy

if TYPE_CHECKING:
    from torpor.targets.early_exit.target import EarlyExitTarget
else:
    __getattr__, __dir__ = lazy(__name__, {"target": ["EarlyExitTarget"]})

__all__ = ["EarlyExitTarget"]
