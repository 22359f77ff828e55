"""Old names of what :mod:`torpor.serving` holds; each warns, and goes in the next release but one."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

_NEW = {
    "Budget": "Quota",
    "BudgetError": "QuotaError",
    "ClientBudgets": "ClientQuotas",
    "WorkBudget": "TokenBucket",
    "metered": "metered",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types are those of torpor.serving
    if name not in _NEW:
        raise AttributeError(f"module 'torpor.defenses.work_budget' has no attribute {name!r}")
    message = f"torpor.defenses.work_budget.{name} is now torpor.serving.{_NEW[name]}"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module("torpor.serving"), _NEW[name])
