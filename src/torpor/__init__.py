"""torpor: measure what inputs can make a dynamic deep-learning system cost, and limit it.

The public names load on first use, so that ``import torpor`` stays fast:

>>> import torpor
>>> torpor.Budget("Linf", 8 / 255).norm
'Linf'
"""

from __future__ import annotations

from torpor.core.lazy import find_moved, lazy

TYPE_CHECKING = False  # typing takes longer to import than all else here, and a signal in the meantime cannot be caught
if TYPE_CHECKING:
    from torpor.api.checks import Checks
    from torpor.api.result import Audit, load_audit
    from torpor.api.run import audit
    from torpor.attacks.base import Attack, Candidates
    from torpor.attacks.registry import load_attack
    from torpor.core.budget import Budget
    from torpor.core.errors import TorporError
    from torpor.core.measures import Measure
    from torpor.core.units import Behavior, Unit
    from torpor.core.work import Outcome, Work
    from torpor.data.sets import DataSet
    from torpor.defenses.base import Defense
    from torpor.defenses.registry import load_defense
    from torpor.serving.quota import Quota
    from torpor.targets.base import Target
    from torpor.targets.early_exit.sdn import build_sdn
    from torpor.targets.early_exit.target import EarlyExitTarget
    from torpor.targets.family import Family
    from torpor.targets.resolve import load_target
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "api.checks": ["Checks"],
            "api.result": ["Audit", "load_audit"],
            "api.run": ["audit"],
            "attacks.base": ["Attack", "Candidates"],
            "attacks.registry": ["load_attack"],
            "core.budget": ["Budget"],
            "core.errors": ["TorporError"],
            "core.measures": ["Measure"],
            "core.units": ["Behavior", "Unit"],
            "core.work": ["Outcome", "Work"],
            "data.sets": ["DataSet"],
            "defenses.base": ["Defense"],
            "defenses.registry": ["load_defense"],
            "serving.quota": ["Quota"],
            "targets.base": ["Target"],
            "targets.early_exit.target": ["EarlyExitTarget"],
            "targets.family": ["Family"],
            "targets.resolve": ["load_target"],
            "targets.early_exit.sdn": ["build_sdn"],
        },
    )

find_moved()
__version__ = "0.1.0"

__all__ = [
    "__version__",
    "Attack",
    "Audit",
    "Behavior",
    "Budget",
    "Candidates",
    "Checks",
    "DataSet",
    "Defense",
    "EarlyExitTarget",
    "Family",
    "Measure",
    "Outcome",
    "Quota",
    "Target",
    "TorporError",
    "Unit",
    "Work",
    "audit",
    "build_sdn",
    "load_attack",
    "load_audit",
    "load_defense",
    "load_target",
]
