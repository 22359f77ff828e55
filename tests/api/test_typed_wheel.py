"""The names of the package: all there, loaded on use, and typed for those who install the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import torpor

ROOT = Path(__file__).parents[2]
USER = '''
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

import torpor
from torpor.core import GateSignals, ImageSpace
from torpor.testing import assert_cost


class Switches(torpor.Family["Bulbs"]):
    id: ClassVar[str] = "switches"
    behavior: ClassVar[torpor.Behavior] = torpor.Behavior.COMPUTATION
    measures: ClassVar[tuple[torpor.Measure, ...]] = ()


class Bulbs(torpor.Target):
    """One unit that runs once for every pixel above one half."""

    family: torpor.Family[Any] = Switches()
    mechanism = "switches"

    def __init__(self) -> None:
        self.name, self.space, self.device = "bulbs", ImageSpace((1, 2, 2)), torch.device("cpu")
        self.units = (torpor.Unit("bulb", 10),)

    def run(self, inputs: Tensor) -> torpor.Outcome:
        lit = (inputs > 0.5).flatten(1).sum(1, keepdim=True)
        return torpor.Outcome(lit[:, 0], torpor.Work(lit))

    def max_work(self, inputs: Tensor) -> torpor.Work:
        return torpor.Work(torch.full((len(inputs), 1), 4))

    def signals(self, inputs: Tensor) -> GateSignals:
        raise NotImplementedError

    def utility(self, outputs: Tensor, references: Tensor) -> Tensor:
        return torch.full((len(outputs),), torch.nan, dtype=torch.float64)

    def agreement(self, outputs: Tensor, clean: Tensor) -> Tensor:
        return outputs == clean

    def probes(self, inputs: Tensor) -> Iterator[tuple[torpor.Work, Callable[[], object]]]:
        yield self.run(inputs).work, lambda: self.run(inputs)

    def to(self, device: torch.device) -> Self:
        return self


@dataclass(frozen=True, kw_only=True)
class Brighter(torpor.Attack):
    """Every pixel as bright as it may be."""

    id: ClassVar[str] = "brighter"
    paper: ClassVar[None] = None

    def search(self, target: torpor.Target, inputs: Tensor, labels: object, seed: int) -> torpor.Candidates:
        count = torch.ones(len(inputs), dtype=torch.int64)
        return torpor.Candidates(inputs + self.eps, count, 0 * count)


def told(text: str, done: int, total: int) -> None:
    print(text, done, total)


images = torch.tensor([[[[0.9, 0.4], [0.4, 0.1]]], [[[0.1, 0.4], [0.4, 0.9]]]])
found: torpor.Audit = torpor.audit(Bulbs(), [Brighter(eps=0.2)], inputs=images, timed=False, progress=told)
checks: torpor.Checks = found.check("max(slowdown) <= 3")
print([row["slowdown_max"] for row in found.rows], bool(checks), found.records["cost"].max(), found.report().name)
assert_cost(Bulbs(), images, "max(slowdown) <= 3", attacks=[Brighter(eps=0.2)])
'''
TEST = """
import sys

def test_first(request):
    assert "torch" not in sys.modules
    assert "torpor.testing.plugin" in sys.modules

def test_second(torpor_audit):
    assert torpor_audit.folder.is_dir()
"""
REVEALED = """
import torpor
reveal_type(torpor.load_target)
reveal_type(torpor.load_attack("square").budget.eps)
reveal_type(torpor.audit("sdn-digits").check("max(slowdown) < 2").verdict)
reveal_type(torpor.audit("sdn-digits").records.to_arrow)
reveal_type(torpor.Quota)
torpor.audit("sdn-digits", epsilon=1)
"""


def test_every_public_name_is_there_and_shown() -> None:
    assert set(torpor.__all__) <= set(dir(torpor))
    for name in torpor.__all__:
        assert getattr(torpor, name).__doc__, name
    with pytest.raises(AttributeError, match="module 'torpor' has no attribute 'nope'"):
        torpor.nope  # type: ignore[attr-defined]  # noqa: B018


def test_importing_takes_less_than_a_second() -> None:
    code = "import time; begin = time.perf_counter(); import torpor; print(time.perf_counter() - begin)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python that has the wheel, and beside it whatever else is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(words, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    libraries = next((folder / "env" / "lib").glob("python*")) / "site-packages"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(libraries)]
    subprocess.run([*install, *map(str, folder.glob("*.whl"))], check=True, capture_output=True)
    (libraries / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # torch and all that torpor needs
    return folder / "env" / "bin" / "python"


def alone() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}


def mypy(python: Path, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "mine.py").write_text(text)
    words = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "mine.py"]
    words += ["--python-executable", str(python), "--cache-dir", str(python.parent / "mypy")]
    return subprocess.run(words, cwd=folder, env=alone(), capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_users_file_is_typed_and_runs(python: Path, tmp_path: Path) -> None:
    checked = mypy(python, tmp_path, USER)
    assert checked.returncode == 0, checked.stdout
    done = subprocess.run([python, "mine.py"], cwd=tmp_path, env=alone(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("[1.0, 3.0, ")
    assert done.stdout.splitlines()[-1].endswith(" True 30.0 report.html")


@pytest.mark.slow
def test_no_public_name_is_any(python: Path, tmp_path: Path) -> None:
    checked = mypy(python, tmp_path, REVEALED)
    lines = checked.stdout.replace("builtins.", "").splitlines()
    shown = [line.partition("Revealed type is ")[2].strip('"') for line in lines if "note:" in line]
    assert shown[0].startswith("def (name: str, *, device: ")
    assert shown[0].endswith("-> torpor.targets.base.Target")
    assert shown[1:3] == ["float", "torpor.audits.verdict.gate.Verdict"]
    assert shown[3].startswith("def (columns: ")
    assert "torpor.serving.quota.Quota" in shown[4]
    assert 'Unexpected keyword argument "epsilon" for "audit"' in checked.stdout
    assert checked.stdout.count("error:") == 1, checked.stdout


@pytest.mark.slow
def test_pytest_finds_the_plugin_and_it_loads_no_torch(python: Path, tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(TEST)
    words = [str(python), "-m", "pytest", "-q", "--strict-markers", "-W", "error", "-m", "torpor or not torpor"]
    done = subprocess.run(words, cwd=tmp_path, env=alone(), capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
