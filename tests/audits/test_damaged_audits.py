"""Whatever stands in ``audit.json``, each verb ends in a sentence or in doubt, and no gate passes on it."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_factory import write_audit
from toy_audits import NEEDLE, call, write_images

from torpor.audits.evidence import WEAK_FLAGS
from torpor.audits.integrity import doubt
from torpor.audits.plan import Plan
from torpor.audits.read import SavedAudit, read_audit
from torpor.audits.run.engine import run_audit
from torpor.audits.schema import DIGESTS, row_kinds, seal
from torpor.audits.verdict.baseline import compare_baseline
from torpor.audits.verdict.gate import evaluate_gates
from torpor.audits.verdict.gate_grammar import parse_gate
from torpor.cli.compare import side_by_side
from torpor.core.errors import TorporError
from torpor.reports import html
from torpor.reports.console import summary_table, verdict_line
from torpor.targets.resolve import load_target

BAD: tuple[Any, ...] = (
    *(None, [], {}, "", "x", True, 0, -1, 3, 1.5, 10**400, -(10**400), 1e308, float("nan"), float("inf")),
    *([None], [[]], [["no-effect"]], {"a": None}, {"a": [1]}, [1, "2"], "\ud800", 10**16),
)
VERBS = (("compare", "{x}", "{run}"), ("check", "{x}", "slowdown_mean < 1e9"), ("check", "{run}", "--baseline", "{x}"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small audit with a defense."""
    place = tmp_path_factory.mktemp("real")
    data = write_images(place / "data", test=6, train=20)
    plan = Plan(
        *(NEEDLE, ("pgd",)), "Linf", (0.2,), steps=1, batch_size=4, limit=6, data_dir=str(data),
        defenses=("bit-depth:3",), timed=False,
    )  # fmt: skip
    return run_audit(plan, load_target(NEEDLE), place / "run").parent


def edited(folder: Path, to: Path, audit: dict[str, Any]) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
    (to / "audit.json").write_text(json.dumps(audit))
    return to


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    """Yield the way to every value in an audit, the rows of a summary one of each kind."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*at, key))
    elif isinstance(value, list) and value and (at == ("summary",) or isinstance(value[0], dict)):
        for number in sorted({1, len(value) - 1} & set(range(len(value)))):
            yield from places(value[number], (*at, number))


def put(audit: dict[str, Any], at: tuple[Any, ...], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(audit)
    holder: Any = changed
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = value
    return changed


def mutations(audit: dict[str, Any], each: int) -> Iterator[tuple[tuple[Any, ...], Any, dict[str, Any]]]:
    """Yield (where, what, the audit with it): so many bad values for each place, others for the next one."""
    for number, at in enumerate(places(audit)):
        for value in (BAD[(number * each + place) % len(BAD)] for place in range(each)):
            yield at, value, put(audit, at, value)


def readable(folder: Path, audit: dict[str, Any]) -> SavedAudit | None:
    """Return what is read, None where it is refused in one sentence."""
    (folder / "audit.json").write_text(json.dumps(audit))
    try:
        return read_audit(folder)
    except TorporError as error:
        said = str(error)
    assert "\n" not in said
    return None


def test_every_key_that_audits_write_has_a_type(real: Path) -> None:
    written = {key for row in json.loads((real / "audit.json").read_text())["summary"] for key in row}
    typed = set(row_kinds(read_audit(real).measures))
    assert written <= typed, "declare the new keys as measures, or gates and reports read them unchecked"


def test_no_value_anywhere_is_a_crash_or_a_pass(real: Path, tmp_path: Path) -> None:
    audit = json.loads((real / "audit.json").read_text())
    sound, gates = read_audit(real), [parse_gate("slowdown_mean < 1e9")]
    assert {found.verdict.value for found in evaluate_gates(sound, gates, WEAK_FLAGS)} == {"pass"}
    x, alone = edited(real, tmp_path / "x", audit), replace(sound, digests={})
    accepted = 0
    for at, value, changed in mutations(audit, 2):
        read = readable(x, changed)
        if read is None or json.dumps(changed) == json.dumps(audit):
            continue
        accepted += 1
        side_by_side([read, sound])
        results = evaluate_gates(read, gates, WEAK_FLAGS)
        for pair in ((read, alone), (alone, read)):
            with contextlib.suppress(TorporError):  # another target, two rows of one attack
                results += compare_baseline(*pair, accepted=WEAK_FLAGS, allow_different_settings=True)
        assert "pass" not in {found.verdict.value for found in results}, (at, value)
    assert accepted > 20  # null is a value that many keys may have


def test_reports_of_whatever_can_be_read_are_written(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "plotly_script", str)
    audit = json.loads((real / "audit.json").read_text())
    x, changed, held = edited(real, tmp_path / "x", audit), audit, 0
    for at, value, one in mutations(audit, 1):
        if at[0] in ("schema", "summary", "config") and len(at) == 1:
            continue
        if (read := readable(x, one)) is None or (at[0] == "summary" and value is not None and len(at) == 2):
            continue
        summary_table(read.parts())
        verdict_line(read.parts())
        more = put(changed, at, value) if _there(changed, at) else changed
        changed, held = (more, held + 1) if readable(x, more) else (changed, held)
        if held % 25 == 24:  # a page takes its time, so that many values share one
            assert readable(x, changed) is not None
            with contextlib.suppress(TorporError):
                html.write_report(x)
            changed, held = audit, held + 1
    assert held > 25


def _there(audit: Any, at: tuple[Any, ...]) -> bool:  # noqa: ANN401 - whatever JSON holds
    for key in at:
        try:
            audit = audit[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


@pytest.mark.parametrize(
    ("key", "value"),
    [("latency_s_p50", [None]), ("slowdown_ci95", ""), ("flags", None), ("attacker", [[]]), ("slowdown_mean", 10**400)],
)
def test_the_command_line_says_one_sentence(real: Path, tmp_path: Path, key: str, value: object) -> None:
    audit = json.loads((real / "audit.json").read_text())
    x = edited(real, tmp_path / "x", put(audit, ("summary", 1, key), value))
    code, _, err = call("report", x)
    assert (code, len(err.splitlines())) == (2, 1)
    assert key in err
    for verb in VERBS:
        code, out, err = call(*(word.format(x=x, run=real) for word in verb))
        assert code == (2 if verb[0] == "compare" else 11)
        assert key in out + err
        assert "Traceback" not in out + err


def test_rows_flags_and_counts_that_were_edited_are_doubted(real: Path, tmp_path: Path) -> None:
    audit = json.loads((real / "audit.json").read_text())
    rows = audit["summary"]
    changes = {
        "no flags": [{key: value for key, value in row.items() if key != "flags"} for row in rows],
        "other flags": [{**row, "flags": ["none"]} for row in rows],
        "flags of another type": [{**row, "flags": "no-effect"} for row in rows],
        "no n": [{key: value for key, value in row.items() if key != "n"} for row in rows],
        "other n": [{**row, "n": 5} for row in rows],
        "a row less": rows[:1] + rows[2:],
        "no undefended row": [row for row in rows if row["defense"] != "none"],
        "no clean row": [row for row in rows if row["attack"] != "clean"],
        "a smaller figure": [{**row, "slowdown_mean": 1.0, "headroom_mean": 0.5} for row in rows],
        "no row at all": [],
    }
    for name, summary in changes.items():
        x = edited(real, tmp_path / "x", {**audit, "summary": summary})
        for verb in (("check", x, "slowdown_mean < 1e9"), ("check", real, "--baseline", x, "--tolerance", "99")):
            code, out, _ = call(*verb)
            assert code == 11, name
            assert "INCONCLUSIVE" in out


def test_a_fail_stays_a_fail_on_a_damaged_audit(tmp_path: Path) -> None:
    folder = write_audit(tmp_path)
    audit = json.loads((folder / "audit.json").read_text())
    (folder / "audit.json").write_text(json.dumps({**audit, "command": "torpor audit other"}))
    assert call("check", folder, "slowdown_mean < 1.01")[0] == 10
    assert call("check", folder, "slowdown_mean < 9")[0] == 11


def test_contradictions_are_found_even_with_a_new_digest(real: Path, tmp_path: Path) -> None:
    audit = json.loads((real / "audit.json").read_text())
    audit.pop(DIGESTS)
    records = real / "records.parquet"
    rows = audit["summary"]
    defended = next(number for number, row in enumerate(rows) if row["defense"] != "none" and row["attack"] == "pgd")
    changes: list[tuple[str, list[dict[str, Any]]]] = [
        ("slowdown_mean of pgd is", [{**row, "slowdown_mean": row["slowdown_mean"] + 1} for row in rows]),
        ("of 5 samples, the audit read 6", [{**row, "n": 5} for row in rows]),
        ("is missing", [row for row in rows if row["defense"] != "none"]),
        ("is missing", [row for row in rows if row["attack"] != "clean"]),
        ("the summary tells of", rows[:defended] + rows[defended + 1 :]),
        ("two rows are of", [*rows, rows[1]]),
    ]
    for words, summary in changes:
        x = edited(real, tmp_path / "x", seal({**audit, "summary": summary}, records))
        assert words.replace("pgd", "clean") in (said := doubt(read_audit(x))) or words in said, words
    x = edited(real, tmp_path / "x", seal(audit, records))
    assert doubt(read_audit(x)) == ""


@pytest.mark.parametrize("damage", ["cut", "one bit", "missing", "of another audit"])
def test_damaged_records_are_never_a_pass(tmp_path: Path, damage: str) -> None:
    folder = write_audit(tmp_path / "run")
    path = folder / "records.parquet"
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "one bit":
        content[40] ^= 1
        path.write_bytes(content)
    elif damage == "of another audit":
        other = write_audit(tmp_path / "other", {"deepsloth": (1.0, 1.0, 1.0, 1.0), "noise-search": (1.0,) * 4})
        path.write_bytes((other / "records.parquet").read_bytes())
    for text in ("slowdown_mean < 9", "mean(slowdown) < 9", "clean: n >= 1"):
        assert call("check", folder, text)[0] in (2, 11)
    assert call("check", folder, "slowdown_mean < 9")[0] == 11


def test_pages_of_records_have_checksums(real: Path) -> None:
    path = real / "records.parquet"
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(pq.read_schema(path).names.index("cost"))
    first = column.dictionary_page_offset or column.data_page_offset
    content[first + column.total_compressed_size - 1] ^= 1  # of a page's content, after its header
    damaged = real.parent / "damaged.parquet"
    damaged.write_bytes(content)
    with pytest.raises((OSError, pa.ArrowException)):
        pq.read_table(damaged, page_checksum_verification=True)


def test_an_audit_without_digests_is_no_evidence_and_is_reported(tmp_path: Path) -> None:
    folder = write_audit(tmp_path)
    audit = json.loads((folder / "audit.json").read_text())
    del audit["digests"]
    (folder / "audit.json").write_text(json.dumps(audit))
    code, out, _ = call("check", folder, "slowdown_mean < 9")
    assert code == 11
    assert "an older torpor wrote the audit" in out


def test_a_baseline_is_its_audit_json_alone(tmp_path: Path) -> None:
    folder = write_audit(tmp_path / "run")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folder / "audit.json", alone)
    assert call("check", folder, "--baseline", alone)[0] == 0
    audit = json.loads((alone / "audit.json").read_text())
    audit["summary"][1]["slowdown_mean"] *= 2
    (alone / "audit.json").write_text(json.dumps(audit))
    code, out, _ = call("check", folder, "--baseline", alone)
    assert code == 11
    assert "the baseline: audit.json was edited or damaged" in out


def test_no_file_of_an_audit_is_waited_for(real: Path, tmp_path: Path) -> None:
    """A FIFO where a file was is refused or made anew; opening it for reading would block for ever."""
    files = [
        path.relative_to(real) for path in sorted(real.rglob("*")) if path.is_file() and path.name != "report.html"
    ]
    assert {path.suffix for path in files} >= {".json", ".parquet", ".safetensors"}
    for number, path in enumerate(files):
        folder = tmp_path / str(number)
        shutil.copytree(real, folder)
        (folder / path).unlink()
        os.mkfifo(folder / path)
        for words in ((), ("clean: n >= 1",)):
            code, _, said = call("check" if words else "report", folder, *words)
            assert code in (0, 2, 11), (path, said)
            assert "Traceback" not in said
