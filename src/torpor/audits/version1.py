"""Audits of schema ``torpor.audit/1``, read as if they were of today's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from torpor.core.measures import Measure

COLUMNS = {
    "flops_clean": "cost_clean",
    "flops_own": "cost_own",
    "flops": "cost",
    "flops_static": "cost_static",
    "refused": "rejected",
    "moved": "budget_used",
    "stuck": "surrogate_diverged",
}
"""Columns of records that have another name now."""
KEYS = {
    "flops_mean": "cost_mean",
    "flops_clean_mean": "cost_clean_mean",
    "flops_static": "cost_static",
    "refused_rate": "rejected_rate",
    "stage_flops_mean": "stage_cost_mean",
}
"""Keys of summary rows that have another name now."""
WORDS = {"blind": "non-adaptive"}
"""Attackers that have another name now."""
WORDS_OF = {"attacker": WORDS, "utility_name": {"AP@.5 per picture": "AP@.5 per image"}}
"""Values that have another name now, by the key of a row or of the target."""


def upgraded(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of an ``audit.json`` of version 1 as version 2 writes it.

    Whatever is of another type than it should be is left as it is, for the later check to refuse.

    >>> units = [{"name": "step", "flops": 3, "stage": None}]
    >>> old = {"schema": "torpor.audit/1", "target": {"behavior": "D2", "units": units}}
    >>> found = upgraded({**old, "summary": [{"attack": "pgd", "attacker": "blind", "flops_mean": 1.0}]})
    >>> found["summary"], found["units"], found["target"]["family"]
    ([{'attack': 'pgd', 'attacker': 'non-adaptive', 'cost_mean': 1.0}], \
{'none': [{'name': 'step', 'price': 3, 'stage': None}]}, 'decoder')
    """
    target = raw.get("target")
    known = target if isinstance(target, dict) else {}
    family, measures = _family(str(known.get("behavior")))
    units = [_renamed(unit, {"flops": "price"}) for unit in _list(known.get("units"))]
    changed: dict[str, Any] = {
        "currency": "flops",
        "units": {"none": units} if units else {},
        "measures": [measure.to_json() for measure in measures],
        "summary": [_row(row) for row in raw["summary"]]
        if isinstance(raw.get("summary"), list)
        else raw.get("summary"),
        "natural": _renamed(raw.get("natural"), {"flops_p999": "cost_p999"}),
    }
    if isinstance(target, dict):
        rest = {key: value for key, value in target.items() if key != "units"}
        changed["target"] = {"family": family, **_worded(_renamed(rest, {"static_flops": "static_cost"}))}
    return {**raw, **changed}


def upgraded_records(table: pa.Table) -> pa.Table:
    """Return records of version 1 with the names of version 2, without the columns of other families."""
    import pyarrow as pa

    table = table.rename_columns([COLUMNS.get(name, name) for name in table.column_names])
    if "attacker" in table.column_names:
        words = [WORDS.get(word, word) for word in table["attacker"].to_pylist()]
        place = table.column_names.index("attacker")
        table = table.set_column(place, "attacker", pa.array(words, pa.string()))
    return table


def stored_slug(slug: str) -> str:
    """Return under which name version 1 stored the files of a row.

    >>> stored_slug("pgd-L2-0.5-jpeg.75-non-adaptive")
    'pgd-L2-0.5-jpeg.75-blind'
    """
    for old, new in WORDS.items():
        slug = f"{slug.removesuffix(f'-{new}')}-{old}" if slug.endswith(f"-{new}") else slug
    return slug


def _family(behavior: str) -> tuple[str, tuple[Measure, ...]]:
    """Return the family of targets that there was for a behavior, and what it measured."""
    from torpor.metrics.efficacy import CLASS, EXITS
    from torpor.metrics.loops import LOOPS
    from torpor.metrics.outputs import OBJECTS

    families = {"D1": ("early-exit", (CLASS, *EXITS)), "D2": ("decoder", LOOPS), "D3": ("detector", OBJECTS)}
    return families.get(behavior, ("unknown", ()))


def _row(row: object) -> object:
    found = _renamed(row, KEYS)
    return _worded(found) if isinstance(found, dict) else found


def _worded(found: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: words for key, words in WORDS_OF.items() if isinstance(found.get(key), str)}
    return {**found, **{key: words.get(found[key], found[key]) for key, words in given.items()}}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - whatever JSON holds
    return {names.get(key, key): each for key, each in value.items()} if isinstance(value, dict) else value


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
