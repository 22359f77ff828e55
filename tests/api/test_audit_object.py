"""What ``torpor.audit`` returns: records, rows, verdicts, a report, and how a notebook shows it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import torpor
from torpor.core.errors import UsageError
from torpor.targets.early_exit.toys import needle

BRIGHT = torch.full((3, 1, 4, 4), 0.8)


@pytest.fixture(scope="module")
def found() -> torpor.Audit:
    """Audit three images of which some input within Linf 0.35 closes every exit; standard finds it."""
    target = needle()
    target.name = "<b>\x1b[1mtoy"
    return torpor.audit(target, "standard", norm="Linf", eps=0.35, inputs=BRIGHT, timed=False)


@pytest.fixture(scope="module")
def worst() -> float:
    """Return the slowdown of the static bound, which is reached."""
    target = needle()
    clean = target.prices.cost(target.run(BRIGHT[:1]).work)
    return float(target.prices.cost(target.static_work()) / clean)


def test_records_are_a_table(found: torpor.Audit, worst: float) -> None:
    table = found.records
    assert len(table) == len(found.rows) * len(BRIGHT)
    assert list(table) == list(table.columns) == table.to_arrow().column_names
    assert table["slowdown"].max() == worst
    assert table.to_arrow(["slowdown"], found.rows[1])["slowdown"].to_pylist() == [worst] * 3
    frame = table.to_pandas(["attack", "slowdown"])
    assert frame.groupby("attack")["slowdown"].max()["standard"] == worst
    with pytest.raises(torpor.TorporError, match="expected column 'nope'"):
        table["nope"]


def test_curves_end_at_the_costs_of_the_records(found: torpor.Audit, worst: float) -> None:
    row = next(row for row in found.rows if row["attack"] == "standard")
    curves = found.curves(row)
    assert [curve.sample for curve in curves] == [0, 1, 2]
    assert {curve.slowdown(curve.passes) for curve in curves} == {worst}
    assert {curve.slowdown(0) for curve in curves} == {1.0}
    assert sum(curve.passes for curve in curves) == row["forwards"] + row["backwards"]
    clean = next(row for row in found.rows if row["attack"] == "clean")
    assert not found.curves(clean)


def test_the_report_draws_curves_but_not_under_other_prices(found: torpor.Audit, tmp_path: Path) -> None:
    page = found.report().read_text(encoding="utf-8")
    assert page.count('<svg class="curve"') == 3
    assert "Best so far against passes" in page
    assert "time per sample" in page
    assert len(found.samples["seconds"]["standard-Linf-0.35"]) == 1  # type: ignore[index]
    prices = tmp_path / "prices.toml"
    prices.write_text('name = "mops"\n[prices]\n' + "".join(f'"{unit["name"]}" = 1\n' for unit in found.units["none"]))
    priced = found.priced(str(prices))
    assert not any(map(priced.curves, priced.rows))
    assert "Best so far against passes" not in priced.report().read_text(encoding="utf-8")


def test_without_pandas_it_is_said(found: torpor.Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        found.records.to_pandas()


def test_only_a_pass_is_true(found: torpor.Audit, worst: float) -> None:
    passed, failed = found.check(f"max(slowdown) <= {worst}"), found.check(f"max(slowdown) < {worst}")
    assert passed, str(passed)
    assert not failed
    assert failed.verdict.value == "fail"
    assert str(failed).startswith("FAIL\nfail: max(slowdown) < ")
    unmeasured = found.check("latency_s_p50 < 10s")
    assert not unmeasured
    assert unmeasured.verdict.value == "inconclusive"
    assert "was not measured" in str(unmeasured)
    assert not found.check(f"max(slowdown) <= {worst}", "unheard: max(slowdown) < 9")
    assert len(found.check("max(slowdown) < 99", "mean(slowdown) < 99")) == 2


def test_a_pass_on_an_attack_that_did_nothing_is_accepted_by_name_only() -> None:
    white = torch.ones(2, 1, 4, 4)
    idle = torpor.audit(needle(), "deepsloth:steps=1", eps="1/255", norm="Linf", inputs=white, timed=False)
    assert not idle.check("max(slowdown) < 2")
    flags = [flag for row in idle.rows for flag in row["flags"]]
    assert "no-effect" in flags
    assert idle.check("max(slowdown) < 2", accept=flags)
    for wrong in ("max(slowdwn) < 2", ""):
        with pytest.raises(UsageError):
            idle.check(wrong)
    with pytest.raises(UsageError, match="expected a gate"):
        idle.check()


def test_each_verdict_is_true_only_if_it_passes(found: torpor.Audit) -> None:
    results = list(found.check("max(slowdown) < 1"))
    assert results
    assert not any(results)
    assert not any(result.verdict for result in results)
    assert all(found.check("max(slowdown) < 99"))


def test_a_notebook_shows_the_verdict_and_the_table(found: torpor.Audit, worst: float) -> None:
    html = found._repr_html_()
    assert f"Worst slowdown {worst:.2f}x" in html
    assert html.count("<tr>") == 1 + len(found.rows)
    assert "<b>" not in html
    assert "\x1b" not in html + repr(found) + repr(found.check("max(slowdown) < 1"))
    assert repr(found).startswith("Audit('<b>")
    assert f"{len(found.rows)} rows, 3 samples" in repr(found)
    assert found.check("max(slowdown) < 1")._repr_html_().startswith("<pre>FAIL\nfail: max(slowdown) &lt; 1")


def test_the_report_lies_in_the_folder(found: torpor.Audit) -> None:
    path = found.report()
    assert path == found.folder / "report.html"
    assert "Worst slowdown" in path.read_text(encoding="utf-8")
    assert torpor.load_audit(str(found.folder)).rows == found.rows
