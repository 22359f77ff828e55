"""Whether a pass on a row is evidence: its reliability flags, and which of them a user accepts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from torpor.audits.conditions import RowKey
from torpor.core import records, rows
from torpor.core.errors import UsageError, did_you_mean

DEFENDED = ("dead-gradients", "surrogate-not-tracking", "black-box-beats-white-box", "nothing-to-measure")
"""Weak flags that also count for a defended target, where an attack without effect is what the defense is for."""
CUT_OFF = "cut-off"
"""The flag of rows over the samples that were attacked before a limit was reached: what they tell is a lower limit."""
WRONG_ANSWERS = ("unanswered", "misbilled", "varying-answers")
"""Weak flags of endpoints: answers that never came, whose bill is not what was seen, or that differ the next time."""
ONE = "one-sample"
"""What counts as the flag of an attack on a single sample, which no interval can be computed from."""
WORSE_KNOWN = ("control-beats-attack", "natural-tail-above-attack")
"""Weak flags of attacks that something else beats: random changes, or what users send anyway."""
WEAK_FLAGS = (CUT_OFF, "no-effect", "fit-failed", "budget-unused", *WORSE_KNOWN, *WRONG_ANSWERS, *DEFENDED, ONE)
"""Reliability flags of an attack that was cut off, did not work, or had nothing to do, or of answers that are not to be
relied on: that nothing got past a limit then proves nothing. A user may accept them by name."""
PROVEN = tuple(
    each.name for each in (*records.CERTIFIED, *rows.CERTIFIED) if each.numeric and each.name != "certified_gap"
)
"""Measures that do not depend on how good the attack was."""
CHANCE = "cap-reached-by-chance"
"""A flag that is no doubt about a row, but that readers of a verdict on it must know."""


def weak_flags(row: Mapping[str, Any], summary: Sequence[Mapping[str, Any]] = (), metric: str = "") -> tuple[str, ...]:
    """Return the flags for which a pass on this row would be no evidence, in the order of :data:`WEAK_FLAGS`.

    For a defended target these are the flags of the same attack on the undefended target, which is a row of
    ``summary``, and those of the row itself that are in :data:`DEFENDED`. What is proven holds whatever the attack is
    worth, if all samples are there.

    >>> weak_flags({"flags": ["cap-reached-by-chance", "no-effect"]})
    ('no-effect',)
    >>> weak_flags({"flags": ["cut-off", "no-effect"]}, metric="certified_slowdown_mean")
    ('cut-off',)
    """
    flags = _flags(row)
    if row.get("defense", "none") != "none":
        free = RowKey.of(row).undefended
        same = [each for each in summary if RowKey.of(each) == free]
        flags = flags & set(DEFENDED) | {flag for each in same for flag in _flags(each)}
    return tuple(flag for flag in ((CUT_OFF,) if metric in PROVEN else WEAK_FLAGS) if flag in flags)


def _flags(row: Mapping[str, Any]) -> set[str]:
    """Return the flags of a row, with what other keys tell: a single sample, and in older audits nothing to measure."""
    flags = set(row.get("flags") or ())
    steps, cap = row.get("steps_clean_mean"), row.get("cap")
    full = row.get("defense", "none") == "none" and isinstance(steps, float) and isinstance(cap, int) and steps >= cap
    closed = row.get("headroom_mean", 0.0) is None
    if row.get("kind") != "attack":
        return flags
    return flags | ({"nothing-to-measure"} if full or closed else set()) | ({ONE} if row.get("n") == 1 else set())


def weakness(
    row: Mapping[str, Any],
    summary: Sequence[Mapping[str, Any]] = (),
    accepted: Collection[str] = (),
    metric: str = "",
) -> str:
    """Say why a pass on this row would be no evidence; empty if it is.

    On a defended target, an attack without effect is what the defense is for, if the same attack has an effect on the
    undefended target; that row is in ``summary``. See :func:`weak_flags`.

    Args:
        row: of a summary.
        summary: all of its rows.
        accepted: flags that the user accepts.
        metric: what the pass is on.

    >>> weakness({"flags": ["dead-gradients"]})
    'a pass is no evidence: the row is flagged dead-gradients'
    >>> weakness({"flags": ["dead-gradients"]}, accepted=["dead-gradients"])
    ''
    >>> free = {"attack": "pgd", "norm": "L2", "eps": 1.0, "defense": "none", "flags": []}
    >>> weakness({**free, "defense": "jpeg", "flags": ["no-effect"]}, [free])
    ''
    """
    found = [flag for flag in weak_flags(row, summary, metric) if flag not in accepted]
    free = row.get("defense", "none") == "none"
    where = "the row is" if free else "the attack, with or without the defense, is"
    return f"a pass is no evidence: {where} flagged {', '.join(found)}" if found else ""


def used_flags(
    row: Mapping[str, Any], summary: Sequence[Mapping[str, Any]], accepted: Collection[str], metric: str = ""
) -> tuple[str, ...]:
    """Return the accepted flags without which a pass on this row would be inconclusive.

    >>> used_flags({"flags": ["no-effect"]}, [], ["no-effect", "dead-gradients"])
    ('no-effect',)
    """
    return tuple(flag for flag in weak_flags(row, summary, metric) if flag in accepted)


def notes(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a reader of a verdict on this row must know beside the flags that spoil a pass.

    >>> notes({"no_headroom_rate": 0.25})
    ('25.0 % of the clean inputs are at the cap or the static bound from the start: nothing is measured on them',)
    """
    share, said = row.get("no_headroom_rate"), []
    if isinstance(share, float) and 0 < share < 1:
        said.append(
            f"{100 * share:.1f} % of the clean inputs are at the cap or the static bound from the start: nothing is "
            "measured on them"
        )
    most, gap = row.get("certified_slowdown_mean"), row.get("certified_gap")
    if isinstance(most, float) and isinstance(gap, float):
        said.append(
            f"mean slowdown found {row['slowdown_mean']:.3g}x, certified bound {most:.3g}x: no attack can cost more "
            f"than {gap:.3g} times what was found"
        )
    if CHANCE in (row.get("flags") or ()):
        said.append(f"{CHANCE}: a control of the same budget reaches the cap too")
    return tuple(said)


def check_flags(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of flags that a user accepts.

    Raises:
        UsageError: if there is no such flag.

    >>> check_flags(["no-effect"])
    ('no-effect',)
    """
    wanted, known = tuple(names), (*WEAK_FLAGS, CHANCE)
    for name in wanted:
        if name not in known:
            near = did_you_mean(name, known)
            raise UsageError(f"expected a flag of {', '.join(known)}, got {name!r}; {near}torpor report names a row's")
    return wanted
