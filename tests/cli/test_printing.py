"""Nothing that came from elsewhere reaches a terminal as more than printable text, whichever verb prints it."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from audit_factory import write_audit
from toy_audits import NEEDLE, call, spawn, write_images

from torpor.reports.kit.printable import printable

SOURCE = Path(__file__).parents[2] / "src" / "torpor"
PRINTERS = {"cli/streams.py", "cli/console.py", "cli/main.py", "cli/app.py"}
"""The place that prints, and what comes before it or ends it."""
GENERATORS = {"training/show.py", "taxonomy/render.py"}
"""Modules that print pages of the documentation when they are run."""
FORBIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
EVIL = "\x1b]0;t\x07\x1b[31mred\x1b[2K\rPASS\n\u202e\u2066\u200f\u200b\u2028\x85\x9b2J[red]x[/red][link=http://e]y[/link]:smile:\ufeff"
CSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
FACTORY = """
import logging, sys, warnings
from torpor.core.errors import UsageError
from torpor.targets.early_exit.toys import WindowTarget

EVIL = {evil!r}

def named():
    print(EVIL)
    sys.stderr.write(EVIL)
    warnings.warn(EVIL)
    logging.warning(EVIL)
    return WindowTarget([0.5], [0.2], name=EVIL)

def refused():
    raise UsageError(EVIL)

class Broken(WindowTarget):
    def run(self, inputs):
        raise RuntimeError(EVIL)

class Leaving(WindowTarget):
    def run(self, inputs):
        raise SystemExit(EVIL)

def leaving():
    return Leaving([0.5], [0.2], name=EVIL)

def crashing():
    named()
    return Broken([0.5], [0.2], name=EVIL)
"""


def harmless(text: str, *, one_line: bool = False) -> None:
    """Assert that a terminal would show ``text`` and do nothing else."""
    allowed = "" if one_line else "\n"
    found = {character for character in text.rstrip("\n") if unicodedata.category(character) in FORBIDDEN}
    assert not found - set(allowed), (found, text)


def test_only_one_place_prints() -> None:
    found = []
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        if name in PRINTERS | GENERATORS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            prints = isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
                *("print_exc", "print_exception", "echo", "secho", "Console", "basicConfig", "StreamHandler"),
                *(() if ".print" in ast.unparse(node.func) else ("print",)),
            )
            stream = isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr")
            found += [f"{name}: {ast.unparse(node)}"] if prints or stream else []
    assert not found


def test_every_character_that_is_not_printable_is_escaped() -> None:
    every = "".join(map(chr, (*range(0x20000), *range(0xE0000, 0xE0200), sys.maxunicode)))
    harmless(printable(every), one_line=True)
    letters = "".join(c for c in every if unicodedata.category(c)[0] in "LMNPS" or unicodedata.category(c) == "Zs")
    assert printable(letters) == letters
    assert printable("a\n\tb\r", lines=True) == "a\n\tb\\r"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_images(tmp_path / "data", test=4, train=4)
    (tmp_path / "torpor_evil.py").write_text(FACTORY.format(evil=EVIL))
    yield tmp_path
    sys.modules.pop("torpor_evil", None)


def shown(*words: str | Path, code: int = 0) -> str:
    """Return what a command prints, none of which may do anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, out, err = call(*words)
    assert found == code, (found, out, err)
    harmless(out)
    harmless(err)
    return out + err


@pytest.mark.parametrize(
    "words",
    [
        ("bound", "torpor_evil:named"),
        ("bound", "torpor_evil:named", "--json"),
        ("measure", "torpor_evil:named", "--data-dir", "data"),
        ("measure", "torpor_evil:named", "--data-dir", "data", "--json"),
        ("attack", "torpor_evil:named", "pgd", "--data-dir", "data", "--out", f"at{EVIL.replace('/', '')}ed"),
    ],
)
def test_targets_that_are_named_and_print_as_they_like(place: Path, words: tuple[str, ...]) -> None:
    assert "[red]x[/red][link=http://e]y[/link]:smile:" in shown(*words)


def test_an_audit_of_such_a_target_and_its_folder(place: Path) -> None:
    folder = f"r{EVIL.replace('/', '')}"
    words = ["audit", "torpor_evil:named", "--attacks", "pgd", "--steps", "1", "--data-dir", "data", "--out", folder]
    report = [line for line in shown(*words).splitlines() if line.startswith("Report: ")]
    assert len(report) == 1
    assert report[0].endswith("report.html")
    assert "[red]" in report[0]
    for more in (("report", folder), ("compare", folder, folder), ("compare", folder, folder, "--json")):
        assert "Report" in shown(*more) or more[0] == "compare"
    assert "PASS" in shown("check", folder, "clean: mean(slowdown) < 2").splitlines()[-1]


def evil(value: Any, key: str = "") -> Any:  # noqa: ANN401
    """Return JSON in which every text is hostile that a reader does not look at."""
    if isinstance(value, dict):
        return {name: evil(part, name) for name, part in value.items()} | ({EVIL: EVIL} if key == "environment" else {})
    if isinstance(value, list):
        return [evil(part, key) for part in value]
    kept = key in ("schema", "kind", "behavior", "split", "norm")
    return value if kept or not isinstance(value, str) else f"{value}{EVIL}"


@pytest.mark.parametrize("colors", [False, True])
def test_audits_that_somebody_else_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colors: bool) -> None:
    if colors:
        monkeypatch.setenv("FORCE_COLOR", "1")
    edits = {"deepsloth": {"latency_valid": False, "latency_reason": EVIL, "flags": [EVIL], "utility_name": EVIL}}
    run = write_audit(tmp_path / "run", target=EVIL, edits=edits)
    audit = json.loads((run / "audit.json").read_text())
    (run / "audit.json").write_text(json.dumps(evil(audit)))
    for words in (
        ("check", run, "nosuch:n>1", "latency_s_p50<1s", "clean: n > 1"),
        ("check", run, f"{'x' * 9}\x1b[31m:n>1"),
        ("compare", run, run),
        ("report", run),
    ):
        found, out, err = call(*words)
        assert found in (0, 2, 10, 11), (words, out, err)
        text = CSI.sub("", out + err) if colors else out + err
        harmless(text)
        assert "\x1b]" not in out + err
        assert "\x1b[2K" not in out + err


@pytest.mark.parametrize(
    "words",
    [
        ("check", "no\x1b[31m\nsuch", "n > 1"),
        ("check", ".", f"n > 1{EVIL}"),
        ("report", "no\x1b[31m\nsuch"),
        ("compare", "no\x1b[31m\nsuch", "b"),
        ("audit", "no\x1b[31m\nsuch"),
        ("audit", "hf:no\x1b[31m\nsuch"),
        ("audit", "torpor_evil:refused"),
        ("audit", "torpor_evil:no\x1b[31m\n"),
        ("measure", "torpor_evil:leaving", "--data-dir", "data"),
        ("audit", NEEDLE, "--attacks", "no\x1b[31m\nsuch"),
        ("audit", NEEDLE, "--defenses", "no\x1b[31m\nsuch"),
        ("audit", NEEDLE, "--data-dir", "no\x1b[31m\nsuch"),
        ("audit", NEEDLE, "--eps", "\x1b[31m\n"),
        ("audit", NEEDLE, "--norm", "\x1b[31m\n"),
        ("audit", NEEDLE, "--rule", "\x1b[31m\n"),
        ("audit", NEEDLE, "--device", "\x1b[31m\n"),
        ("audit", NEEDLE, "--limit", "\x1b[31m\n"),
        ("audit", NEEDLE, "--no\x1b[31m\nsuch"),
        ("attack", NEEDLE, "no\x1b[31m\nsuch", "--out", "x"),
        ("measure", NEEDLE, "--inputs", "no\x1b[31m\nsuch"),
        ("study", "--scale", "\x1b[31m\n"),
        ("zoo", "info", "no\x1b[31m\nsuch"),
        ("zoo", "train", "no\x1b[31m\nsuch"),
        ("list", "no\x1b[31m\nsuch"),
        ("list", "taxonomy", "--kind", "no\x1b[31m\nsuch"),
        ("env", "--device", "no\x1b[31m\nsuch"),
        ("no\x1b[31m\nsuch",),
        ("check", "x" * 100_000, "n > 1"),
    ],
)
def test_words_come_back_in_one_harmless_sentence(place: Path, words: tuple[str, ...]) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith("torpor: ")
    harmless(err, one_line=True)
    assert len(err) < 5000


def test_what_is_listed_comes_from_elsewhere_too(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint(EVIL, "torpor_evil:make", "torpor.targets")
    monkeypatch.setattr("torpor.cli.listed.entry_points", lambda group: [entry])
    assert "[red]x[/red]" in shown("list", "targets")
    monkeypatch.setattr("torpor.audits.run.identity.environment", lambda device: {EVIL: EVIL, "meters": {}})
    assert "\\x1b" in shown("env")
    shown("env", "--json")


def test_lists_show_every_name() -> None:
    from torpor.attacks.tamperings.registry import TAMPERINGS
    from torpor.cli.listed import shortened, tamperings

    printed = shown("list", "tamperings")
    assert all(name in printed for name in TAMPERINGS.names())
    assert list(shortened("tamperings", tamperings()[0])) == ["tampering", "stage", "what it does"]


def test_crashes_are_printed_without_harm(place: Path) -> None:
    done = spawn("measure", "torpor_evil:crashing", "--data-dir", "data", cwd=place)
    assert done.returncode == 1
    for word in ("RuntimeError: ", "torpor: warning: ", "WARNING:root:"):
        assert word in done.stderr
    harmless(done.stdout)
    harmless(done.stderr)


def test_the_progress_bar_says_names(monkeypatch: pytest.MonkeyPatch) -> None:
    from torpor.cli.console import bar

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), bar() as progress:
        progress(f"a{EVIL}", 1, 2)
        print(EVIL)
    text = out.getvalue() + err.getvalue()
    assert "a\\x1b]0;t\\x07" in text
    harmless(CSI.sub("", text.replace("\r", "")))
    assert "\x1b]" not in text
    assert "\x1b[31mred" not in text
