"""Types of what ``audit.json`` holds: the one place that says which values a key may have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torpor.audits.gate_grammar import KEYS

MOST = 2**53
"""Counts beyond this are none: no number of samples, steps or passes."""
MOST_OF_ALL = 1e100
"""Nothing that an audit measures is larger."""
MOST_EPS = 1e12
"""Radii and numbers of edits beyond this are none."""


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
    """Return what says whether a value is a list of such things."""
    return lambda value: isinstance(value, list) and length in (None, len(value)) and all(map(of, value))


def is_map(of: Callable[[object], bool]) -> Callable[[object], bool]:
    """Return what says whether a value is an object with such values."""
    return lambda value: isinstance(value, dict) and all(map(of, value.values()))


def maybe(of: Callable[[object], bool]) -> Callable[[object], bool]:
    """Return what says whether a value is null or such a thing."""
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

ROW: Mapping[str, Kind] = {
    **dict.fromkeys(KEYS, NUMBER_OR_NULL),
    **dict.fromkeys(("success_rate", "fit_seconds", "eps_spent"), NUMBER_OR_NULL),
    **dict.fromkeys(("cap", "cap4", "cap4_n", "latency_n", "hurt", "forwards", "backwards"), COUNT_OR_NULL),
    **dict.fromkeys(("fit_forwards", "fit_backwards", "cut_n"), COUNT_OR_NULL),
    **dict.fromkeys(("attacker", "norm", "behavior", "stage", "access", "utility_name"), TEXT_OR_NULL),
    **dict.fromkeys((f"{name}_reason" for name in ("latency", "energy", "memory", "bleu")), TEXT_OR_NULL),
    **dict.fromkeys((f"{name}_reason" for name in ("map50", "map", "mota", "idf1")), TEXT_OR_NULL),
    **dict.fromkeys(("target", "success_criterion"), TEXT_OR_NULL),
    **dict.fromkeys(("slowdown_ci95", "latency_ci95"), PAIR_OR_NULL),
    **dict.fromkeys(("units_mean", "stage_flops_mean"), NUMBERS_BY_NAME),
    "attack": TEXT,
    "defense": TEXT,
    "kind": ("clean, attack or control", lambda value: value in ("clean", "attack", "control")),
    "n": ("a number of samples from 1", lambda value: is_count(value) and value != 0),
    "eps": (
        "a positive number or null",
        maybe(lambda value: is_number(value) and isinstance(value, int | float) and 0 < value <= MOST_EPS),
    ),
    "exit_histogram": ("a list of whole numbers or null", maybe(is_list(is_count))),
    "found_through": ("an object of whole numbers or null", maybe(is_map(is_count))),
    "latency_valid": ("true, false or null", maybe(lambda value: isinstance(value, bool))),
    "tags": ("an object of lists of texts or null", maybe(is_map(is_list(is_text)))),
    "flags": ("a list of texts", is_list(is_text)),
}
"""Kind of each key of a summary row; keys that are not here may hold anything, and nothing reads them."""
REQUIRED = ("attack", "kind", "n", "flags")
"""Keys that every row has: without them nothing can be concluded from it."""

TARGET: Mapping[str, Kind] = {
    "name": TEXT,
    **dict.fromkeys(("behavior", "mechanism", "utility_name", "rule", "accepts"), TEXT_OR_NULL),
    "static_flops": NUMBER_OR_NULL,
    "inputs": ("a kind of inputs or null", maybe(lambda value: is_text(value) and value != "")),
    "input_shape": ("a list of whole numbers or null", maybe(is_list(is_count))),
    "cap": ("a whole number from 1 or null", maybe(lambda value: is_count(value) and value != 0)),
    "exit_costs": NUMBERS,
    "units": (
        "a list of units with name and stage, or null",
        maybe(
            is_list(
                lambda unit: isinstance(unit, dict) and is_text(unit.get("name")) and maybe(is_text)(unit.get("stage"))
            )
        ),
    ),
}
NATURAL: Mapping[str, Kind] = {
    "n": ("a number of samples", is_count),
    "split": TEXT,
    **dict.fromkeys(("slowdown_p999", "flops_p999"), NUMBER_OR_NULL),
}
CLOCK: Mapping[str, Kind] = {
    "seconds_per_unit": NUMBERS_BY_NAME,
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
SAMPLES: Mapping[str, Kind] = {
    "limit": COUNT_OR_NULL,
    **dict.fromkeys(("read", "batches"), ("a whole number", is_count)),
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
