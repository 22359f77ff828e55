"""``torpor scan`` on the command line: verdicts, exit codes, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from torpor.cli.app import app

RUN = ("scan", "torpor.targets.early_exit.toys:needle")


def images(folder: Path) -> Path:
    pil = pytest.importorskip("PIL.Image")
    folder.mkdir()
    for number in range(8):
        pil.new("L", (4, 4), 40 + number).save(folder / f"{number}.png")
    return folder


def test_it_judges_by_clean_models(tmp_path: Path) -> None:
    run, given = CliRunner(), ("--inputs", str(images(tmp_path / "images")))
    first = run.invoke(app, [*RUN, *given, "--out", str(tmp_path / "first.json")])
    assert first.exit_code == 11, first.output
    assert "INCONCLUSIVE: there are no clean models of the kind early-exit-" in first.output
    found = json.loads((tmp_path / "first.json").read_text())
    assert set(found["figures"]) >= {"natural_cost", "trigger_linf"}
    clean = tmp_path / "clean"
    clean.mkdir()
    for number in range(9):
        (clean / f"{number}.json").write_text(json.dumps(found))
    alike = run.invoke(app, [*RUN, *given, "--clean", str(clean), "--json"])
    assert alike.exit_code == 0, alike.output
    assert '"verdict": "pass"' in alike.output or '"verdict":"pass"' in alike.output
    for file in clean.iterdir():
        cheaper = found | {"figures": found["figures"] | {"natural_cost": found["figures"]["natural_cost"] - 1}}
        file.write_text(json.dumps(cheaper))
    costly = run.invoke(app, [*RUN, *given, "--clean", str(clean)])
    assert costly.exit_code == 10, costly.output
    assert "FAIL: natural_cost is 50.0 deviations above 9 clean models" in costly.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fpr", "2"), "expected a false-positive rate between 0 and 1"),
        (("--limit", "0"), "expected --limit and --max-seconds above 0"),
        (("--clean", "nowhere.json"), "expected a scan, or a folder of scans"),
        (("--reference", "torpor.targets.early_exit.toys:no_such"), "no_such"),
    ],
)
def test_wrong_usage_is_refused(words: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(app, [*RUN, *words])
    assert result.exit_code != 0
    assert said in str(result.exception) + result.output
