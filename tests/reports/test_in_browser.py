"""The report in a browser: its samples are sorted, filtered, searched and linked to, and it can be read by everybody.

Needs the extra ``browser`` and a Chromium, such as Debian's package of that name.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_factory import make_audit
from step_factory import make_step_audit

from torpor.reports.html import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
sync_api = pytest.importorskip("playwright.sync_api", reason="the extra browser is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
PATIENCE_MS = 120_000
"""A loaded machine takes long to open a page."""


def new_page(browser: Any, **options: Any) -> Any:  # noqa: ANN401 - of playwright, which may be missing
    opened = browser.new_page(**options)
    opened.set_default_timeout(PATIENCE_MS)
    return opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        sync_api.expect.set_options(timeout=PATIENCE_MS)
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_audit(tmp_path_factory.mktemp("exits") / "run"))


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:  # noqa: ANN401 - of playwright, which may be missing
    opened = new_page(browser, viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(report.as_uri())
    yield opened
    opened.close()
    assert errors == []


def column(page: Any, number: int) -> list[str]:  # noqa: ANN401
    return list(page.locator(f"#samples-all tbody tr > :nth-child({number})").all_inner_texts())


def shown(page: Any) -> None:  # noqa: ANN401
    page.locator("#samples").scroll_into_view_if_needed()
    page.locator("#samples-form").wait_for(state="visible")


def slowdowns(page: Any) -> list[float]:  # noqa: ANN401
    return [float(text.rstrip("x")) for text in column(page, 2)]


def test_samples_load_when_somebody_looks_and_are_sorted(page: Any) -> None:  # noqa: ANN401
    assert page.locator("script[src]").count() == 0
    shown(page)
    sync_api.expect(page.locator("#samples-status")).to_have_text("40 of 40 samples")
    assert slowdowns(page) == sorted(slowdowns(page), reverse=True)
    assert len(set(column(page, 1))) == 40
    for expected in (["0", "1", "2"], ["39", "38", "37"]):
        page.get_by_role("button", name=re.compile("^sample")).click()
        sync_api.expect(page.locator("#samples-all tbody a").first).to_have_text(expected[0])
        assert column(page, 1)[:3] == expected
    assert page.locator("#samples-all th[aria-sort=descending]").inner_text().startswith("sample")


def test_samples_are_filtered_and_searched(page: Any) -> None:  # noqa: ANN401
    shown(page)
    status, rows = (sync_api.expect(page.locator(f"#samples-{name}")) for name in ("status", "all tbody tr"))
    page.locator("#samples-exit").select_option("2")
    status.not_to_have_text(re.compile("^40 of"))
    assert all(text.endswith("→ 2") for text in column(page, 4))
    page.locator("#samples-exit").select_option("")
    status.to_have_text("40 of 40 samples")
    page.locator("#samples-least").fill("1.5")
    status.not_to_have_text(re.compile("^40 of"))
    assert min(slowdowns(page)) >= 1.5
    page.locator("#samples-least").fill("")
    status.to_have_text("40 of 40 samples")
    page.locator("#samples-unit").select_option("exit2")
    sync_api.expect(page.locator("#samples-all thead")).to_contain_text("exit2")
    assert set(column(page, 5)) == {"0 → 1"}
    page.locator("#samples-unit").select_option("")
    status.to_have_text("40 of 40 samples")
    page.locator("#samples-mark").select_option("output changed")
    status.not_to_have_text(re.compile("^40 of"))
    assert all("output changed" in text for text in column(page, 3))
    page.locator("#samples-mark").select_option("")
    page.locator("#samples-text").fill("sample 17")
    rows.to_have_count(1)
    assert column(page, 1) == ["17"]
    page.locator("#samples-text").fill("")
    page.locator("#samples-row").select_option("all")
    status.to_have_text("320 of 320 samples, the first 100 shown")
    page.locator("#samples-more").click()
    rows.to_have_count(200)
    page.locator("#samples-mark").select_option("budget-unused")
    status.to_have_text("80 of 320 samples")


def test_a_sample_has_a_link_of_its_own(page: Any, report: Path) -> None:  # noqa: ANN401
    shown(page)
    page.locator("#samples-all tbody a", has_text=re.compile("^3$")).click()
    dialog = page.locator("#sample-open")
    dialog.wait_for(state="visible")
    sync_api.expect(page).to_have_url(re.compile("#sample/deepsloth-Linf-0.031373/3$"))
    sync_api.expect(dialog).to_contain_text("sample 3: deepsloth, Linf 8/255")
    sync_api.expect(dialog.locator("img")).to_have_count(3)
    heads = dialog.locator("#sample-table th").all_inner_texts()
    assert heads[:2] == ["cost (MFLOPs)", "static bound (MFLOPs)"]
    assert {"exit0", "exit1", "exit2"} <= set(heads)
    page.locator("#sample-close").click()
    sync_api.expect(page).to_have_url(re.compile("#samples$"))
    page.goto("about:blank")
    page.goto(f"{report.as_uri()}#sample/control-noise-Linf-0.031373/30")
    dialog.wait_for(state="visible")
    sync_api.expect(dialog).to_contain_text("saved no input of this sample")


def test_what_is_missing_or_of_another_report_is_said(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401
    report = write_report(make_audit(tmp_path / "run"))
    first = report.with_name("report.samples") / "0.js"
    first.write_text(re.sub('"[0-9a-f]{32}"', '"another"', first.read_text()))
    opened = new_page(browser)
    for expected in ("is of another report; run torpor report again", "keep the folder beside the page"):
        opened.goto(f"{report.as_uri()}#samples")
        opened.locator("#samples-status", has_text=expected).wait_for()
        shutil.rmtree(report.with_name("report.samples"), ignore_errors=True)
        opened.goto("about:blank")
    opened.close()


def test_nothing_of_hostile_origin_runs(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401
    hostile = "<img src=x onerror=window.owned=1><script>window.owned=1</script>"
    folder = make_step_audit(tmp_path / "run", attacked={"nmtsloth-token": [hostile] * 24}, outputs=[hostile] * 8)
    audit = json.loads((folder / "audit.json").read_text())
    audit["target"]["name"] = hostile
    for row in audit["summary"]:
        row["flags"] = [hostile]
    (folder / "audit.json").write_text(json.dumps(audit))
    report = write_report(folder)
    opened = new_page(browser)
    opened.goto(f"{report.as_uri()}#samples")
    opened.locator("#samples-form").wait_for(state="visible")
    row = opened.locator("#samples-row option", has_text="nmtsloth-token").first.get_attribute("value")
    opened.locator("#samples-row").select_option(row)
    sync_api.expect(opened.locator("#samples-all tbody a").first).to_have_attribute(
        "href", re.compile("nmtsloth-token")
    )
    opened.locator("#samples-all tbody a").first.click()
    opened.locator("#sample-open article").wait_for(state="visible")
    sync_api.expect(opened.locator("#sample-open")).to_contain_text(hostile)
    assert opened.evaluate("window.owned") is None
    # not even if torpor had forgotten to escape
    opened.evaluate(f"document.getElementById('sample-inputs').innerHTML = {json.dumps(hostile)}")
    opened.wait_for_timeout(100)
    assert opened.evaluate("window.owned") is None
    opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_everybody_can_read_it(browser: Any, report: Path, scheme: str, width: int) -> None:  # noqa: ANN401
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("the extra browser is not installed")
    opened = new_page(browser, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    opened.goto(report.as_uri())
    shown(opened)
    opened.add_script_tag(path=Path(found.origin).with_name("axe.min.js"))
    result = opened.evaluate("axe.run()")
    serious = [each for each in result["violations"] if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    tables = opened.evaluate(
        "[...document.querySelectorAll('.scroll')].map(each => each.scrollWidth - each.clientWidth)"
    )
    assert width < 1280 or max(tables) <= 0  # no column is off screen
    opened.close()
