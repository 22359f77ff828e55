"""The taxonomy's data is valid, its page and its torpor ids are in step with it, and its filters select."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from torpor.attacks.registry import attack_class, attack_ids, load_attack
from torpor.attacks.tamperings.registry import TAMPERINGS
from torpor.cli.list_taxonomy import print_taxonomy
from torpor.core.errors import UsageError
from torpor.core.units import Behavior
from torpor.defenses.registry import defense_ids
from torpor.taxonomy import Entry, Kind, Role, filter_entries, load_entries, load_mechanisms, load_versions, tags_for
from torpor.taxonomy.load import VERSIONS, parse_entries, parse_mechanisms, parse_versions
from torpor.taxonomy.model import NOT_IMPLEMENTED
from torpor.taxonomy.render import COMMAND, table_row

PAGE = Path(__file__).parents[2] / "docs" / "taxonomy.md"
WITHOUT_PAPER = {
    "standard",
    "standard-text",
    "standard-decoder",
    "standard-detector",
    "evolution",
    "repetition",
    "standard-queries",
    "transfer",
    "late-exits",
}
"""Registered ids of no one paper, such as ensembles; controls, by their prefix, have no paper either."""
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def document() -> dict[str, Any]:
    """Return the data file with its first two entries only."""
    raw = json.loads(resources.files("torpor.taxonomy").joinpath("entries.json").read_text(encoding="utf-8"))
    raw["entries"] = copy.deepcopy(raw["entries"][:2])
    assert isinstance(raw, dict)
    return raw


def by_key() -> dict[str, Entry]:
    return {entry.key: entry for entry in load_entries()}


def test_every_side_behavior_and_role_is_covered() -> None:
    entries = load_entries()
    assert len(entries) == len(by_key()) > 130
    assert {(entry.kind, behavior) for entry in entries for behavior in entry.behaviors} == {
        (kind, behavior) for kind in Kind for behavior in Behavior
    }
    assert {entry.role for entry in entries} == set(Role)


def test_identifiers_name_one_publication() -> None:
    papers: dict[str, set[tuple[object, ...]]] = {}
    for entry in load_entries():
        if entry.paper.identifier:
            papers.setdefault(entry.paper.identifier, set()).add((entry.paper.title, entry.paper.year))
    assert {name: found for name, found in papers.items() if len(found) > 1} == {}


def test_arxiv_numbers_are_not_younger_than_the_publication() -> None:
    late = [
        entry.key
        for entry in load_entries()
        if (found := re.match(r"arXiv:(\d\d)", entry.paper.identifier or ""))
        and entry.paper.year is not None
        and 2000 + int(found[1]) > entry.paper.year
    ]
    assert late == []


def test_tags_are_versioned() -> None:
    versions = load_versions()
    assert tuple(versions) == VERSIONS
    assert versions["owasp-llm"] is not None
    for entry in load_entries():
        assert all(tag.endswith(f":{versions['owasp-llm']}") for tag in entry.tags.owasp), entry.key
        assert entry.tags.atlas or entry.tags.cwe, entry.key
        if entry.role is Role.EFFICIENCY:
            assert all(entry.tags.as_dict().values()), entry.key


def test_constant_work_is_told_from_work_that_follows_the_input() -> None:
    mechanisms = load_mechanisms()
    assert {each.constant_work for each in mechanisms} == {True, False}
    assert all(each.paper.identifier for each in mechanisms if each.constant_work)
    page = PAGE.read_text(encoding="utf-8")
    for each in mechanisms:
        words = "constant by construction" if each.constant_work else "follows the input"
        assert f"| {each.name} | {words} | {each.why} |" in page


def test_related_work_is_not_sold_as_a_cost_attack() -> None:
    for entry in load_entries():
        if entry.role is Role.RELATED:
            assert entry.note, entry.key
            assert not entry.tags.owasp, entry.key


def test_registered_attacks_have_an_entry() -> None:
    named = {name for entry in load_entries() if entry.kind is Kind.ATTACK for name in entry.torpor_ids}
    own = {name for name in attack_ids() if attack_class(name).__module__.startswith("torpor.")}  # not of plug-ins
    expected = {name for name in own if not name.startswith("control-") and name not in WITHOUT_PAPER}
    assert expected
    assert named == expected | {name for name in TAMPERINGS.names() if TAMPERINGS.find(name).paper is not None}


IMPLEMENTED = [entry for entry in load_entries() if entry.implemented]


@pytest.mark.parametrize(
    "entry", [entry for entry in IMPLEMENTED if entry.kind is Kind.ATTACK], ids=lambda entry: entry.key
)
def test_implemented_attacks_agree_with_the_code(entry: Entry) -> None:
    for name in entry.torpor_ids:
        attack = TAMPERINGS.find(name) if name in TAMPERINGS else load_attack(name)
        assert attack.paper is not None
        assert (attack.paper.identifier or None, attack.paper.year) == (entry.paper.identifier, entry.paper.year)
        assert attack.stage in entry.stages
        assert name in TAMPERINGS or load_attack(name).access in entry.access


def test_implemented_defenses_are_kinds_that_can_be_loaded() -> None:
    named = [name for entry in IMPLEMENTED if entry.kind is Kind.DEFENSE for name in entry.torpor_ids]
    assert named
    assert len(set(named)) == len(named)
    assert set(named) <= set(defense_ids())


def test_page_is_in_step_with_the_data() -> None:
    run = subprocess.run([sys.executable, "-m", "torpor.taxonomy.render"], capture_output=True, check=True)
    page = PAGE.read_bytes()
    assert COMMAND in page.decode().splitlines()[0]
    assert page == run.stdout, f"run {COMMAND}"


def test_page_shows_every_entry_and_what_is_missing() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for entry in load_entries():
        shown = [line for line in lines if line.startswith(f"| {table_row(entry)[0]} |")]
        assert len(shown) == (len(entry.behaviors) if entry.role is Role.EFFICIENCY else 1), entry.key
        assert all((NOT_IMPLEMENTED in line) is not entry.implemented for line in shown), entry.key
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")}
    assert widths == {5, 10}  # mechanisms, and entries


def test_tags_for_joins_and_ignores_ids_without_an_entry() -> None:
    assert tags_for("deepsloth") == tags_for("deepsloth-universal") == by_key()["deepsloth"].tags.as_dict()
    assert tags_for("control-noise", "standard") == {"owasp": [], "atlas": [], "cwe": []}
    joined = tags_for("deepsloth", "pgd")
    assert set(joined["atlas"]) == set(tags_for("deepsloth")["atlas"]) | set(tags_for("pgd")["atlas"])
    assert len(joined["atlas"]) == len(set(joined["atlas"]))


@pytest.mark.parametrize(
    ("filters", "inside", "outside"),
    [
        ({"kind": "defense"}, "vtc", "deepsloth"),
        ({"behavior": "d3"}, "overload", "deepsloth"),
        ({"mechanism": "NMS"}, "overload", "slowtrack"),
        ({"stage": "weights"}, "bithydra", "overload"),
        ({"access": "none"}, "uniform-inputs", "deepsloth"),
        ({"implemented": True}, "deepsloth", "ddas"),
        ({"implemented": False}, "ddas", "deepsloth"),
        ({"behavior": "D1", "stage": "universal", "implemented": False}, "snn-sponges", "deepsloth"),
    ],
)
def test_filters(filters: dict[str, Any], inside: str, outside: str) -> None:
    keys = {entry.key for entry in filter_entries(load_entries(), **filters)}
    assert inside in keys
    assert outside in by_key()
    assert outside not in keys


@pytest.mark.parametrize("name", ["kind", "behavior", "stage", "access"])
def test_unknown_filter_words_are_usage_errors(name: str) -> None:
    with pytest.raises(UsageError, match=f"expected {name} among .*, got 'nonsense'"):
        filter_entries(load_entries(), **{name: "nonsense"})  # type: ignore[arg-type]


def _set(name: str, value: object) -> Edit:
    return lambda raw: raw["entries"][0].__setitem__(name, value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda raw: raw.__setitem__("schema", "torpor.taxonomy/0"), "expected schema"),
        (lambda raw: raw.__setitem__("entries", {}), "expected a list of entries"),
        (lambda raw: raw["entries"].append("pgd"), "expected entry 3 as an object"),
        (lambda raw: raw["entries"][0].pop("note"), r"\['note'\] missing"),
        (_set("colour", "red"), r"\['colour'\] unknown"),
        (lambda raw: raw["entries"].append(raw["entries"][0]), "expected every key once"),
        (_set("key", "Sponge Examples"), "expected a key of lowercase words"),
        (_set("name", " "), "expected text as name"),
        (_set("behaviors", ["D4"]), "expected behavior of entry .* among D1, D2, D3"),
        (_set("behaviors", []), "expected a behavior"),
        (_set("behaviors", "D1"), "expected a list of words"),
        (_set("stages", ["evasion", "evasion"]), "expected every word once"),
        (_set("stages", []), "expected a stage"),
        (_set("access", ["grey"]), "expected access of entry .* among"),
        (_set("verified", "yes"), "expected true or false"),
        (_set("note", 3), "expected text or null as note"),
        (lambda raw: raw["entries"][0].update(verified=False, note=None), "expected a note"),
        (lambda raw: raw["entries"][0]["paper"].__setitem__("year", "2021"), "expected a whole number or null"),
        (lambda raw: raw["entries"][0]["paper"].__setitem__("year", 21), "expected a year from"),
        (lambda raw: raw["entries"][0]["paper"].__setitem__("identifier", "2006.03463"), "expected an identifier"),
        (lambda raw: raw["entries"][0]["tags"].__setitem__("owasp", ["LLM06"]), "expected owasp tags of the form"),
        (lambda raw: raw["entries"][0]["tags"].__setitem__("atlas", ["T0029"]), "expected atlas tags of the form"),
        (lambda raw: raw["entries"][0].__setitem__("tags", {"owasp": [], "atlas": [], "cwe": []}), "at least one"),
    ],
)
def test_broken_data_is_refused(document: dict[str, Any], edit: Edit, message: str) -> None:
    assert len(parse_entries(document)) == 2
    edit(document)
    with pytest.raises(UsageError, match=message):
        parse_entries(document)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda raw: raw.__setitem__("mechanisms", {}), "expected a list of mechanisms"),
        (lambda raw: raw["mechanisms"][0].pop("why"), r"\['why'\] missing"),
        (
            lambda raw: raw["mechanisms"][0].__setitem__("constant_work", "yes"),
            "expected true or false as constant_work",
        ),
        (lambda raw: raw["mechanisms"][0]["paper"].__setitem__("year", "2021"), "expected a whole number or null"),
    ],
)
def test_broken_mechanisms_are_refused(document: dict[str, Any], edit: Edit, message: str) -> None:
    assert parse_mechanisms(document) == load_mechanisms()
    edit(document)
    with pytest.raises(UsageError, match=message):
        parse_mechanisms(document)


def test_broken_versions_are_refused(document: dict[str, Any]) -> None:
    assert parse_versions(document) == dict(load_versions())
    document["versions"].pop("atlas")
    with pytest.raises(UsageError, match=r"\['atlas'\] missing"):
        parse_versions(document)


def test_json_is_pure_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    print_taxonomy(as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["versions"] == dict(load_versions())
    assert [entry["key"] for entry in printed["entries"]] == [entry.key for entry in load_entries()]
    statuses = {entry["key"]: entry.pop("status") for entry in printed["entries"]}
    assert statuses["ddas"] == NOT_IMPLEMENTED
    assert parse_entries(printed) == load_entries()


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_table_is_readable_at_any_width(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_taxonomy(behavior="D1", mechanism="early exit", kind="attack")
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= columns
    for word in ("deepsloth", "waffle", "arXiv:2010.02432", "not implemented yet", "universal"):
        assert word in " ".join(printed.split()), word


def test_an_empty_selection_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_taxonomy(mechanism="no such mechanism")
    assert capsys.readouterr().out.startswith("0 of ")
