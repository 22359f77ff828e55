from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_audits import NEEDLE, SLOW, call, command, records, write_images

from torpor.audits import lock as locks
from torpor.audits.lock import NAME, FolderLock, beside_audit, refuse_own_files
from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.core.errors import UsageError
from torpor.targets.resolve import load_target

WORDS = (
    "audit",
    "slow:target",
    "--attacks",
    "pgd",
    "--eps",
    "0.1",
    "--steps",
    "5",
    "--batch-size",
    "2",
    "--data-dir",
    "data",
)
HOLD = """
import sys, time
from pathlib import Path
from torpor.audits.lock import FolderLock
with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_writer_at_a_time_even_within_a_process(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        owner = rf"process {os.getpid()} on {platform.node()} since \d{{4}}-\d\d-\d\dT"
        with pytest.raises(UsageError, match=owner) as caught, FolderLock(tmp_path):
            pass
        assert "\n" not in str(caught.value)
    with FolderLock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_owner_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(UsageError, match=f"process {process.pid} on"), FolderLock(tmp_path):
            pass
        process.send_signal(signal.SIGSTOP)  # asleep is not dead
        with pytest.raises(UsageError, match=f"process {process.pid} on"), FolderLock(tmp_path, patience_s=0.1):
            pass
        process.kill()
    assert (tmp_path / NAME).is_file()
    with FolderLock(tmp_path) as lock:
        lock.verify()


def test_an_owner_notices_that_its_folder_is_another_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with FolderLock(folder) as lock:
        shutil.rmtree(folder)
        with pytest.raises(UsageError, match="got no folder"):
            lock.verify()
        folder.mkdir()
        with FolderLock(folder) as other:
            with pytest.raises(UsageError, match="another one of that name, held by process"):
                lock.verify()
            other.verify()
        with pytest.raises(UsageError, match="another one"):
            lock.verify()
    assert list(folder.iterdir()) == []


def test_a_lock_file_that_somebody_deletes_is_noticed(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as lock:
        (tmp_path / NAME).unlink()
        with pytest.raises(UsageError, match="nothing more was written"):
            lock.verify()


def test_without_locks_the_owner_that_the_file_names_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    lock = FolderLock(tmp_path)
    with pytest.warns(UserWarning, match="without locks"):
        lock.__enter__()
    lock.verify()
    with (
        pytest.warns(UserWarning, match="without locks"),
        pytest.raises(UsageError, match="held by"),
        FolderLock(tmp_path),
    ):
        pass
    lock.__exit__(None, None, None)
    gone = {"pid": 2**22 + 1, "host": platform.node(), "since": "long ago"}
    (tmp_path / NAME).write_text(json.dumps(gone))
    with pytest.warns(UserWarning, match="without locks"), FolderLock(tmp_path) as lock:
        lock.verify()
    (tmp_path / NAME).write_text(json.dumps({**gone, "host": "elsewhere"}))
    with (
        pytest.warns(UserWarning, match="without locks"),
        pytest.raises(UsageError, match="on elsewhere since long ago"),
        FolderLock(tmp_path),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder that can be written"), FolderLock(tmp_path / "missing"):
        pass


def test_other_commands_leave_an_audits_files_alone(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    for name in ("audit.json", "records.parquet", "report.html", "examples/pgd.safetensors", "shards/000000.parquet"):
        with pytest.raises(UsageError, match="outside of the audit"):
            refuse_own_files(tmp_path / name)
    refuse_own_files(tmp_path / "mine.safetensors")
    with FolderLock(tmp_path), pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "PATIENCE_S", 0.1)
        with pytest.raises(UsageError, match="held by"), beside_audit(tmp_path / "mine.safetensors"):
            pass
    with beside_audit(tmp_path / "elsewhere" / "mine.safetensors"):
        pass


def test_attack_does_not_write_over_an_audit(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", test=4, train=8)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "audit.json").write_text("{}")
    code, _, err = call(
        *("attack", NEEDLE, "pgd", "--data-dir", data, "--limit", "2", "--out", tmp_path / "run" / "audit.json")
    )
    assert (code, len(err.splitlines())) == (2, 1)
    assert (tmp_path / "run" / "audit.json").read_text() == "{}"


@pytest.mark.slow
def test_a_second_command_is_refused_and_the_sleeper_finishes_its_audit(tmp_path: Path) -> None:
    write_images(tmp_path / "data", test=6, train=8)
    (tmp_path / "slow.py").write_text(SLOW)
    run, environment = tmp_path / "run", {**os.environ, "OMP_NUM_THREADS": "1"}
    words = command(*WORDS, "--out", "run")
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as first:
        deadline = time.monotonic() + 120
        while not list((run / "shards").glob("*.parquet")) and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        second = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        first.send_signal(signal.SIGCONT)
        assert first.wait() == 0
    assert second.returncode == 2
    assert f"held by process {first.pid} on" in second.stderr
    assert "Traceback" not in second.stderr
    audit = json.loads((run / "audit.json").read_text())
    assert {row["n"] for row in audit["summary"]} == {6}
    seconds = audit["samples"].pop("seconds")
    assert audit["samples"] == {"limit": None, "read": 6, "batches": 3}
    assert all(len(each) == 3 for each in seconds.values())
    assert len(records(run)) == 6 * len(audit["summary"])
    assert not (run / NAME).exists()


def plan_of(tmp_path: Path, limit: int | None = None) -> Plan:
    data = write_images(tmp_path / "data", test=10, train=20)
    return Plan(NEEDLE, ("pgd",), "Linf", (0.2,), steps=2, batch_size=2, limit=limit, data_dir=str(data), timed=False)


@pytest.mark.parametrize("lost", ["000000.parquet", "000002.parquet", "000001.json", "000003.safetensors", "*"])
def test_shards_that_vanish_while_others_are_made_are_made_anew(tmp_path: Path, lost: str) -> None:
    plan, run = plan_of(tmp_path), tmp_path / "run"
    batches, deleted = [0], [False]

    def progress(text: str, done: int, total: int) -> None:
        batches[0] += text.endswith(" pgd-Linf-0.2")
        if batches[0] == 5 and not deleted[0]:
            deleted[0] = True
            for path in (run / "shards").glob(lost):
                path.unlink()

    run_audit(plan, load_target(NEEDLE), run, progress)
    assert deleted[0]
    audit = json.loads((run / "audit.json").read_text())
    assert {row["n"] for row in audit["summary"]} == {10}
    assert sorted(set(records(run)["sample"].to_pylist())) == list(range(10))


def test_shards_that_go_on_vanishing_are_refused(tmp_path: Path) -> None:
    plan, run = plan_of(tmp_path), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torpor.audits.run.store.Store.lost", lambda store, count: [0])
        with pytest.raises(UsageError, match="expected 5 finished batches"):
            run_audit(plan, load_target(NEEDLE), run)
    assert not (run / "audit.json").exists()
    run_audit(plan, load_target(NEEDLE), run)
    assert len(set(records(run)["sample"].to_pylist())) == 10


def test_a_folder_that_is_taken_away_stops_the_audit(tmp_path: Path) -> None:
    plan, run = plan_of(tmp_path), tmp_path / "run"

    def progress(text: str, done: int, total: int) -> None:
        if list((run / "shards").glob("*.parquet")):
            shutil.rmtree(run)

    with pytest.raises(UsageError, match="as it was claimed, got no folder"):
        run_audit(plan, load_target(NEEDLE), run, progress)
    assert not run.exists()


def test_a_shard_of_other_samples_does_not_count(tmp_path: Path) -> None:
    plan, run = plan_of(tmp_path), tmp_path / "run"
    swapped = [False]

    def progress(text: str, done: int, total: int) -> None:
        shards = run / "shards"
        if (shards / "000003.parquet").is_file() and not swapped[0]:
            swapped[0] = True
            for kind in ("parquet", "json", "safetensors"):
                shutil.copy(shards / f"000003.{kind}", shards / f"000001.{kind}")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run_audit(plan, load_target(NEEDLE), run, progress)
    run_audit(plan, load_target(NEEDLE), run)
    held = records(run)["sample"].to_pylist()
    assert sorted(set(held)) == list(range(10))
    assert all(held.count(sample) == held.count(0) for sample in range(10))


def test_data_with_fewer_samples_than_asked_for_are_said(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, limit=64)
    run_audit(plan, load_target(NEEDLE), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "audit.json").read_text())["samples"]["read"] == 10
    code, out, _ = call("report", tmp_path / "run")
    assert code == 0
    assert "64 samples were asked for, the data have 10." in " ".join(out.split())
