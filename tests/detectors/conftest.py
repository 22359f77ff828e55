"""Other people's detectors, in an environment of their own (``make test`` makes it): torchvision breaks others here."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[3] / "shared"


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """Return torchvision; where its compiled part does not fit a torch without CUDA, with operators of a stand-in."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not here; `make test` runs these tests in an environment that has it")
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        if not (SHARED / "tv_shim.py").is_file():
            pytest.skip(f"torchvision does not fit this torch ({error}), and there is no stand-in beside the repository")
    sys.path.insert(0, str(SHARED))
    importlib.import_module("tv_shim")
    return importlib.import_module("torchvision")


@pytest.fixture(scope="session")
def ultralytics(torchvision: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return ultralytics, with its settings in a folder of the tests, installing nothing and asking no server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("ultralytics")))
        patch.setenv("YOLO_AUTOINSTALL", "false")
        patch.setenv("YOLO_OFFLINE", "true")
        return importlib.import_module("ultralytics")
