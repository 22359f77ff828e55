from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from toy_audits import call, spawn, write_images

from torpor import __version__

CRASHING = """
from torpor.targets.early_exit.toys import WindowTarget

class Broken(WindowTarget):
    def run(self, inputs):
        raise RuntimeError("the model fell over")

def target():
    return Broken([0.5], [0.1])
"""


def test_version_and_help() -> None:
    assert call("--version") == (0, f"torpor {__version__}\n", "")
    code, out, _ = call("--help")
    assert code == 0
    for verb in ("audit", "measure", "attack", "bound", "check", "report", "compare", "list", "zoo", "env"):
        assert verb in out
    assert "Exit codes" in out


OTHERS = """
import sys
from torpor.cli.main import main
sys.argv = ["torpor", {verb!r}, "--help"]
try:
    main()
except SystemExit:
    print([name for name in ("bound", "check", "zoo") if "torpor.cli." + name in sys.modules])
"""


@pytest.mark.parametrize("verb", ["bound", "zoo"])
def test_a_verb_loads_no_other(verb: str) -> None:
    words = [sys.executable, "-c", OTHERS.format(verb=verb)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"['{verb}']"


def test_a_typo_is_compared_with_every_verb() -> None:
    assert "Did you mean 'audit'?" in call("audti")[2]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("frobnicate",),
        ("--nope",),
        ("audit",),
        ("audit", "sdn-digits", "--limit", "few"),
        ("audit", "sdn-digits", "--seed", "1.5"),
        ("attack", "sdn-digits", "pgd"),
        ("list", "nonsense"),
        ("zoo", "train"),
        ("zoo",),
    ],
)
def test_what_typer_refuses_exits_with_2(words: tuple[str, ...]) -> None:
    code, out, err = call(*words)
    assert code == 2
    assert "Traceback" not in out + err
    assert out + err


def test_a_crash_exits_with_1_and_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    write_images(tmp_path / "data", test=2, train=2)
    done = spawn("measure", "crashing:target", "--data-dir", "data", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: the model fell over" in done.stderr


def test_the_installed_command_is_main() -> None:
    found = subprocess.run(
        [str(Path(sys.executable).parent / "torpor"), "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout == f"torpor {__version__}\n"
