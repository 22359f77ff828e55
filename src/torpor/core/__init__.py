"""The words of torpor as small frozen types and pure functions: no model, no input or output."""

from __future__ import annotations

from torpor.core.lazy import lazy

TYPE_CHECKING = False  # `import torpor` comes by here, and typing takes longer to import than all else
if TYPE_CHECKING:
    from torpor.core.budget import NORMS, PATCHES, Budget
    from torpor.core.criteria import Criterion, Evidence, PreservesPrediction, ReachesStaticBound, Slowdown
    from torpor.core.errors import DataError, MeterError, TorporError, UsageError
    from torpor.core.measures import Catalog, Measure
    from torpor.core.pricing import Pricing
    from torpor.core.signals import GateSignals
    from torpor.core.space import ImageSpace
    from torpor.core.threat import Access, Paper, Stage, ThreatModel
    from torpor.core.units import Behavior, Unit
    from torpor.core.work import Outcome, PriceList, Work
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "budget": ["NORMS", "PATCHES", "Budget"],
            "criteria": ["Criterion", "Evidence", "PreservesPrediction", "ReachesStaticBound", "Slowdown"],
            "errors": ["DataError", "MeterError", "TorporError", "UsageError"],
            "measures": ["Catalog", "Measure"],
            "pricing": ["Pricing"],
            "signals": ["GateSignals"],
            "space": ["ImageSpace"],
            "threat": ["Access", "Paper", "Stage", "ThreatModel"],
            "units": ["Behavior", "Unit"],
            "work": ["Outcome", "PriceList", "Work"],
        },
    )

__all__ = [
    "NORMS",
    "PATCHES",
    "Access",
    "Behavior",
    "Budget",
    "Catalog",
    "Criterion",
    "DataError",
    "Evidence",
    "GateSignals",
    "ImageSpace",
    "Measure",
    "MeterError",
    "Outcome",
    "Paper",
    "PreservesPrediction",
    "PriceList",
    "Pricing",
    "ReachesStaticBound",
    "Slowdown",
    "Stage",
    "ThreatModel",
    "TorporError",
    "Unit",
    "UsageError",
    "Work",
]
