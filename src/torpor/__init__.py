"""torpor: measure what inputs can make a dynamic deep-learning system cost, and bolt it down.

The public names load on first use, so that ``import torpor`` stays fast:

>>> import torpor
>>> torpor.Budget("Linf", 8 / 255).norm
'Linf'
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing takes longer to import than all else here, and a signal in the meantime cannot be caught
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Budget": "torpor.core",
    "Target": "torpor.targets",
    "EarlyExitTarget": "torpor.targets",
    "build_sdn": "torpor.targets",
    "load_target": "torpor.targets.resolve",
    "load_attack": "torpor.attacks",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types are those of the modules that names come from
    if name not in _HOME:
        raise AttributeError(f"module 'torpor' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
