from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from toy_audits import NEEDLE, SLOW, command, snapshot, spawn, write_images

from torpor.attacks.early_exit.deepsloth_universal import DeepSlothUniversal
from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.audits.run.store import Store
from torpor.core.errors import DataError, UsageError
from torpor.defenses.detectors.svm import SVM
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

CLOCK = ("latency", "attack_seconds", "energy", "memory", "fit_seconds")


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    data = write_images(tmp_path_factory.mktemp("resume") / "data", test=10, train=40)
    attacks = ("pgd", "deepsloth-universal")
    return Plan(NEEDLE, attacks, "Linf", (0.2,), steps=10, batch_size=4, data_dir=str(data), timed=False)


@pytest.fixture(scope="module")
def undisturbed(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run_audit(plan, load_target(NEEDLE), folder)
    return folder


@pytest.fixture(scope="module")
def timed_undisturbed(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timed") / "run"
    run_audit(replace(plan, timed=True), load_target(NEEDLE), folder)
    return folder


def same(one: Path, other: Path) -> None:
    """Assert that two audits found the same, whatever the clock said."""
    found, expected = snapshot(one), snapshot(other)
    assert found.keys() == expected.keys()
    clocked = {
        name for name in found if name == "audit.json" or (name.startswith("fitted/") and name.endswith(".json"))
    }
    for name in found.keys() - clocked:
        assert found[name] == expected[name], name
    rows = [json.loads(content["audit.json"])["summary"] for content in (found, expected)]
    for row, wanted in zip(*rows, strict=True):
        assert row.keys() == wanted.keys()
        for key in row:
            assert key.startswith(CLOCK) or row[key] == wanted[key], key


def dying(call: Callable[..., object], at: int) -> Callable[..., object]:
    """Return ``call`` that is killed instead of being called for the ``at``-th time."""
    left = [at]

    def replacement(*arguments: object, **options: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return call(*arguments, **options)

    return replacement


@pytest.mark.slow
def test_killed_before_any_of_its_writes_it_goes_on_to_the_same_end(
    plan: Plan, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, begun = load_target(NEEDLE), set[str]()
    for at in count():
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying(os.replace, at))
            try:
                run_audit(plan, target, folder)
            except Killed:
                assert not (folder / "audit.json").exists()
            else:
                same(folder, undisturbed)
                break
        begun |= snapshot(folder).keys()
        run_audit(plan, target, folder)
        same(folder, undisturbed)
    assert begun >= snapshot(undisturbed).keys() - {"audit.json"}  # it was killed after each of its files


@pytest.mark.parametrize(("at", "timed"), [(3, False), (40, False), (90, True), (140, True)])
def test_killed_between_two_runs_of_the_target_it_goes_on_to_the_same_end(
    plan: Plan,
    undisturbed: Path,
    timed_undisturbed: Path,
    tmp_path: Path,
    at: int,
    timed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target: Target = load_target(NEEDLE)
    asked = replace(plan, timed=timed)
    with monkeypatch.context() as patch:
        patch.setattr(target, "run", dying(target.run, at))
        with pytest.raises(Killed):
            run_audit(asked, target, tmp_path / "run")
    run_audit(asked, target, tmp_path / "run")
    same(tmp_path / "run", timed_undisturbed if timed else undisturbed)


def test_killed_before_the_shards_are_cleared_it_only_clears_them(
    plan: Plan, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clear(store: Store) -> None:
        for path in sorted(store.shards.iterdir())[:4]:
            path.unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Store, "clear", clear)
        with pytest.raises(Killed):
            run_audit(plan, load_target(NEEDLE), tmp_path / "run")
    assert (tmp_path / "run" / "audit.json").is_file()
    assert len(list((tmp_path / "run" / "shards").iterdir())) == 3 * 3 - 4
    done: list[str] = []
    run_audit(plan, load_target(NEEDLE), tmp_path / "run", lambda text, at, total: done.append(text))
    assert done == []
    same(tmp_path / "run", undisturbed)


def test_what_was_learned_before_is_not_learned_again(
    plan: Plan, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", dying(Store.write, 1))
        with pytest.raises(Killed):
            run_audit(plan, load_target(NEEDLE), tmp_path / "run")
    assert list((tmp_path / "run" / "fitted").glob("deepsloth-universal-*.safetensors"))
    monkeypatch.setattr(DeepSlothUniversal, "learn", dying(lambda: None, 0))
    run_audit(plan, load_target(NEEDLE), tmp_path / "run")
    same(tmp_path / "run", undisturbed)


def test_what_a_defense_learned_before_is_not_learned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_images(tmp_path / "data", test=6, train=600)
    plan = Plan(NEEDLE, ("pgd",), "Linf", (0.2,), batch_size=3, data_dir=str(data), defenses=("svm",), timed=False)
    run_audit(plan, load_target(NEEDLE), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", dying(Store.write, 1))
        with pytest.raises(Killed):
            run_audit(plan, load_target(NEEDLE), tmp_path / "run")
    assert (tmp_path / "run" / "fitted" / "defense-svm.safetensors").is_file()
    monkeypatch.setattr(SVM, "learn", dying(lambda: None, 0))
    run_audit(plan, load_target(NEEDLE), tmp_path / "run")
    same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("suffix", ["parquet", "safetensors", "json"])
def test_a_truncated_shard_is_computed_anew(
    plan: Plan, undisturbed: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("torpor.audits.run.store.Store.merge", dying(lambda: None, 0))
        with pytest.raises(Killed):
            run_audit(plan, load_target(NEEDLE), tmp_path / "run")
    path = tmp_path / "run" / "shards" / f"000001.{suffix}"
    path.write_bytes(path.read_bytes()[:-7])
    fitted = next((tmp_path / "run" / "fitted").glob("*.safetensors"))
    fitted.write_bytes(fitted.read_bytes()[:-7])
    run_audit(plan, load_target(NEEDLE), tmp_path / "run")
    same(tmp_path / "run", undisturbed)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"eps": (0.1,)},
        {"limit": 3},
        {"steps": 3},
        {"batch_size": 5},
        {"attacks": ("pgd",)},
        {"defenses": ("bit-depth:3",)},
    ],
)
def test_another_plan_is_refused_and_nothing_is_lost(change: dict[str, Any], plan: Plan, undisturbed: Path) -> None:
    before = snapshot(undisturbed)
    with pytest.raises(
        UsageError, match=rf"with other settings, .* \(what differs: {next(iter(change))}".replace("_", " ")
    ):
        run_audit(replace(plan, **change), load_target(NEEDLE), undisturbed)
    assert snapshot(undisturbed) == before


def test_a_folder_where_nothing_was_found_yet_can_be_used_again(plan: Plan, undisturbed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        run_audit(replace(plan, data_dir=str(tmp_path / "missing")), load_target(NEEDLE), tmp_path / "run")
    run_audit(plan, load_target(NEEDLE), tmp_path / "run")
    same(tmp_path / "run", undisturbed)


def test_a_corrupt_row_stops_the_audit_and_keeps_what_came_before(plan: Plan, tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", test=10, train=40, broken=9)
    with pytest.raises(DataError, match=r"row 9 of .*test\.parquet"):
        run_audit(replace(plan, data_dir=str(data)), load_target(NEEDLE), tmp_path / "run")
    kept = snapshot(tmp_path / "run" / "shards")
    assert {name for name in kept if name.endswith(".parquet")} == {"000000.parquet", "000001.parquet"}
    write_images(data, test=10, train=40)
    done: list[str] = []
    run_audit(
        replace(plan, data_dir=str(data)),
        load_target(NEEDLE),
        tmp_path / "run",
        lambda text, at, total: done.append(text),
    )
    assert done.count("batch 3/3 pgd-Linf-0.2") == 1  # only the last of three batches was left to attack


@pytest.mark.slow
def test_kill_9_of_the_real_command(tmp_path: Path) -> None:
    write_images(tmp_path / "data", test=12, train=20)
    (tmp_path / "slow.py").write_text(SLOW)
    words = ["audit", "slow:target", "--attacks", "pgd,deepsloth", "--eps", "0.1", "--batch-size", "2"]
    words += ["--data-dir", "data", "--out"]
    undisturbed = spawn(*words, "whole", cwd=tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stderr
    with subprocess.Popen(command(*words, "killed"), cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        shards, deadline = tmp_path / "killed" / "shards", time.monotonic() + 300
        while not list(shards.glob("*.parquet")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert 1 <= len(list(shards.glob("*.parquet"))) < 6
    again = spawn(*words, "killed", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    expected = (tmp_path / "whole" / "records.parquet").read_bytes()
    assert (tmp_path / "killed" / "records.parquet").read_bytes() == expected


def test_another_target_under_the_same_name_is_refused(plan: Plan, undisturbed: Path) -> None:
    before = snapshot(undisturbed)
    other = load_target(NEEDLE, rule="confidence:0.95")
    with pytest.raises(UsageError, match="with other settings, weights, data or versions"):
        run_audit(plan, other, undisturbed)
    assert snapshot(undisturbed) == before
