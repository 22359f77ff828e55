"""``--prices``: one audit in several currencies, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_audits import TUG, call, snapshot, write_images

from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.targets.resolve import load_target


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prices")
    data = write_images(folder / "data", test=6, train=30)
    plan = Plan(
        TUG, ("deepsloth",), "L2", (0.5,), steps=8, limit=6, data_dir=str(data), defenses=("bit-depth:4",), timed=False
    )
    run_audit(plan, load_target(TUG), folder / "run")
    return folder / "run"


def test_seconds_that_were_measured_price_an_audit(run: Path, tmp_path: Path) -> None:
    code, out, err = call("measure", TUG, "--data-dir", run.parent / "data", "--seconds", "--json")
    assert code == 0, err
    found = json.loads(out)
    content = {"name": found["price_list"], "prices": found["seconds_per_unit"]}
    path = tmp_path / "seconds.json"
    path.write_text(json.dumps(content))
    code, _, err = call("report", run, "--prices", path)
    assert code == 2
    assert "got none of bit-depth in" in err
    assert len(err.splitlines()) == 1
    content["prices"]["bit-depth"] = 1.0
    path.write_text(json.dumps(content))
    before = snapshot(run)
    code, out, err = call("report", run, "--prices", path)
    assert code == 0, err
    assert found["price_list"].split(" ")[0] == "seconds"
    assert out.rstrip().endswith("report-seconds.html")
    assert f"chosen after the run: {found['price_list']}" in " ".join(out.split())
    after = snapshot(run)
    page = after.pop("report-seconds.html").decode()
    samples = [after.pop(name) for name in list(after) if name.startswith("report-seconds.samples/")]
    assert samples
    assert after == before
    assert "over that of the same sample before the attack" in page
    assert " FLOPs</td>" not in page
    assert "benign inputs have to be run again under other prices" in page


def test_gates_and_comparisons_take_prices(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "bill.toml"
    path.write_text('name = "dollars"\n[prices]\nexit0 = 1\nexit1 = 0.5\nexit2 = 0.25\nbit-depth = 10\n')
    bound, costliest = "clean@none: max(cost) <= 1.75USD", "clean@bit-depth:4: max(cost) < 10"
    code, out, _ = call("check", run, bound, "--prices", path)
    assert code == 0, out
    assert "dollars" in out
    code, out, _ = call("check", run, costliest, "--prices", path)
    assert code == 10
    code, _, err = call("check", run, "clean: max(cost) < 5ms", "--prices", path)
    assert code == 2
    assert "got 'ms'" in err
    code, out, _ = call("compare", run, run, "--json", "--prices", path)
    assert code == 0
    free, priced = json.loads(call("compare", run, run, "--json")[1]), json.loads(out)
    means = [[each["runs"][0]["slowdown_mean"] for each in found["rows"]] for found in (free, priced)]
    assert means[0] != means[1]
    assert any("dollars" in note for note in priced["notes"])
    assert free["notes"] == []


def test_missing_prices_are_one_sentence(run: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('name = "dollars"\n[prices]\nexit0 = -1\n')
    for prices in ("joule", tmp_path / "none.toml", tmp_path / "wrong.toml", tmp_path):
        for verb in (("report", run), ("check", run, "mean(slowdown) < 2"), ("compare", run, run)):
            code, out, err = call(*verb, "--prices", prices)
            assert (code, out) == (2, "")
            assert err.startswith("torpor: expected ")
            assert "[Errno" not in err
            assert len(err.splitlines()) == 1
