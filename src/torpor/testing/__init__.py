"""Costs as assertions: ``assert_cost``, and a plug-in of pytest with the fixture ``torpor_audit``."""

from __future__ import annotations

from torpor.core.lazy import lazy

TYPE_CHECKING = False  # pytest loads the plug-in at every start, so that it must cost nothing
if TYPE_CHECKING:
    from torpor.testing.cached import CachedAudits
    from torpor.testing.cost import assert_cost
else:
    __getattr__, __dir__ = lazy(__name__, {"cached": ["CachedAudits"], "cost": ["assert_cost"]})

__all__ = ["CachedAudits", "assert_cost"]
