"""Names of lazy packages load on first use, and are what the modules define."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("torpor.core", "torpor.meters", "torpor.targets")
MODULES = "import sys, json\n{code}\nprint(json.dumps([name for name in sys.modules if name.startswith('torpor.')]))"


def loaded(code: str) -> set[str]:
    words = [sys.executable, "-c", MODULES.format(code=code)]
    return set(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_found_and_no_module_hides_it(package: str) -> None:
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    assert module.__file__
    assert not set(module.__all__) & {path.stem for path in Path(module.__file__).parent.iterdir()}
    for name in module.__all__:
        found = getattr(module, name)
        assert getattr(found, "__module__", package).startswith(package), name
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nope'"):
        module.nope  # noqa: B018


def test_a_name_loads_its_module_and_what_that_needs_only() -> None:
    assert loaded("from torpor.core import UsageError") == {
        "torpor.core",
        "torpor.core.lazy",
        "torpor.core.errors",
    }
    flops = loaded("from torpor.meters import count_flops")
    assert "torpor.meters.flops" in flops
    assert not flops & {"torpor.meters.energy", "torpor.meters.wall_clock", "torpor.metrics"}
