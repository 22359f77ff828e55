"""Progress where nobody watches, and what an interruption says is kept."""

from __future__ import annotations

import io
import re
import time
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from toy_audits import NEEDLE, call, write_images

from torpor.cli import console
from torpor.cli.console import Log, TimeLeft, bar, waiting
from torpor.cli.main import KEPT, Interruption


def test_a_log_says_what_how_many_and_how_long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(console, "SOON_S", 0.0)
    data = write_images(tmp_path / "data", test=6, train=2)
    words = ("--attacks", "pgd", "--steps", "2", "--shard-size", "2", "--data-dir", data, "--out", tmp_path / "run")
    code, _, err = call("audit", NEEDLE, *words)
    assert code == 0
    lines = [line for line in err.splitlines() if line.startswith("batch ")]
    assert {line[:9] for line in lines} == {"batch 1/3", "batch 2/3", "batch 3/3"}  # of all, though no limit was given
    assert re.fullmatch(r"batch 2/3 pgd-Linf-0\.03125, 28 % done, 0:0\d left", lines[4])
    assert any(line.startswith("loading ") for line in err.splitlines())


def test_a_log_is_never_silent_for_long() -> None:
    told: list[str] = []
    with Log(told.append, quiet_s=0.1, soon_s=0.0) as log:
        log.update("batch 1/2 pgd")
        time.sleep(0.5)
    assert told[0] == "batch 1/2 pgd"
    assert len(told) >= 3
    assert all(line == "batch 1/2 pgd; for 0:00 now" for line in told[1:])


def test_the_time_left_runs_down_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("torpor.cli.console.time.monotonic", lambda: now)
    pace = TimeLeft()
    pace.note(5, 0)
    assert pace.left() == ""  # nothing is known of how much there is
    pace.note(20, 100)  # what an earlier run has done
    now = 30.0
    assert pace.left() == ""
    pace.note(40, 100)
    assert pace.left() == "1:30 left"
    now = 50.0
    pace.note(40, 100)
    assert pace.left() == "1:10 left"
    now = 200.0
    assert pace.left() == ""  # it takes longer than expected
    pace.note(60, 100)
    assert pace.left() == "3:20 left"


def test_a_log_says_the_time_that_is_left_when_it_says_it() -> None:
    told, left = list[str](), ["2:00 left"]
    with Log(told.append, quiet_s=0.1, soon_s=0.0) as log:
        log.update("batch 1/2 pgd", lambda: left[0])
        left[0] = "1:00 left"
        time.sleep(0.5)
    assert told[0] == "batch 1/2 pgd, 2:00 left"
    assert told[-1] == "batch 1/2 pgd, 1:00 left; for 0:00 now"


def test_a_log_does_not_say_everything() -> None:
    told: list[str] = []
    with Log(told.append, quiet_s=60.0, soon_s=60.0) as log:
        for number in range(100):
            log.update(f"batch {number}/100")
    assert told == []  # over before anybody wondered


def test_waiting_says_so_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "SOON_S", 0.0)
    err = io.StringIO()
    with redirect_stderr(err), waiting("loading x"):
        pass
    with redirect_stderr(err), bar() as progress:
        progress("fitting", 0, 0)
    assert err.getvalue() == "loading x\nfitting\n"


def test_verbs_that_take_long_say_what_they_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(console, "SOON_S", 0.0)
    data = write_images(tmp_path / "data", test=4, train=2)
    for words, said in (
        (("measure", NEEDLE), f"measuring {NEEDLE}"),
        (("attack", NEEDLE, "pgd", "--steps", "2", "--out", tmp_path / "a.safetensors"), "pgd on 4 samples"),
    ):
        code, _, err = call(*words, "--data-dir", data)
        assert code == 0, err
        assert said in err.splitlines()


def test_an_interruption_says_what_is_kept(tmp_path: Path) -> None:
    KEPT[:] = [str(tmp_path)]
    try:
        said = Interruption(["audit", "x"])
        assert "; no batch was finished, and the same command resumes" in said.sentence
        (tmp_path / "shards").mkdir()
        for name in ("000000.parquet", "000001.parquet", "000001.texts.parquet", "000002.parquet.ab.partial"):
            (tmp_path / "shards" / name).touch()
        assert f"; 2 finished batches are kept in {tmp_path}, and the same command resumes" in said.sentence
        assert "kept" not in Interruption(["check", "x"]).sentence
        (tmp_path / "audit.json").touch()
        assert f"the finished audit is in {tmp_path}, and" in said.sentence
    finally:
        KEPT.clear()
