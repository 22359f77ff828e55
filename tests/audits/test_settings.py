from __future__ import annotations

from pathlib import Path

import pytest
from audit_factory import write_audit
from toy_audits import call

from torpor.audits.read import SavedAudit
from torpor.audits.settings import different_settings, other_versions


def audit_of(config: dict[str, object] | None = None, identity: dict[str, object] | None = None) -> SavedAudit:
    return SavedAudit(Path("run"), config or {}, {"name": "toy"}, {"torpor": "1"}, None, [], identity=identity)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attacks", ["pgd"]),
        ("defenses", ["jpeg"]),
        ("norm", "L2"),
        ("eps", [0.1]),
        ("steps", 3),
        ("limit", 5),
        ("seed", 1),
        ("batch_size", 4),
        ("split", "validation"),
        ("rule", "confidence >= 0.5"),
        ("inputs", "mine"),
        ("data_dir", "there"),
    ],
)
def test_each_setting_counts(name: str, value: object) -> None:
    (found,) = different_settings(audit_of({name: value}), audit_of())
    assert found.startswith(name.replace("_", " "))
    assert different_settings(audit_of({name: value}), audit_of({name: value})) == []


def test_code_and_weights_may_differ_and_data_may_not() -> None:
    one = audit_of(identity={"target": "a", "data": "d", "code": {"mine": "1"}, "data_bytes": {"test": "x"}})
    other = audit_of(identity={"target": "b", "data": "d", "code": {"mine": "2"}, "data_bytes": {"test": "x"}})
    assert different_settings(one, other) == []
    for identity in ({"data": "e", "data_bytes": {"test": "x"}}, {"data": "d", "data_bytes": {"test": "y"}}):
        assert different_settings(one, audit_of(identity=dict(identity))) == ["content of the data"]
    moved = audit_of({"data_dir": "elsewhere"}, identity={"data": "d", "data_bytes": {"test": "x"}})
    assert different_settings(moved, one) == []  # the same data in another folder


def test_versions_of_libraries_are_named() -> None:
    one, two = (
        SavedAudit(Path(), {}, {"name": "toy"}, {"torch": torch, "device": torch}, None, []) for torch in ("2", "3")
    )
    assert other_versions(one, two) == ["torch 3, here 2"]


def test_a_baseline_with_other_settings_is_refused_unless_asked_for(tmp_path: Path) -> None:
    old = write_audit(tmp_path / "old", config={"seed": 0, "steps": 3})
    new = write_audit(tmp_path / "new", config={"seed": 1, "steps": 5})
    code, _, err = call("check", new, "--baseline", old)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "another steps (3, here 5), another seed (0, here 1)" in err
    assert call("check", new, "--baseline", old, "--allow-different-settings")[0] == 0
    code, _, err = call("check", new, "slowdown_mean < 9", "--allow-different-settings")
    assert code == 2
    assert "expected --baseline with --allow-different-settings" in err
