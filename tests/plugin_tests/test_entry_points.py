"""What an installed plug-in adds is listed beside what the package brings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_audits import call

from plugin import installed

pytestmark = installed


@pytest.mark.parametrize(
    ("what", "key", "name"),
    [
        ("targets", "name", "example-skipping"),
        ("targets", "name", "example-endpoint"),
        ("attacks", "name", "example-insertion"),
        ("defenses", "defense", "example-mask"),
        ("bounds", "bound", "example-intervals"),
        ("executors", "name", "example-fresh"),
    ],
)
def test_it_is_listed(what: str, key: str, name: str) -> None:
    code, out, err = call("list", what, "--json")
    assert code == 0, err
    rows = {row[key]: row for row in json.loads(out)}
    assert name in rows
    assert rows[name].get("what it does", "-") != ""


def test_each_thing_is_one_file() -> None:
    import torpor_example

    folder = Path(torpor_example.__file__).parent
    for path in folder.glob("*.py"):
        assert "torpor_example" not in path.read_text(), path.name  # none needs another


def test_its_targets_keep_the_contract() -> None:
    code, out, err = call("check-target", "example-skipping", "--json")
    held = json.loads(out)
    assert code == 0, (held, err)
    assert {line["check"] for line in held["lines"] if line["verdict"] != "pass"} <= {"devices"}
    assert "whose requests may be billed" in call("check-target", "openai:http://127.0.0.1:9/v1#model=none")[2]
