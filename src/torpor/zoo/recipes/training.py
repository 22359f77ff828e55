"""The old name of :mod:`torpor.training.early_exit`."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

_NEW = "torpor.training.early_exit"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the types are those of the new module
    found = getattr(importlib.import_module(_NEW), name)  # by name: the zoo itself imports no training
    warnings.warn(f"{__name__} is now {_NEW}; import {name} from there", DeprecationWarning, stacklevel=2)
    return found
