"""A report begins with the headline that attacks moved most, and shows all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_factory import make_audit

from torpor.audits.read import DamagedAudit, read_audit
from torpor.core.measures import COST, Headline
from torpor.reports.html import write_report
from torpor.reports.verdict import moved, verdict

OBJECTS = Headline("kept_mean", "objects handed on")
TRACKS = Headline("units_mean", "live tracks", "track_alive")
STEPS = Headline("steps_mean", "decoder steps")


def row(attack: str, kind: str, cost: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a row whose clean cost is 100."""
    budget = {"norm": None, "eps": None} if kind == "clean" else {"norm": "L2", "eps": 1.0}
    tail = dict.fromkeys(("slowdown_mean", "slowdown_p95", "slowdown_max"), cost / 100)
    costs = {"cost_mean": cost, "cost_clean_mean": 100.0, "cost_static": 1000.0}
    return {"attack": attack, "kind": kind, "defense": "none", "n": 4, "flags": [], **budget, **tail, **costs, **more}


def audit_of(*rows: dict[str, Any], headlines: tuple[Headline, ...] = (COST,)) -> dict[str, Any]:
    return {"summary": rows, "natural": None, "target": {}, "headlines": headlines}


def test_a_bare_detector_begins_with_its_objects() -> None:
    clean, attack = row("clean", "clean", 100.0, kept_mean=1.0), row("overload", "attack", 100.2, kept_mean=109.0)
    noise = row("control-noise", "control", 100.0, kept_mean=2.0)
    said = verdict(audit_of(clean, attack, noise, headlines=(OBJECTS,)))
    assert (
        said[0] == "Objects handed on per input 1.0 to 109 on average (109x) by overload, L2 1; strongest control 2.0."
    )
    assert said[1].startswith("The bill for all inputs together: 1.00x")
    assert said[2].startswith("Worst slowdown 1.00x")


def test_where_nothing_was_there_is_no_factor() -> None:
    clean, attack = row("clean", "clean", 100.0, kept_mean=0.0), row("overload", "attack", 101.0, kept_mean=3.0)
    (found,) = moved(audit_of(clean, attack, headlines=(OBJECTS,)))
    assert found.factor == float("inf")
    assert found.sentence == "Objects handed on per input 0.0 to 3.0 on average by overload, L2 1; no control was run."
    unseen = row("control-noise", "control", 100.0, kept_mean=None)
    (found,) = moved(audit_of(clean, attack, unseen, headlines=(OBJECTS,)))
    assert found.sentence.endswith("; no control was measured.")
    empty = row("control-noise", "control", 100.0, kept_mean=0.0)
    (found,) = moved(audit_of(clean, attack, empty, headlines=(OBJECTS,)))
    assert found.sentence.endswith("; strongest control 0.0.")
    still = row("overload", "attack", 100.0, kept_mean=0.0)
    assert moved(audit_of(clean, still, headlines=(OBJECTS,))) == []
    assert verdict(audit_of(clean, still, headlines=(OBJECTS,)))[0].startswith("No attack raised the mean cost.")


@pytest.mark.parametrize(("cost", "first"), [(173.0, "Decoder steps"), (20_000.0, "The bill")])
def test_a_decoder_begins_with_what_moved_most_of_cost_and_steps(cost: float, first: str) -> None:
    clean = row("clean", "clean", 100.0, steps_mean=3.0)
    said = verdict(audit_of(clean, row("slothspeech", "attack", cost, steps_mean=446.0), headlines=(COST, STEPS)))
    assert said[0].startswith(first)
    assert sorted(line.split()[0] for line in said[:3]) == ["Decoder", "The", "Worst"]


def test_each_headline_has_the_attack_that_moved_it_most_and_both_are_flagged() -> None:
    clean = row("clean", "clean", 100.0, units_mean={"track_alive": 10})
    many = row("overload", "attack", 300.0, units_mean={"track_alive": 50}, flags=["budget-unused"])
    lit = row("slowtrack", "attack", 150.0, units_mean={"track_alive": 90}, flags=["no-effect"])
    audit = audit_of(clean, many, lit, headlines=(COST, TRACKS))
    assert [(each.headline.title, each.row["attack"]) for each in moved(audit)] == [
        ("live tracks", "slowtrack"),
        ("cost", "overload"),
    ]
    text = " ".join(verdict(audit))
    assert "Live tracks per input 10.0 to 90.0 on average (9.00x) by slowtrack" in text
    assert "Worst slowdown 3.00x" in text
    assert "overload, L2 1 is flagged budget-unused" in text
    assert "slowtrack, L2 1 is flagged no-effect" in text


def test_an_older_audit_begins_with_cost(tmp_path: Path) -> None:
    audit = read_audit(make_audit(tmp_path / "run"))
    assert audit.headlines == (COST,)
    assert verdict(audit.parts())[0].startswith("The bill")
    assert "headlines" in audit.parts()


@pytest.mark.parametrize("wrong", [[], [3], [{"key": "cost_mean"}], [{"key": "", "title": "x"}], "cost"])
def test_headlines_of_another_type_are_refused(tmp_path: Path, wrong: object) -> None:
    folder = make_audit(tmp_path / "run", headlines=wrong)
    with pytest.raises(DamagedAudit, match="headline"):
        read_audit(folder)


def test_the_report_has_a_tile_of_each(tmp_path: Path) -> None:
    folder = make_audit(tmp_path / "run", headlines=[COST.to_json(), Headline("linf_max", "distances").to_json()])
    text = write_report(folder).read_text(encoding="utf-8")
    assert text.index("distances</") < text.index("worst slowdown</")
