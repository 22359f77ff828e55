"""The plug-in of pytest, as pytest runs it on tests of others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest
import torch
from torpor.targets.early_exit.toys import needle
from torpor.testing import assert_cost

BRIGHT = torch.full((2, 1, 4, 4), 0.8)

def test_pass():
    found = assert_cost(needle(), BRIGHT, "max(slowdown) <= 4", attacks="standard", eps=0.35, norm="Linf")
    assert found.records["slowdown"].max() == 4

def test_fail():
    assert_cost(needle(), BRIGHT, "max(slowdown) < 4", attacks="standard", eps=0.35, norm="Linf")

def test_inconclusive():
    assert_cost(needle(), 0 * BRIGHT, "max(slowdown) < 2", attacks="deepsloth:steps=1", eps="1/255")

def test_accepted():
    flags = ["no-effect", "budget-unused", "dead-gradients", "surrogate-not-tracking"]
    assert_cost(needle(), 0 * BRIGHT, "max(slowdown) < 2", attacks="deepsloth:steps=1", eps="1/255", accept=flags)

def test_no_gate():
    assert_cost(needle(), BRIGHT, attacks="standard")
"""
CACHED = """
import torch
from torpor.targets.early_exit.toys import needle

BRIGHT = torch.full((2, 1, 4, 4), 0.8)
NEEDLE = "torpor.targets.early_exit.toys:needle"

def test_first(torpor_audit, monkeypatch):
    first = torpor_audit(NEEDLE, "deepsloth:steps=1", inputs=BRIGHT, timed=False)
    monkeypatch.setattr("torpor.testing.cached.audit", None)  # whatever is run anew, fails
    assert torpor_audit(NEEDLE, "deepsloth:steps=1", inputs=BRIGHT.numpy().copy(), timed=False).folder == first.folder

def test_second(torpor_audit):
    target, images = needle(), BRIGHT.clone()
    folders = [
        torpor_audit(NEEDLE, "deepsloth:steps=1", inputs=BRIGHT, timed=False).folder,
        torpor_audit(NEEDLE, "deepsloth:steps=2", inputs=BRIGHT, timed=False).folder,
        torpor_audit(target, "deepsloth:steps=1", inputs=images, timed=False).folder,
        torpor_audit(needle(), "deepsloth:steps=1", inputs=images, timed=False).folder,
    ]
    images.mul_(0.5)
    folders.append(torpor_audit(target, "deepsloth:steps=1", inputs=images, timed=False).folder)
    assert len(set(folders)) == 5
    assert len(list(folders[0].parent.iterdir())) == 5

def test_without():
    pass
"""


@pytest.fixture
def other(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a project of somebody else's, with the plug-in, which need not be installed here."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def run(other: pytest.Pytester, *words: str) -> pytest.RunResult:
    return other.runpytest_subprocess("-p", "torpor.testing.plugin", "--strict-markers", *words)


@pytest.mark.slow
def test_only_a_pass_passes(other: pytest.Pytester) -> None:
    other.makepyfile(TESTS)
    done = run(other)
    done.assert_outcomes(passed=2, failed=3)
    text = done.stdout.str()
    assert "fail: max(slowdown) < 4, got 4x [standard, Linf" in text
    assert "inconclusive: max(slowdown) < 2, got 1x [deepsloth:steps=1, Linf 1/255]; " in text
    assert "expected a gate such as" in text
    assert "cost.py" not in text.partition("short test summary")[0].partition("test_no_gate")[0]  # where it was called


@pytest.mark.slow
def test_an_audit_of_the_fixture_runs_once_and_its_tests_are_marked(other: pytest.Pytester) -> None:
    other.makepyfile(CACHED)
    run(other).assert_outcomes(passed=3)
    run(other, "-m", "not torpor").assert_outcomes(passed=1, deselected=2)


def test_the_plugin_loads_nothing_until_it_is_used() -> None:
    listed = "sorted(name for name in sys.modules if name.split('.')[0] in ('torch', 'numpy', 'torpor'))"
    code = f"import sys, torpor.testing.plugin; print({listed})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(
        ["torpor", "torpor.core", "torpor.core.lazy", "torpor.testing", "torpor.testing.plugin"]
    )


def test_the_entry_point_is_the_plugin() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"torpor": "torpor.testing.plugin"}
