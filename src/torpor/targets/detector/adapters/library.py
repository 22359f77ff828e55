"""Import a library that only some users have."""

from __future__ import annotations

import importlib
import os
from typing import Any

from torpor.core.errors import UsageError


def library(module: str) -> Any:  # noqa: ANN401 - a module, or what is in it
    """Return a module of torchvision or ultralytics.

    Raises:
        UsageError: if it is missing, or does not fit the installed torch.

    >>> library("torch.nn").Linear(2, 1).in_features
    2
    """
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # else ultralytics installs packages while it is imported
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:  # torchvision for another torch raises any
        first = str(error).strip().splitlines()[:1]
        raise UsageError(
            f"expected {module.partition('.')[0]} that fits this torch, got {type(error).__name__}: {' '.join(first)}; "
            "pip install 'torpor[detectors]'"
        ) from error
