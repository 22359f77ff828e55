from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "pyarrow", "plotly", "sklearn", "numpy", "scipy", "safetensors", "jinja2", "PIL"}
AUDITED = 125
"""Files of torpor that the audit of a network with early exits may open; `python -m benchmarks.imports` lists them."""
HELP = """
import sys
from torpor.cli.main import main
sys.argv = ["torpor", *{words!r}]
try:
    main()
except SystemExit:
    pass
"""


def loaded(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after ``code``."""
    tail = "\nimport sys, json\nprint('\\n' + json.dumps([name.partition('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_loads_nothing_heavy() -> None:
    assert not loaded("import torpor") & HEAVY


@pytest.mark.parametrize("words", [["--help"], ["audit", "--help"], ["zoo", "train", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    assert not loaded(HELP.format(words=words)) & HEAVY


def test_the_check_can_fail() -> None:
    assert "numpy" in loaded("import numpy")


@pytest.mark.slow
def test_an_audit_opens_what_it_uses() -> None:
    words = [sys.executable, "-m", "benchmarks.imports"]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    opened = {line.partition(" <- ")[0] for line in done.stderr.splitlines() if " <- " in line}
    assert "torpor.zoo.early_exits" in opened
    assert not {name for name in opened if name.startswith(("torpor.study", "torpor.training", "torpor.zoo.language"))}
    assert len(opened) <= AUDITED
