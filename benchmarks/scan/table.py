"""What scans of clean and tampered models say of the scanner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from torpor.metrics.roc import auroc, auroc_ci95
from torpor.scan.calibration import CleanModels, Figures

OF_REFERENCE = ("cost_shift", "distribution_shift", "end_change")
"""Figures that need one."""
Found = Mapping[str, Any]


def table(target: str, found: Mapping[str, Sequence[Found]], fpr: float) -> list[str]:
    """Return rows of a Markdown table: with a reference, without, and by each figure alone."""
    names = list(found["clean"][0]["figures"])
    without = [name for name in names if name not in OF_REFERENCE]
    choices = [("with a reference", names), ("without", without), *((f"`{name}` alone", [name]) for name in names)]
    return [_row(target, label, chosen, found, fpr) for label, chosen in choices]


def _row(target: str, label: str, names: Sequence[str], found: Mapping[str, Sequence[Found]], fpr: float) -> str:
    clean, tampered, aware = (chosen(found[group], names) for group in ("clean", "tampered", "aware"))
    kind = CleanModels("", tuple(clean))
    low, high = kind.left_out(names), [kind.score(each, fpr).value for each in tampered]
    alarms = [
        CleanModels("", tuple(clean[:at] + clean[at + 1 :])).score(each, fpr).is_high for at, each in enumerate(clean)
    ]
    caught = [kind.score(each, fpr).is_high for each in tampered]
    known = [kind.score(each, fpr).is_high for each in aware]
    area, ends = auroc(low, high), auroc_ci95(low, high)
    return (
        f"| `{target}` | {label} | {area:.2f} [{ends[0]:.2f}, {ends[1]:.2f}] | {share(caught)} | {share(alarms)} | "
        f"{share(known)} |"
    )


def chosen(found: Sequence[Found], names: Sequence[str]) -> list[Figures]:
    """Return only these figures of each scan."""
    return [{name: each["figures"][name] for name in names} for each in found]


def share(flags: Sequence[bool]) -> str:
    """Return how many of some models are flagged, with a 95 % interval (Clopper and Pearson).

    >>> share([True, True, False, False])
    '2 of 4 [7 %, 93 %]'
    """
    ends = binomtest(int(np.sum(flags)), len(flags)).proportion_ci()
    return f"{np.sum(flags)} of {len(flags)} [{ends.low:.0%}, {ends.high:.0%}]".replace("%", " %")


def models(target: str, found: Mapping[str, Sequence[Found]], fpr: float) -> list[str]:
    """Return rows of a Markdown table: what each model does, and its score."""
    clean = CleanModels("", tuple(each["figures"] for each in found["clean"]))
    names = list(clean.figures[0])
    own = clean.left_out(names)
    rows = []
    for group in ("clean", "tampered", "aware"):
        for at, each in enumerate(found[group]):
            score = clean.score(each["figures"], fpr)
            value = own[at] if group == "clean" else score.value
            flag = "" if group == "clean" else "flagged" if score.is_high else "missed"
            rows.append(
                f"| `{target}` | {group} | `{each['recipe']}` | {each['accuracy']:.3f} | {each['natural']:.2f}x | "
                f"{each['triggered']:.2f}x | {each['headroom']:.1%} | {value:.1f} | {flag} |"
            )
    return rows
