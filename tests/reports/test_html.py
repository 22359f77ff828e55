from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs_version
from report_factory import make_audit
from report_pages import SECTIONS, Elements, page_of
from rich.console import Console

from torpor.audits.plan import Plan
from torpor.audits.read import read_audit
from torpor.audits.run.engine import run_audit
from torpor.audits.verdict.gate import Verdict, evaluate_gates
from torpor.audits.verdict.gate_grammar import parse_gate
from torpor.core import DataError, UsageError
from torpor.reports.console import summary_table, verdict_line
from torpor.reports.html import write, write_report
from torpor.reports.kit.plots import chart, plotly_script
from torpor.targets.resolve import load_target

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def change_rows(folder: Path, **values: object) -> None:
    path = folder / "audit.json"
    audit = json.loads(path.read_text())
    for row in audit["summary"]:
        row.update(values)
    path.write_text(json.dumps(audit))


def test_report_has_every_section_in_order_with_the_verdict_first(tmp_path: Path) -> None:
    page = page_of(make_audit(tmp_path / "run"))
    assert tuple(attributes["id"] for tag, attributes in page.tags if tag == "section") == SECTIONS
    assert page.text.index("Worst slowdown") < page.text.index("Cost of every attack")
    for name in ("control-noise", "control-flat", "control-shuffled", "benign 99.9th percentile", "static bound"):
        assert name in page.text


def check_loads_nothing(page: Elements) -> None:
    loading = ("src", "href", "srcset", "data", "action", "poster")
    sources = [value for _, attributes in page.tags for name, value in attributes.items() if name in loading]
    assert sources
    assert all(value is not None and value.startswith(("data:image/png;base64,", "#")) for value in sources)
    assert not any(tag in {"link", "iframe", "object", "base"} for tag, _ in page.tags)
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    own = [script for script in page.scripts if script.strip() != plotly_script().strip()]
    assert len(own) == len(page.scripts) - 1  # plotly.js is there, once
    assert not any("http" in script for script in own)


def test_report_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    check_loads_nothing(page_of(make_audit(tmp_path / "run")))


def test_a_report_of_one_sample_is_small_and_loads_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_audit(Plan("sdn-digits", ("pgd",), "Linf", (8 / 255,), steps=2, limit=1), load_target("sdn-digits"), folder)
    report = write_report(folder)
    assert report.stat().st_size < 1_500_000
    check_loads_nothing(Elements(report.read_text(encoding="utf-8")))


def test_plotly_js_is_the_version_that_figures_are_made_for() -> None:
    assert f"* plotly.js (basic - minified) v{get_plotlyjs_version()}\n" in plotly_script()[:200]


def test_a_trace_that_plotly_js_would_not_draw_is_refused() -> None:
    drawn = go.Figure([go.Scatter(y=[1, 2]), go.Bar(y=[1, 2])])
    assert "plot-some" in chart("some", "", "", (), drawn, ("x", "y")).fragment
    with pytest.raises(UsageError, match=r"expected traces of type bar, pie, scatter .*, got heatmap; "):
        chart("some", "", "", (), go.Figure(go.Heatmap(z=[[1]])), ("x", "y"))


def test_hostile_strings_are_escaped_everywhere(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "run", config={"target": HOSTILE, HOSTILE: [HOSTILE]}, command=HOSTILE)
    audit = json.loads((folder / "audit.json").read_text())
    audit["target"].update(name=HOSTILE, mechanism=HOSTILE, rule=HOSTILE)
    audit["environment"]["device"] = HOSTILE
    audit["environment"]["meters"]["energy"]["reason"] = HOSTILE
    audit["natural"]["split"] = HOSTILE
    for row in audit["summary"]:
        row.update(
            defense=HOSTILE, energy_reason=HOSTILE, utility_name=HOSTILE, stage=HOSTILE, tags={HOSTILE: [HOSTILE]}
        )
        row["flags"] = [HOSTILE]
    (folder / "audit.json").write_text(json.dumps(audit))
    page = page_of(folder)
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert not any(script.strip().startswith("alert") for script in page.scripts)
    assert len(page.scripts) == 3 + sum(
        tag == "figure" and str(a.get("id")).startswith("chart-") for tag, a in page.tags
    )
    assert page.text.count(HOSTILE) > 10


def test_what_was_not_measured_says_why_and_is_never_zero(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "run", natural=None)
    reason = "the clock is <broken>"
    latency = dict.fromkeys(("latency_s_p50", "latency_ci95", "latency_slowdown", "latency_valid"))
    change_rows(folder, **latency, latency_reason=reason, headroom_mean=None, slowdown_ci95=None, utility=None)
    page = page_of(folder)
    for expected in (
        reason,
        "no energy meter on this device",
        "no memory meter on this device",
        "no sample had headroom",
    ):
        assert f"not measured: {expected}" in page.text
    assert "not measured: no benign inputs were profiled" in page.text
    assert "None" not in page.text
    assert not re.search(r"\b(nan|null)\b", page.text)
    assert " 0 J" not in page.text
    assert "benign 99.9th percentile 1" not in page.text


@pytest.mark.parametrize(("eps", "expected"), [((8 / 255,), False), ((2 / 255, 8 / 255), True)])
def test_eps_curves_are_drawn_only_for_several_eps(tmp_path: Path, eps: tuple[float, ...], expected: bool) -> None:
    page = page_of(make_audit(tmp_path / "run", eps=eps))
    assert ("chart-cost-Linf" in page.ids()) is expected
    assert ("chart-utility-Linf" in page.ids()) is expected
    assert {"chart-exits", "chart-slowdowns", "chart-costs"} <= page.ids()


def test_images_show_the_costliest_samples_and_state_the_amplification(tmp_path: Path) -> None:
    page = page_of(make_audit(tmp_path / "run", eps=(8 / 255,)))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2 * 4 * 3
    assert "difference x15" in page.text  # 8 of 255 levels times 15 stays within half of the range
    costs = [float(found) for found in re.findall(r"(\d\.\d\d)x, exit \d to \d", page.text)]
    assert costs[:4] == sorted(costs[:4], reverse=True)
    assert costs[0] > 1


def test_report_without_examples_and_without_attacks(tmp_path: Path) -> None:
    page = page_of(make_audit(tmp_path / "run", examples=False))
    assert "The audit saved no attacked inputs." in page.text
    folder = make_audit(tmp_path / "clean")
    audit = json.loads((folder / "audit.json").read_text())
    audit["summary"] = [row for row in audit["summary"] if row["kind"] == "clean"]
    (folder / "audit.json").write_text(json.dumps(audit))
    assert "not measured: no attack was run" in page_of(folder).text


def test_flags_are_explained(tmp_path: Path) -> None:
    page = page_of(make_audit(tmp_path / "run"))
    assert "1. budget-unused" in page.text
    assert "left much of its budget unspent" in page.text
    assert "Carried by: square, Linf 4/255; square, Linf 8/255" in page.text


def test_report_replaces_an_older_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "run")
    (folder / "report.html").write_text("old")
    before = {path.name for path in folder.iterdir()} | {"report.samples"}
    first = write_report(folder).read_bytes()
    assert {path.name for path in folder.iterdir()} == before
    assert write_report(folder).read_bytes() == first


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got no audit\.json"):
        write_report(tmp_path)
    with pytest.raises(DataError, match="expected schema"):
        write_report(make_audit(tmp_path / "other", schema="torpor.audit/9"))
    folder = make_audit(tmp_path / "broken")
    (folder / "records.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="records"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_console_fits_80_columns_and_keeps_markup_as_text(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "run")
    change_rows(folder, headroom_mean=None, defense="[red]x")
    audit = json.loads((folder / "audit.json").read_text())
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(summary_table(read_audit(folder).parts()))
    text = console.export_text()
    for word in ("deepsloth", "Linf 8/255", "control-shuffled", "p95 / max", "100.0 %", "[red]x", "n/a: headroom_mean"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 80
    assert "\n" not in verdict_line(audit)


def test_gates_come_first_with_value_limit_and_verdict(tmp_path: Path) -> None:
    audit = read_audit(make_audit(tmp_path / "run"))
    texts = ("deepsloth: mean(slowdown) < 1.5", "square: max(slowdown) < 5", "max(cost) > 0")
    gates = [parse_gate(text) for text in texts]
    found = evaluate_gates(audit, gates)
    found[4] = replace(found[4], verdict=Verdict.PASS, reason="")
    path = write(audit, "report.html", found)
    page = Elements(path.read_text(encoding="utf-8"))
    assert "Gates: 1 failed, 2 inconclusive." in page.text
    assert page.text.index("Gates: ") < page.text.index("The bill for all inputs together")
    kinds = [attributes.get("class") for tag, attributes in page.tags if tag == "tr"]
    assert kinds[1:4] == ["fail", "inconclusive", "inconclusive"]
    assert "2.42\n" in page.text or "2.41" in page.text  # the row that is the farthest from the limit decides
    assert "3 inconclusive, 1 passed" in page.text
    assert "a pass is no evidence: the row is flagged budget-unused" in page.text


def test_samples_lie_beside_the_page_and_are_data(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "run")
    report = write_report(folder)
    rows = len(read_audit(folder).summary)
    names = {path.name for path in (folder / "report.samples").iterdir()}
    assert {f"{place}.js" for place in range(rows)} <= names
    assert sum(name.endswith(".inputs.js") for name in names) == 4
    (stamp,) = set(re.findall(r"nonce-([0-9a-f]{32})", report.read_text(encoding="utf-8")))
    for path in (folder / "report.samples").iterdir():
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f'torporSamples("{path.stem}","{stamp}",') or f'"{stamp}"' in text[:80]
        assert "<" not in text
        json.loads(f"[{text.removeprefix('torporSamples(').removesuffix(');' + chr(10))}]")
    write_report(folder)
    assert {path.name for path in (folder / "report.samples").iterdir()} == names
    assert not list(folder.glob(".report-*"))


def test_no_card_holds_a_sentence(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "run")
    change_rows(folder, headroom_mean=None, utility=None)
    text = write_report(folder).read_text(encoding="utf-8")
    cards = re.findall(r"<li><strong>(.*?)</strong>", text)
    assert len(cards) == 4  # without the two that nobody measured
    assert max(map(len, cards)) <= 12


def test_the_header_says_when_for_how_long_and_with_what(tmp_path: Path) -> None:
    elapsed = {"started": "2026-01-02T03:04:05+00:00", "seconds": 75.0}
    folder = make_audit(tmp_path / "run", elapsed=elapsed)
    audit = json.loads((folder / "audit.json").read_text())
    audit["environment"]["commit"] = "0123456789ab-dirty"
    (folder / "audit.json").write_text(json.dumps(audit))
    page = page_of(folder)
    versions = "torpor 0.1.0, Python 3.11, torch 2.6"
    for expected in ("2026-01-02 03:04:05 UTC", "1 min 15 s", versions, "torpor audit toy", "commit0123456789ab-dirty"):
        assert expected in page.text.partition("Verdict")[0]
    with pytest.raises(DataError, match="'seconds' in elapsed"):
        write_report(make_audit(tmp_path / "damaged", elapsed={**elapsed, "seconds": "long"}))
