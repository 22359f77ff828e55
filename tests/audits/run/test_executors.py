"""Whoever attacks the batches, the records are the same, and what dies takes no finished batch with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from toy_audits import NEEDLE, SLOW, command, snapshot, spawn, write_images
from typing_extensions import override

from torpor.audits.lock import FolderLock, verify_owner
from torpor.audits.plan import Plan
from torpor.audits.request import request
from torpor.audits.run.engine import run_audit
from torpor.audits.run.estimate import Estimate, estimate, row_weights
from torpor.audits.run.executors import Executor, Local, Tell, gainful_workers, load_executor
from torpor.audits.run.job import Job
from torpor.audits.run.limits import Course, Limits
from torpor.audits.run.processes import Processes
from torpor.core.errors import UsageError
from torpor.core.space import DenseSpace
from torpor.data.given import GivenInputs
from torpor.meters.threads import Threads
from torpor.targets.resolve import load_target

RAY = pytest.param("ray", marks=pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"))
DEADLY = """
import os, signal
from contextlib import suppress
from pathlib import Path
from torpor.targets.early_exit.toys import WindowTarget

class Deadly(WindowTarget):
    def signals(self, inputs):
        life = next(Path(".").glob("life*"), None)
        if str(os.getpid()) != Path("driver").read_text() and life is not None:
            with suppress(FileNotFoundError):  # another worker took it
                life.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().signals(inputs)

def target():
    return Deadly([0.5, 0.5, 0.5], [0.2, 0.1, 0.04], name="deadly")
"""
"""A module whose target ends the worker that runs it, once for each file life*."""


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Start Ray once for all tests of this module: executors use the cluster that there is."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # by default other tests come first, for minutes
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param.startswith("ray"):
        request.getfixturevalue("ray_here")
    return load_executor(request.param)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    data = write_images(tmp_path_factory.mktemp("executors") / "data", test=10, train=600)
    attacks, defenses = ("pgd", "deepsloth-universal"), ("svm", "bit-depth:3")
    return Plan(
        NEEDLE, attacks, "Linf", (0.2,), limit=10, batch_size=3, data_dir=str(data), defenses=defenses, timed=False
    )


@pytest.fixture(scope="module")
def locally(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("locally") / "run"
    run_audit(plan, load_target(NEEDLE), folder, threads=1)
    return (folder / "records.parquet").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes:2", RAY], indirect=True)
def test_records_are_the_same_byte_for_byte(executor: Executor, plan: Plan, locally: bytes, tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    run_audit(
        plan,
        load_target(NEEDLE),
        tmp_path / "run",
        lambda text, done, total: said.append((done, total)) if text.endswith(" attacked") else None,
        executor=executor,
    )
    assert (tmp_path / "run" / "records.parquet").read_bytes() == locally
    course = Course.of(row_weights(plan), 4)
    assert {total for _, total in said} == {course.total}
    assert all(done >= course.attacked(batch, []) for batch, (done, _) in enumerate(said, 1))  # others are under way
    assert said[-1][0] == course.timed(0) < course.total
    assert len(said) == 4
    assert not (tmp_path / "run" / "shards").exists()
    assert torch.get_num_threads() == 1


def deadly(folder: Path, lives: int) -> Plan:
    """Write the module of a target that ends so many workers."""
    (folder / "deadly.py").write_text(DEADLY)
    (folder / "driver").write_text(str(os.getpid()))
    for life in range(lives):
        (folder / f"life{life}").touch()
    data = write_images(folder / "data", test=8, train=20)
    return Plan("deadly:target", ("pgd",), "Linf", (0.2,), steps=3, batch_size=2, data_dir=str(data), timed=False)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes:2", RAY], indirect=True)
def test_a_worker_that_is_killed_is_replaced_and_its_batch_attacked_again(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = deadly(tmp_path, lives=1)
    monkeypatch.chdir(tmp_path)
    run_audit(plan, load_target(plan.target), tmp_path / "killed", executor=executor)
    assert not list(tmp_path.glob("life*"))
    run_audit(plan, load_target(plan.target), tmp_path / "whole", threads=1)
    assert (tmp_path / "killed" / "records.parquet").read_bytes() == (
        tmp_path / "whole" / "records.parquet"
    ).read_bytes()


@pytest.mark.slow
def test_workers_that_keep_dying_end_in_one_sentence_and_the_rest_can_be_done_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = deadly(tmp_path, lives=100)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="got 3 in a row that died over batches 0") as caught:
        run_audit(plan, load_target(plan.target), tmp_path / "run", executor=Processes(1))
    assert "\n" not in str(caught.value)
    assert len(list(tmp_path.glob("life*"))) == 97
    run_audit(plan, load_target(plan.target), tmp_path / "run", threads=1)
    assert (tmp_path / "run" / "audit.json").is_file()


@pytest.mark.slow
def test_kill_9_of_the_driver_leaves_finished_batches_and_no_worker(tmp_path: Path) -> None:
    write_images(tmp_path / "data", test=12, train=20)
    (tmp_path / "slow.py").write_text(SLOW)
    words = ["audit", "slow:target", "--attacks", "pgd", "--eps", "0.1", "--batch-size", "2", "--data-dir", "data"]
    options = ["--executor", "processes:2", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORPOR_TEST": str(tmp_path)}
    with subprocess.Popen(
        command(*words, *options, "killed"), cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
    ) as driver:
        shards, deadline = tmp_path / "killed" / "shards", time.monotonic() + 300
        while not list(shards.glob("*.parquet")) and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        assert len(marked(tmp_path)) >= 3
        driver.send_signal(signal.SIGKILL)
    finished = {path.name: path.read_bytes() for path in shards.glob("*.parquet")}
    assert 1 <= len(finished) < 6
    while marked(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not marked(tmp_path)
    again = spawn(*words, *options, "killed", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Threads: 1 for each worker of processes:2" in again.stderr
    whole = spawn(*words, "--threads", "1", "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert (tmp_path / "killed" / "records.parquet").read_bytes() == (
        tmp_path / "whole" / "records.parquet"
    ).read_bytes()


def marked(folder: Path) -> list[int]:
    """Return the processes of a test: those whose environment names its folder."""
    mark, found = f"TORPOR_TEST={folder}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_a_target_without_a_name_runs_in_this_process_only(tmp_path: Path, plan: Plan) -> None:
    with pytest.raises(
        UsageError, match=r"a worker can load by its name, got 'own'.* use the local executor"
    ) as caught:
        run_audit(replace(plan, target="own"), load_target(NEEDLE), tmp_path / "run", executor=Processes(1))
    assert "\n" not in str(caught.value)


def test_another_target_under_the_same_name_is_refused_by_workers(tmp_path: Path, plan: Plan) -> None:
    other = load_target(NEEDLE, rule="confidence:0.95")
    with pytest.raises(UsageError, match=r"by the name .*needle, got others \(target fingerprint\)"):
        run_audit(plan, other, tmp_path / "run", executor=Processes(1))


def test_a_worker_writes_only_while_the_driver_holds_the_folder(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as lock:
        verify_owner(tmp_path, lock.token)
        with pytest.raises(UsageError, match="got another owner or none"):
            verify_owner(tmp_path, "another")
        left = lock.path.read_bytes()
    with pytest.raises(UsageError, match="got another owner or none"):
        verify_owner(tmp_path, lock.token)
    lock.path.write_bytes(left)  # as a killed driver leaves it
    with pytest.raises(UsageError, match="got another owner or none"):
        verify_owner(tmp_path, lock.token)


def test_a_folder_that_changes_hands_is_not_written(plan: Plan, tmp_path: Path) -> None:
    run_audit(replace(plan, limit=3), load_target(NEEDLE), tmp_path / "run", threads=1)
    before = snapshot(tmp_path / "run")
    with pytest.raises(UsageError, match="got another owner or none"):
        Job(replace(plan, limit=3), tmp_path / "run", owner="gone").shard(0)
    assert snapshot(tmp_path / "run") == before


@dataclass(frozen=True)
class Backwards(Executor):
    """A plug-in's: the last batch first."""

    id: ClassVar[str] = "backwards"
    in_process: ClassVar[bool] = True

    pairs: bool = False

    @override
    def map(self, job: Job, shards: Iterator[int], tell: Tell) -> Iterator[int]:  # type: ignore[override]
        for number in reversed(list(shards)):
            job.shard(number)
            yield number


def test_an_executor_of_a_plug_in_may_take_batches_in_any_order(plan: Plan, locally: bytes, tmp_path: Path) -> None:
    own = load_executor(f"{__name__}:Backwards:pairs=true")
    assert own == Backwards(pairs=True)
    run_audit(plan, load_target(NEEDLE), tmp_path / "run", executor=own, threads=1)
    assert (tmp_path / "run" / "records.parquet").read_bytes() == locally


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("processes", "processes:N with a number of workers"),
        ("processes:0", "1 worker or more, got 0"),
        ("processes:two", "processes:N with a number of workers, got processes:two"),
        ("local:2", "local:KEY=VALUE"),
        ("proceses:2", "did you mean processes"),
        (f"{__name__}:deadly", "subclass of torpor's Executor"),
    ],
)
def test_what_is_no_executor_is_refused(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_executor(spec)


@pytest.mark.parametrize(
    ("limit", "batch_size", "threads", "limits", "expected"),
    [
        (200, 100, Threads(1, 4, "measured"), None, Processes(2)),
        (200, 10, Threads(1, 4, "measured"), Limits(), Processes(4)),
        (200, 200, Threads(1, 4, "measured"), None, Local()),  # one batch
        (200, 100, Threads(2, 4, "measured"), None, Processes(2)),
        (200, 100, Threads(4, 4, "measured"), None, Local()),  # two batches gain less than four threads do
        (200, 10, Threads(2, 4, "as asked for", asked=True), None, Local()),
        (200, 100, Threads(1, 1, "there is one"), None, Local()),
        (200, 100, Threads(1, 4, "measured"), Limits(queries=9), Local()),  # workers would overspend
        (200, 100, Threads(1, 4, "measured"), Limits(cost=9.0), Local()),
        (200, 100, Threads(1, 4, "measured"), Limits(seconds=9.0), Processes(2)),  # time they have together
    ],
)
def test_auto_starts_workers_where_they_pay(
    limit: int,
    batch_size: int,
    threads: Threads,
    limits: Limits | None,
    expected: Executor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy = load_target(NEEDLE)
    assert isinstance(toy.space, DenseSpace)
    plan = Plan(NEEDLE, ("standard",), limit=limit, batch_size=batch_size)
    auto, data = load_executor("auto"), GivenInputs(torch.zeros(limit, *toy.space.shape, dtype=torch.uint8), "images")

    def chosen() -> Executor:
        return auto.chosen(partial(gainful_workers, plan, toy, lambda: estimate(plan, toy, data), threads, limits))

    monkeypatch.setattr("torpor.audits.run.executors.WORTH_S", float("inf"))
    assert chosen() == Local()  # too quick
    monkeypatch.setattr("torpor.audits.run.executors.WORTH_S", 0.0)
    assert chosen() == expected
    monkeypatch.setattr("torpor.meters.free.free_memory", lambda device: 3)
    monkeypatch.setattr("torpor.meters.free.peak_memory", lambda: 2)
    assert chosen() == Local()  # no room for two


@pytest.mark.parametrize(
    ("used", "limits", "expected"),
    [(1, None, 2), (2, None, 1), (1, Limits(seconds=30), 2), (1, Limits(seconds=10), 1), (2, Limits(seconds=30), 1)],
)
def test_what_gains_from_threads_has_to_take_longer_for_workers_to_pay(
    used: int, limits: Limits | None, expected: int
) -> None:
    plan, half_a_minute = Plan(NEEDLE, ("standard",), batch_size=1), Estimate(2, 2, 1, 1.0, 15.0, ())
    threads = Threads(used, 2, "measured")
    assert gainful_workers(plan, load_target(NEEDLE), lambda: half_a_minute, threads, limits) == expected


@pytest.mark.parametrize(("asked", "expected"), [(None, 1), (2, 2)])
def test_workers_that_auto_starts_have_a_thread_each(
    asked: int | None, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: dict[str, object] = {}

    @contextmanager
    def gains_from_two(*_: object) -> Iterator[Threads]:
        yield Threads(2, 2, "measured")

    monkeypatch.setattr("torpor.audits.request.chosen_threads", gains_from_two)
    monkeypatch.setattr("torpor.audits.request.gainful_workers", lambda *_: 2)
    monkeypatch.setattr("torpor.audits.request.run_audit", lambda *_, **options: ran.update(options))
    _, used = request(NEEDLE).run(tmp_path, executor=load_executor("auto"), threads=asked)
    assert (ran["executor"], ran["threads"], used.used) == (Processes(2), expected, expected)


def test_workers_say_how_far_they_are(plan: Plan, locally: bytes, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def progress(text: str, done: int, total: int) -> None:
        told.append((text, done, total))

    run_audit(plan, load_target(NEEDLE), tmp_path / "run", progress, executor=Processes(2), threads=1)
    assert (tmp_path / "run" / "records.parquet").read_bytes() == locally
    assert all(0 <= done <= total for _, done, total in told if total)
    batches = -(-(plan.limit or 0) // plan.batch_size)
    assert sum(text.endswith(" attacked") for text, *_ in told) == batches
