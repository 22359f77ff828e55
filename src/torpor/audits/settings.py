"""Whether two audits were run in the same way, so that their figures can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torpor.audits.read import SavedAudit

SETTINGS = (
    *("attacks", "defenses", "norm", "eps", "steps", "limit", "seed", "batch_size", "split", "rule"),
    *("inputs", "data_dir", "offset", "sample"),
)
"""Entries of the configuration that decide what rows mean; the target itself is what a baseline is to judge."""
PLACES = ("inputs", "data_dir")
"""Locations of data, which matter only where the content has no fingerprint."""
LIBRARIES_ASIDE = ("torpor", "platform", "processor", "threads", "device", "commit", "meters")
"""Entries of the environment that are no version of a library."""


def different_settings(new: SavedAudit, old: SavedAudit) -> list[str]:
    """Return in which settings two audits differ, each with both values in words.

    The same holds for the data and for torpor's version, whose attacks are others. Code and weights of the target may
    differ: to see what that changes is what baselines are for.

    >>> from pathlib import Path
    >>> one, two = (SavedAudit(Path(), {"seed": seed}, {"name": "toy"}, {}, None, []) for seed in (0, 1))
    >>> different_settings(one, two), different_settings(one, one)
    (['seed (1, here 0)'], [])
    """
    known = [(audit.identity or {}).get("data") for audit in (old, new)]
    names = [name for name in SETTINGS if None in known or name not in PLACES]
    pairs = {name: [_given(audit.config.get(name)) for audit in (old, new)] for name in names}
    pairs["version of torpor"] = [audit.environment.get("torpor") for audit in (old, new)]
    found = [
        f"{name.replace('_', ' ')} ({_said(was)}, here {_said(now)})"
        for name, (was, now) in pairs.items()
        if was != now
    ]
    if None not in known and (known[0] != known[1] or _bytes(old) != _bytes(new)):
        found.append("content of the data")
    return found


def _given(value: object) -> object:
    return None if value in ([], "") else value


def _bytes(audit: SavedAudit) -> object:
    """Return the digest of the file that the test samples are from, if they are from one."""
    read = (audit.identity or {}).get("data_bytes")
    return read.get("test") if isinstance(read, Mapping) else None


def _said(value: Any) -> str:  # noqa: ANN401 - whatever the configuration holds
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def other_versions(new: SavedAudit, old: SavedAudit) -> list[str]:
    """Return which libraries two audits ran with in other versions, in words."""
    names = [name for name in (*new.environment, *old.environment) if name not in LIBRARIES_ASIDE]
    return [
        f"{name} {old.environment.get(name)}, here {new.environment.get(name)}"
        for name in dict.fromkeys(names)
        if old.environment.get(name) != new.environment.get(name)
    ]
