"""Types of what ``audit.json`` holds, the one place that says which values a key may have; and its digests."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torpor.core.measures import Catalog, Measure
from torpor.core.rows import ROW

SCHEMA = "torpor.audit/2"
FIRST_SCHEMA = "torpor.audit/1"
"""Of the files that are written today."""
MOST = 2**53
"""Counts beyond this are none: no number of samples, steps or passes."""
MOST_OF_ALL = 1e100
"""Nothing that an audit measures is larger."""
MOST_EPS = 1e12
"""Radii and numbers of edits beyond this are none."""

DIGESTS = "digests"


def is_number(value: object) -> bool:
    """Say whether a value is a number that can be multiplied and printed.

    >>> is_number(1.5), is_number(True), is_number(10**400), is_number(float("inf"))
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return abs(float(value)) <= MOST_OF_ALL  # NaN is not
    except OverflowError:
        return False


def is_count(value: object) -> bool:
    """Say whether a value is a whole number of things.

    >>> is_count(3), is_count(-1), is_count(2.5)
    (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def is_text(value: object) -> bool:
    """Say whether a value is a text."""
    return isinstance(value, str)


def is_list(of: Callable[[object], bool], length: int | None = None) -> Callable[[object], bool]:
    """Return a check that a value is a list of such values."""
    return lambda value: isinstance(value, list) and length in (None, len(value)) and all(map(of, value))


def is_map(of: Callable[[object], bool]) -> Callable[[object], bool]:
    """Return a check that a value is an object with such values."""
    return lambda value: isinstance(value, dict) and all(map(of, value.values()))


def maybe(of: Callable[[object], bool]) -> Callable[[object], bool]:
    """Return a check that a value is null or such a value."""
    return lambda value: value is None or of(value)


Kind = tuple[str, Callable[[object], bool]]
"""What a value is in words, and what tells it."""

TEXT: Kind = ("a text", is_text)
TEXT_OR_NULL: Kind = ("a text or null", maybe(is_text))
NUMBER_OR_NULL: Kind = ("a number or null", maybe(is_number))
COUNT_OR_NULL: Kind = ("a whole number or null", maybe(is_count))
PAIR_OR_NULL: Kind = ("two numbers or null", maybe(is_list(maybe(is_number), 2)))
NUMBERS_BY_NAME: Kind = ("an object of numbers or null", maybe(is_map(is_number)))
NUMBERS: Kind = ("a list of numbers or null", maybe(is_list(is_number)))

OF_TYPE: Mapping[type, Kind] = {
    int: COUNT_OR_NULL,
    float: NUMBER_OR_NULL,
    str: TEXT_OR_NULL,
    bool: ("true, false or null", maybe(lambda value: isinstance(value, bool))),
    list: ("a list of whole numbers or null", maybe(is_list(is_count))),
    dict: NUMBERS_BY_NAME,
}
"""Kind of a key of a summary row by the type of its measure."""
_SPECIAL: Mapping[str, Kind] = {
    "attack": TEXT,
    "defense": TEXT,
    "tampering": TEXT,
    "kind": ("clean, attack or control", lambda value: value in ("clean", "attack", "control")),
    "n": ("a number of samples from 1", lambda value: is_count(value) and value != 0),
    "eps": (
        "a positive number or null",
        maybe(lambda value: is_number(value) and isinstance(value, int | float) and 0 < value <= MOST_EPS),
    ),
    **dict.fromkeys(("slowdown_ci95", "latency_ci95"), PAIR_OR_NULL),
    **dict.fromkeys(("found_through", "certified_by"), ("an object of whole numbers or null", maybe(is_map(is_count)))),
    "tags": ("an object of lists of texts or null", maybe(is_map(is_list(is_text)))),
    "flags": ("a list of texts", is_list(is_text)),
}
"""Keys of which more is known than the type."""


def row_kinds(measures: Iterable[Measure]) -> dict[str, Kind]:
    """Return the kind of each key of a summary row; keys that are not there may hold anything, and nothing reads them.

    Args:
        measures: of the target's family.
    """
    found = Catalog((*ROW, *measures)).at("row")
    return {name: _SPECIAL.get(name, OF_TYPE[measure.dtype]) for name, measure in found.items()}


REQUIRED = ("attack", "kind", "n", "flags")
"""Keys that every row has: without them nothing can be concluded from it."""

TARGET: Mapping[str, Kind] = {
    "name": TEXT,
    **dict.fromkeys(("behavior", "mechanism", "utility_name", "rule", "accepts"), TEXT_OR_NULL),
    "family": TEXT,
    "static_cost": NUMBER_OR_NULL,
    "inputs": ("a kind of inputs or null", maybe(lambda value: is_text(value) and value != "")),
    "input_shape": ("a list of whole numbers or null", maybe(is_list(is_count))),
    "cap": ("a whole number from 1 or null", maybe(lambda value: is_count(value) and value != 0)),
    "exit_costs": NUMBERS,
}
UNIT: Mapping[str, Kind] = {"name": TEXT, "price": ("a number", is_number), "stage": TEXT_OR_NULL}
NATURAL: Mapping[str, Kind] = {
    "n": ("a number of samples", is_count),
    "split": TEXT,
    **dict.fromkeys(("slowdown_p999", "cost_p999"), NUMBER_OR_NULL),
}
CLOCK: Mapping[str, Kind] = {
    "seconds_per_unit": NUMBERS_BY_NAME,
    "valid": ("true, false or null", maybe(lambda value: isinstance(value, bool))),
    "error": NUMBER_OR_NULL,
    **dict.fromkeys(("price_list", "reason"), TEXT_OR_NULL),
    "nms": ("an object or null", maybe(lambda value: isinstance(value, dict))),
}
NMS: Mapping[str, Kind] = {
    **dict.fromkeys(("a_s", "b_s", "c_s"), ("a number", is_number)),
    **dict.fromkeys(("candidates", "seconds"), ("a list of numbers", is_list(is_number))),
}
METER: Mapping[str, Kind] = {
    "available": ("true or false", lambda value: isinstance(value, bool)),
    "reason": TEXT_OR_NULL,
}
ELAPSED: Mapping[str, Kind] = {"started": TEXT, "seconds": ("a number", is_number)}
SAMPLES: Mapping[str, Kind] = {
    "limit": COUNT_OR_NULL,
    **dict.fromkeys(("read", "batches"), ("a whole number", is_count)),
    "seconds": ("an object of lists of numbers or null", maybe(is_map(is_list(is_number)))),
    "cut_short": (
        "an object with a number of searches and one of seconds, or null",
        maybe(
            lambda value: (
                isinstance(value, dict) and is_count(value.get("searches")) and is_number(value.get("seconds"))
            )
        ),
    ),
    "cut_off": (
        "an object with the limit queries, seconds or cost and its value, or null",
        maybe(
            lambda value: (
                isinstance(value, dict)
                and value.get("limit") in ("queries", "seconds", "cost")
                and is_number(value.get("value"))
            )
        ),
    ),
}


def finite(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return JSON with null in place of numbers that are not finite: "not measured".

    >>> finite({"a": [1.0, float("inf")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def seal(audit: Mapping[str, Any], records: Path) -> dict[str, Any]:
    """Return the content of ``audit.json`` with digests of itself and of the file of records.

    They detect damage and careless edits, not forgery: anyone who edits a file can recompute them.

    Args:
        audit: everything else that ``audit.json`` holds, ready for JSON.
        records: ``records.parquet``.

    Raises:
        OSError: if the records cannot be read.
    """
    sealed = {**audit, DIGESTS: {"records": file_digest(records)}}
    return {**sealed, DIGESTS: {**sealed[DIGESTS], "audit": content_digest(sealed)}}


def content_digest(audit: Mapping[str, Any]) -> str:
    """Return the digest of the content of ``audit.json``, whatever the order of its keys and the white space.

    The digest that it holds of itself is left out.

    >>> one = content_digest({"n": 1, "digests": {"audit": "", "records": "a"}})
    >>> one == content_digest({"digests": {"records": "a"}, "n": 1})
    True
    """
    digests = audit.get(DIGESTS)
    own = {key: value for key, value in digests.items() if key != "audit"} if isinstance(digests, Mapping) else digests
    text = json.dumps({**audit, DIGESTS: own}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
