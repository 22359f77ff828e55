"""A project's settings stand for the arguments of audits and checks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from toy_audits import NEEDLE, call, write_images

from torpor.cli.project import Project, read_project
from torpor.core.errors import UsageError

FACTORY = """
from torpor.targets.early_exit.toys import NeedleTarget, needle

def build() -> "NeedleTarget":
    return needle()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    write_images(tmp_path / "data", test=6, train=6)
    return tmp_path


def test_what_init_writes_is_audited_and_checked_without_arguments(place: Path) -> None:
    given = ("--attacks", "pgd", "--norm", "Linf", "--eps", "51/255", "--limit", "4", "--data-dir", "data")
    code, out, err = call("init", NEEDLE, *given, "--gate", "clean: max(slowdown) < 99")
    assert (code, err) == (0, "")
    assert "Wrote torpor.toml" in out
    code, out, _ = call("audit", "--gate")
    folder = place / "runs" / "torpor.targets.early_exit.toys.needle"
    audit = json.loads((folder / "audit.json").read_text())
    assert (code, out.splitlines()[-1]) == (0, "PASS")
    assert (audit["config"]["limit"], audit["config"]["eps"]) == (4, [51 / 255])
    code, out, _ = call("check")
    assert (code, out.splitlines()[-1]) == (0, "PASS")
    assert call("check", "--warn", "max(slowdown) < 0.5")[0] == 0
    assert call("audit", "--limit", "2", "--out", "other")[0] == 0  # options overrule
    assert json.loads((place / "other" / "audit.json").read_text())["config"]["limit"] == 2
    assert "expected a folder without settings of torpor, got torpor.toml" in call("init", NEEDLE)[2]


def test_a_gate_that_fails_fails_the_audit_with_gates(place: Path) -> None:
    call("init", NEEDLE, "--attacks", "pgd", "--limit", "2", "--data-dir", "data", "--gate", "clean: max(slowdown) < 1")
    code, out, _ = call("audit", "--gate")
    assert (code, out.splitlines()[-1]) == (10, "FAIL")
    assert call("audit")[0] == 0


def test_pyproject_and_a_factory_that_is_the_only_one(place: Path) -> None:
    (place / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    (place / "torpor_one.py").write_text(
        FACTORY.replace('"NeedleTarget"', "NeedleTarget").replace("NeedleTarget, ", "")
    )
    (place / "torpor_one.py").write_text("from torpor.targets import EarlyExitTarget\n"
                                         "from torpor.targets.early_exit.toys import needle\n"
                                         "def build() -> EarlyExitTarget:\n    return needle()\n")  # fmt: skip
    assert call("init", "--pyproject")[0] == 0
    project = read_project(place)
    assert project is not None
    assert project.path == place / "pyproject.toml"
    assert project.tables["audit"]["target"] == "torpor_one:build"
    assert (place / "pyproject.toml").read_text().startswith('[project]\nname = "mine"\n')
    assert "several in this folder" in _second(place)


def _second(place: Path) -> str:
    (place / "pyproject.toml").unlink()
    (place / "torpor_two.py").write_text((place / "torpor_one.py").read_text())
    return call("init")[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[audit\n", "expected TOML in torpor.toml, got: "),
        ("[audits]\n", "expected the tables audit and check in torpor.toml, got 'audits'; did you mean audit?"),
        ("[audit]\nlimit = 3\n", "expected target in the table audit"),
        ('[audit]\ntarget = "x"\nlimmit = 3\n', "got 'limmit'; did you mean limit?"),
        ('[audit]\ntarget = "x"\nlimit = {}\n', "expected a text, a number or a list of these as limit"),
        ('[audit]\ntarget = "x"\nlimit = "few"\n', "'--limit'"),
    ],
)
def test_settings_that_are_none_are_refused_in_a_sentence(place: Path, text: str, words: str) -> None:
    (place / "torpor.toml").write_text(text)
    code, out, err = call("audit")
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_gates_are_asked_for_before_anything_is_audited(place: Path) -> None:
    assert "got no torpor.toml here; see: torpor init" in call("audit", NEEDLE, "--gate")[2]
    (place / "torpor.toml").write_text(f'[audit]\ntarget = "{NEEDLE}"\n')
    assert "got none in torpor.toml" in call("audit", "--gate")[2]
    assert not (place / "runs").exists()
    assert "--norm" in call("audit", "--help")[1]


def test_check_finds_the_folder_of_the_audit() -> None:
    found = Project(Path("torpor.toml"), {"audit": {"target": "my:build"}, "check": {"gates": ["a < 1", "b < 2"]}})
    assert found.words("check", ["baseline"]) == ["runs/my.build", "a < 1", "b < 2"]
    with pytest.raises(UsageError, match="expected run in the table check"):
        Project(Path("torpor.toml"), {"check": {"gates": ["a < 1"]}}).words("check", [])
