"""``torpor check``: gate a finished audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from torpor.cli.files import write_file
from torpor.cli.options import Prices, read_run, require_prices

if TYPE_CHECKING:
    from torpor.audits.read import SavedAudit
    from torpor.audits.verdict.gate import CheckResult


def check(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder of a finished audit, or of a set of torpor mine.", show_default=False
        ),
    ],
    gates: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="GATE",
            help="What must hold for every attack, such as 'p95(slowdown) < 1.5', 'deepsloth: mean(headroom) < 50%' or "
            "'latency_s_p50 < 10ms'.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Earlier audit of the same target; RUN must not be worse."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Relative change against the baseline that still passes (default 0.05).", show_default=False),
    ] = None,
    allow_different_settings: Annotated[
        bool,
        typer.Option("--allow-different-settings", help="Accept a baseline with other settings."),
    ] = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JUnit XML.")] = None,
    sarif: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the verdicts as SARIF 2.1.0.")] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Append the verdicts as Markdown, for pull requests: $GITHUB_STEP_SUMMARY.",
            show_default=False,
        ),
    ] = None,
    warn: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GATE",
            help="A gate that is reported as a warning if it does not hold, and fails nothing; may be given several "
            "times.",
            show_default=False,
        ),
    ] = None,
    accept_flag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Reliability flag that does not make a pass inconclusive, such as surrogate-not-tracking; may be "
            "given several times.",
            show_default=False,
        ),
    ] = None,
    prices: Prices = None,
    target: Annotated[
        str | None,
        typer.Option(help="What replays a set of torpor mine; what the set names by default.", show_default=False),
    ] = None,
) -> None:
    """Gate a finished audit, or replay a set of torpor mine.

    Exit codes: 0 pass, 10 gate failed, 11 inconclusive, 2 wrong usage.
    """
    from torpor.audits.evidence import check_flags
    from torpor.audits.mining.set_folder import FILE, is_set
    from torpor.core.errors import UsageError

    if is_set(run):
        refused: dict[str, object] = {"gates": gates, "--baseline": baseline, "--prices": prices}
        refused |= {"--accept-flag": accept_flag, "--allow-different-settings": allow_different_settings}
        refused |= {"--warn": warn}
        results = _replay(run, [name for name, value in refused.items() if value], target, tolerance)
        _finish(results, run / FILE, junit, sarif, summary)
    if target is not None:
        raise UsageError(f"expected a set of torpor mine with --target, got {run}, which is none; leave it out")
    if not gates and not warn and baseline is None:
        raise UsageError("expected a gate or --baseline, got neither; try torpor check RUN 'p95(slowdown) < 1.5'")
    if tolerance is not None and baseline is None:
        raise UsageError("expected --baseline with --tolerance, got none; name the audit to compare with")
    if allow_different_settings and baseline is None:
        raise UsageError("expected --baseline with --allow-different-settings, got none; name the older audit")
    accepted = check_flags(accept_flag or ())
    wanted = [*(gates or ()), *(warn or ())]
    audit, results = _evaluate(
        run, wanted, baseline, 0.05 if tolerance is None else tolerance, accepted, allow_different_settings, prices
    )
    results = _warning(results, gates or (), warn or (), audit)
    _finish(results, run if audit is None else audit, junit, sarif, summary)


def _warning(
    results: Sequence[CheckResult], gates: Sequence[str], warn: Sequence[str], audit: SavedAudit | None
) -> list[CheckResult]:
    """Return the results, those of gates that only warn marked so."""
    from dataclasses import replace

    from torpor.audits.verdict.gate_grammar import parse_gate

    given = () if audit is None else (audit.catalog, audit.currency)
    decided, only = ({str(parse_gate(text, *given)) for text in texts} for texts in (gates, warn))
    return [replace(each, warns=each.check in only - decided) for each in results]


def _replay(run: Path, refused: Sequence[str], target: str | None, tolerance: float | None) -> list[CheckResult]:
    """Run the inputs of a set of torpor mine."""
    from torpor.audits.mining.regression_set import read_set
    from torpor.audits.mining.replay import replayed, set_target
    from torpor.core.errors import UsageError

    if refused:
        raise UsageError(f"expected no {refused[0]} with a set, whose limits are the costs that were mined, got some")
    held = read_set(run)
    return replayed(held, set_target(held, target), 0.05 if tolerance is None else tolerance)


def _finish(
    results: Sequence[CheckResult],
    checked: SavedAudit | Path,
    junit: Path | None,
    sarif: Path | None,
    summary: Path | None,
) -> NoReturn:
    """Write and print the results, and end with the exit code of their verdict."""
    from torpor.audits.verdict.gate import overall
    from torpor.cli.streams import say

    if junit is not None:
        from torpor.reports.ci.junit import junit_xml

        write_file(junit, junit_xml(results))
    if sarif is not None:
        from torpor.reports.ci.sarif import sarif_json

        write_file(sarif, sarif_json(results, checked))
    verdict = overall(results)
    if summary is not None:
        from torpor.cli.files import append_to_file
        from torpor.reports.ci.summary import summary_markdown

        append_to_file(summary, summary_markdown(results, checked))
    _print(results)
    if verdict.value == "inconclusive":
        say(f"INCONCLUSIVE: {next(found.reason for found in results if found.reason and not found.warns)}")
    else:
        say(verdict.value.upper())
    raise typer.Exit(verdict.exit_code)


def _evaluate(
    run: Path,
    gates: Sequence[str],
    baseline: Path | None,
    tolerance: float,
    accepted: Sequence[str],
    allow: bool,
    prices: str | None,
) -> tuple[SavedAudit | None, list[CheckResult]]:
    from torpor.audits.read import DamagedAudit, IncompleteAudit
    from torpor.audits.verdict.gate import evaluate_gates, undecided
    from torpor.audits.verdict.gate_grammar import parse_gate
    from torpor.cli.streams import say
    from torpor.core.errors import DataError

    require_prices(prices)  # what is wrong with them comes first: they say which units a gate may name
    try:
        audit = read_run(run, prices)
    except (IncompleteAudit, DamagedAudit) as error:
        reason = str(error)
        if gates:
            return None, [undecided(parse_gate(text), reason) for text in gates]
        from torpor.audits.verdict.baseline import undecided_baseline

        return None, [undecided_baseline(reason)]
    except DataError:
        for text in gates:
            parse_gate(text)  # what is wrong with the gate comes first
        raise
    parsed = [parse_gate(text, audit.catalog, audit.currency) for text in gates]
    results = evaluate_gates(audit, parsed, accepted)
    if baseline is not None:
        from torpor.audits.settings import other_versions
        from torpor.audits.verdict.baseline import compare_baseline, undecided_baseline

        try:
            old = read_run(baseline, prices)
            results += compare_baseline(audit, old, tolerance, accepted, allow_different_settings=allow)
        except (IncompleteAudit, DamagedAudit) as error:
            results.append(undecided_baseline(str(error), audit.target["name"]))
        else:
            for other in other_versions(audit, old):
                say(f"Other version in the baseline: {other}")
    for line in audit.notes:
        say(line)
    return audit, results


def _print(results: Sequence[CheckResult]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from torpor.cli.console import show
    from torpor.cli.streams import say
    from torpor.reports.kit.printable import printable

    colors = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
    table = Table(box=box.SIMPLE)
    for name in ("gate", "row", "value", "limit", "verdict", "tags"):
        table.add_column(name, justify="right" if name in ("value", "limit") else "left", overflow="fold")
    for found in results:
        tags = " ".join(tag for tags in found.tags.values() for tag in tags)
        gate = found.check.rpartition(f" {found.limit.partition(' ')[0]} ")[0] or found.check
        cells = [Text(printable(text)) for text in (gate, found.row, found.shown, found.limit)]
        verdict, color = found.verdict.value, colors[found.verdict.value]
        if found.warns and verdict != "pass":
            verdict, color = "warning", "yellow"
        table.add_row(*cells, Text(verdict, style=color), Text(printable(tags)))
    show(table, columns=200)
    said = [
        f"{found.check} [{found.row or 'no row'}]: {text}"
        for found in results
        for text in (
            *([found.reason] if found.reason else ()),
            *(f"passes although flagged {flag}, which was accepted" for flag in found.accepted),
            *found.notes,
        )
    ]
    for line in dict.fromkeys(said):
        say(line)
