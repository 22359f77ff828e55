"""Reliability flags: why a low cost in a row may reflect the attack, or the cap, rather than the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from torpor.attacks.controls.dense import Shuffled
from torpor.audits.run.store import ColumnsOf
from torpor.targets.family import Family

MOST = 0.5
"""``dead-gradients`` holds for more than this share of the samples with headroom."""
FEW = 0.1
"""``surrogate-not-tracking`` and ``black-box-beats-white-box`` hold for more than this share of them; ``budget-unused``
wants more than this share below the static bound; ``cap-reached-by-chance`` all but this share at the cap."""
UNUSED = 0.5
"""A budget counts as unused when the typical sample below the static bound was moved by less than this share of it."""
TIE = 1e-9
"""Relative difference of two mean slowdowns below which a control ties with an attack."""

Booleans = np.ndarray[Any, np.dtype[np.bool_]]


class Flags:
    """The diagnostics of one row's records.

    Args:
        family: of the target.
        table: records of the row.
        own: those of the clean inputs under the same condition, sample by sample.
    """

    def __init__(self, family: Family[Any], table: pa.Table, own: pa.Table) -> None:
        self.family = family
        clean, cost, static = (table[name].to_numpy() for name in ("cost_own", "cost", "cost_static"))
        room = clean < static
        self.room, self.costlier = int(room.sum()), int((cost > clean).sum())
        self.zero_gradient = int((_true(table, "zero_gradient") & room).sum())
        # an output that a cap or a guard ended, or an input that is rejected, is no matter of the gradients
        held = _holds(family.held(ColumnsOf(table)), len(table)) | (table["rejected"].null_count == 0)
        self.diverged = int((_true(table, "surrogate_diverged") & room & ~held).sum())
        self.black_box = int((_true(table, "black_box_won") & room).sum())
        used = table["budget_used"].to_numpy(zero_copy_only=False).astype(np.float64)
        self.used = used[(cost < static) & ~np.isnan(used)]
        able = ~self._full(table, own, "cost_own") & ~_true(own, "rejected")
        self.samples, self.open = len(table), int(able.sum())
        self.ended = int((self._full(table, table, "cost") & able).sum())
        self.slowdown, self.most = float(table["slowdown"].to_numpy().mean()), float(cost.max())

    @property
    def no_headroom(self) -> float:
        """Share of the samples whose clean input is at its cap or its static bound, or is rejected by the defense."""
        return (self.samples - self.open) / self.samples

    def compute(self, controls: Mapping[str, Flags] | None = None) -> list[str]:
        """Return the flags that hold for an attack.

        Args:
            controls: what was gathered of the controls of the same budget, by name, on the same samples.
        """
        beside = controls or {}
        if self.open == 0:
            return ["nothing-to-measure"]
        found = {
            "no-effect": self.costlier == 0,
            "dead-gradients": self.zero_gradient > MOST * self.room,
            "budget-unused": len(self.used) > FEW * self.room and float(np.median(self.used)) < UNUSED,
            "surrogate-not-tracking": self.diverged > FEW * self.room,
            "black-box-beats-white-box": self.black_box > FEW * self.room,
            "control-beats-attack": any(self._loses(name, control) for name, control in beside.items()),
            "cap-reached-by-chance": any(map(self._no_better, beside.values())),
        }
        return [name for name, holds in found.items() if holds]

    def below_natural(self, natural: Mapping[str, Any] | None) -> bool:
        """Tell whether the costliest input that the attack found costs less than one in a thousand natural ones.

        Args:
            natural: what :func:`~torpor.audits.run.summary.natural_baseline` returned.
        """
        return natural is not None and self.open > 0 and self.most < natural["cost_p999"] * (1 - TIE)

    def _loses(self, name: str, control: Flags) -> bool:
        """Tell whether a control costs as much on average, unless both used up the headroom.

        The attack's own perturbation, shuffled, must cost more: a flat one stays what it was.
        """
        mine, other = self.slowdown, control.slowdown
        if control.costlier == 0 or (self.ended == self.open and control.ended == control.open):
            return False
        return other > mine * (1 + TIE) if name == Shuffled.id else other >= mine * (1 - TIE)

    def _no_better(self, control: Flags) -> bool:
        """Tell whether a control takes (nearly) all samples to the cap, as the attack does."""
        return all(each.ended >= (1 - FEW) * each.open > 0 for each in (self, control))

    def _full(self, table: pa.Table, side: pa.Table, cost: str) -> Booleans:
        """Return which samples cost the static bound of ``table``, or ran in ``side`` up to a cap of ``table``."""
        full = np.asarray(side[cost].to_numpy() >= table["cost_static"].to_numpy(), dtype=bool)
        return full | _holds(self.family.exhausted(ColumnsOf(side), ColumnsOf(table)), len(table))


def _holds(values: list[bool] | None, count: int) -> Booleans:
    return np.zeros(count, dtype=bool) if values is None else np.array(values, dtype=bool)


def _true(table: pa.Table, column: str) -> Booleans:
    """Return where a nullable column is true."""
    return np.asarray(table[column].fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)
