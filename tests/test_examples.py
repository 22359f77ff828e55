"""The examples and the snippets of the docs run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from torpor.attacks import DeepSloth, load_attack
from torpor.attacks.base import Attack
from torpor.audits.contract.suite import contract_of
from torpor.audits.contract.trial import Trial
from torpor.audits.plan import Plan
from torpor.audits.read import read_audit
from torpor.audits.run.engine import run_audit
from torpor.core.objects import clean_recall
from torpor.targets import EarlyExitTarget
from torpor.targets.base import Target
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.resolve import load_target

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")


def example(name: str) -> Target:
    """Return an example's target, found as the command line finds it."""
    here = Path.cwd()
    path = list(sys.path)
    os.chdir(EXAMPLES)
    try:
        return load_target(name)
    finally:
        os.chdir(here)
        sys.path[:] = path


@pytest.fixture(scope="module")
def own() -> EarlyExitTarget:
    """Return the example of an early-exit network."""
    target = example("own_early_exit:build")
    assert isinstance(target, EarlyExitTarget)
    return target


@pytest.fixture(scope="module")
def own_detector() -> DetectorTarget:
    """Return the example of a detector."""
    target = example("own_detector:build")
    assert isinstance(target, DetectorTarget)
    return target


def test_the_exits_of_the_own_network_mean_something(own: EarlyExitTarget) -> None:
    batch = own.data(None).load("test")
    outcome = own.run(own.space.from_bytes(batch.inputs))
    leaves = outcome.work.counts.sum(1) - 1
    assert own.utility(outcome.outputs, batch.references).mean() > 0.9
    assert all((leaves == exit_).any() for exit_ in range(3))
    assert own.prices.cost(outcome.work).mean() < 0.5 * own.prices.cost(own.max_work(batch.inputs)).mean()


def test_the_own_targets_keep_the_contract(own: EarlyExitTarget, own_detector: DetectorTarget) -> None:
    for target in (own, own_detector):
        trial = Trial(target, target.data(None).load("test", 4), partial(lambda same: same, target))
        assert [str(line) for line in contract_of(trial) if line.verdict == "fail"] == []


def test_the_own_network_is_the_same_each_time(own: EarlyExitTarget) -> None:
    module = sys.modules["own_early_exit"]
    again = module.train(module.images())
    for (stage, head), other in zip(own.blocks, zip(again.stages, again.heads, strict=True), strict=True):
        for mine, theirs in zip([stage, head], other, strict=True):
            for key, value in mine.state_dict().items():
                assert torch.equal(value, theirs.state_dict()[key])


def test_the_own_network_can_be_audited_from_python(own: EarlyExitTarget, tmp_path: Path) -> None:
    plan = Plan("own_early_exit:build", ("deepsloth",), "Linf", (32 / 255,), limit=32)
    run_audit(plan, own, tmp_path / "run")
    rows = {row["attack"]: row for row in read_audit(tmp_path / "run").summary}
    controls = [row["slowdown_mean"] for row in rows.values() if row["kind"] == "control"]
    assert len(controls) == 3
    assert rows["deepsloth"]["slowdown_mean"] > max(controls)
    assert rows["deepsloth"]["linf_max"] <= 32 / 255 + 1e-6


@pytest.mark.slow
def test_the_own_network_can_be_audited_from_its_folder(tmp_path: Path) -> None:
    command = "from torpor.cli.main import main; main()"
    arguments = ["audit", "own_early_exit:build", "--limit", "16", "--attacks", "pgd", "--out", str(tmp_path / "run")]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", command, *arguments], cwd=EXAMPLES, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in found.stdout
    audit = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert audit["target"]["name"] == "own-early-exit"
    assert [row["n"] for row in audit["summary"]] == [16] * 5


def test_the_own_detector_finds_what_is_there(own_detector: DetectorTarget) -> None:
    batch = own_detector.data(None).load("test")
    outcome = own_detector.run(own_detector.space.from_bytes(batch.inputs))
    assert clean_recall(outcome.outputs, batch.references) > 0.8
    assert own_detector.utility(outcome.outputs, batch.references).mean() > 0.8


def test_the_own_detector_can_be_audited_from_python(own_detector: DetectorTarget, tmp_path: Path) -> None:
    plan = Plan("own_detector:build", ("daedalus",), "Linf", (32 / 255,), steps=40, limit=8)
    run_audit(plan, own_detector, tmp_path / "run")
    rows = {row["attack"]: row for row in read_audit(tmp_path / "run").summary}
    counts = {name: row["units_mean"]["candidate"] for name, row in rows.items()}
    assert counts.pop("daedalus") > 1.5 * max(counts.values())


def test_the_own_defenses_defend_an_early_exit_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = ("own_defense:Blur:5", "own_defense:Halfway")
    plan = Plan("sdn-digits", ("pgd:steps=2",), "Linf", (32 / 255,), limit=8, timed=False, defenses=names)
    run_audit(plan, load_target("sdn-digits"), tmp_path / "run")
    audit = read_audit(tmp_path / "run")
    clean = {row["defense"]: row for row in audit.summary if row["kind"] == "clean"}
    assert list(clean) == ["none", *names]
    assert clean[names[0]]["cost_mean"] >= clean["none"]["cost_mean"]
    assert audit.units[names[0]][-1] == {"name": "own-blur", "price": 32 * 32 * 25.0, "stage": "defense"}
    assert clean[names[1]]["cost_static"] < clean["none"]["cost_static"]


@pytest.mark.parametrize("page", [page for page in PAGES if CODE.search(page.read_text())], ids=lambda page: page.name)
def test_the_python_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("snippet")
    monkeypatch.setitem(sys.modules, "snippet", module)  # where dataclasses look themselves up
    for code in CODE.findall(page.read_text()):
        exec(compile(code, page.name, "exec"), module.__dict__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", page.read_text())):
        assert (page.parent / link).exists(), link


def test_defaults_that_the_docs_state() -> None:
    assert load_attack("deepsloth") == DeepSloth(norm="Linf", eps=0.03125)
    assert {norm: round(eps, 4) for norm, eps in Attack.radii.items()} == {"Linf": 0.0312, "L2": 0.3487, "L1": 8}
