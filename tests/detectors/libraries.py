"""Other people's detectors, in an environment of their own (``make test`` makes it): torchvision breaks others here."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

SHARED = Path(__file__).parents[3] / "shared"


@cache
def torchvision() -> ModuleType:
    """Return torchvision; where its compiled part does not fit a torch without CUDA, with operators of a stand-in."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not here; `make test` runs these tests in an environment that has it")
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        if not (SHARED / "tv_shim.py").is_file():
            pytest.skip(f"torchvision does not fit this torch ({error}), and no stand-in is beside the repository")
    sys.path.insert(0, str(SHARED))
    importlib.import_module("tv_shim")
    return importlib.import_module("torchvision")


@cache
def ultralytics() -> ModuleType:
    """Return ultralytics, with its settings in a folder of its own, installing nothing and asking no server."""
    torchvision()
    os.environ |= {"YOLO_CONFIG_DIR": tempfile.mkdtemp(), "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    for part in ("nn.tasks", "utils.nms"):
        importlib.import_module(f"ultralytics.{part}")
    return importlib.import_module("ultralytics")
