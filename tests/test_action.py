"""The steps of ``action.yml``, run as GitHub runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="reading action.yml needs PyYAML (extra dev)")
ROOT = Path(__file__).parents[1]
STEPS = {step["name"]: step for step in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]}


def step(name: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a step of the action in ``folder``, with the ``torpor`` and ``python`` that lie there first on the path."""
    assert set(env) == set(STEPS[name]["env"])
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]["run"]],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src"), "GITHUB_ACTION_PATH": "/action", **env},
        text=True,
        capture_output=True,
        check=False,
    )


def program(folder: Path, name: str, code: str) -> None:
    """Put a program on the path of the steps."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    path.chmod(0o755)


@pytest.mark.parametrize(("version", "what"), [("", "/action"), ("0.1.0", "torpor==0.1.0")])
def test_what_is_installed(tmp_path: Path, version: str, what: str) -> None:
    """The action's own torpor, unless a version is named."""
    program(tmp_path, "python", '#!/bin/sh\necho "$@"\n')
    assert step("Install torpor", tmp_path, VERSION=version).stdout == f"-m pip install {what}\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("", []),
        ("--limit 4\n  --rule 'drop:0.05' ", ["--limit", "4", "--rule", "drop:0.05"]),
        ("$(id) *", ["$(id)", "*"]),
    ],
)
def test_options_are_words_and_nothing_else(tmp_path: Path, args: str, words: list[str]) -> None:
    """They are split as a shell would, but not expanded."""
    program(tmp_path, "torpor", '#!/bin/sh\nprintf "%s\\n" "$@"\n')
    found = step("Audit", tmp_path, TARGET="a b", ARGS=args).stdout.splitlines()
    assert found == ["audit", "a b", *words, "--out", "torpor-audit"]


def test_options_that_cannot_be_split_fail(tmp_path: Path) -> None:
    """Half of them would be another audit."""
    program(tmp_path, "torpor", "#!/bin/sh\necho never\n")
    found = step("Audit", tmp_path, TARGET="x", ARGS="--limit 4 --out 'a")
    assert found.returncode != 0
    assert found.stdout == ""


@pytest.mark.slow
def test_audit_and_check(tmp_path: Path) -> None:
    """A gate that holds passes, one that does not exits with 10 and leaves the finding for code scanning."""
    program(
        tmp_path, "torpor", f'#!/bin/sh\nexec "{sys.executable}" -c "from torpor.cli.main import main; main()" "$@"\n'
    )
    done = step("Audit", tmp_path, TARGET="sdn-digits", ARGS="--attacks deepsloth --norm Linf --eps 16/255 --limit 4")
    assert done.returncode == 0, done.stderr
    # of four samples, none costs as much as the costliest natural input of a thousand
    flags = "--accept-flag=surrogate-not-tracking\n--accept-flag=natural-tail-above-attack"
    passed = step("Check", tmp_path, GATES=f"max(slowdown) < 1000\n\n  {flags}\n")
    assert (passed.returncode, passed.stdout.split()[-1]) == (0, "PASS"), passed.stdout + passed.stderr
    failed = step("Check", tmp_path, GATES="clean: max(slowdown) <= 1\ndeepsloth: max(slowdown) < 1\n")
    assert failed.returncode == 10, failed.stdout + failed.stderr
    results = json.loads((tmp_path / "torpor-audit" / "gate.sarif").read_text())["runs"][0]["results"]
    assert [found["ruleId"] for found in results] == ["gate/max(slowdown)"]
    assert (tmp_path / "torpor-audit" / "gate.xml").is_file()
