"""Reliability flags: why a low cost in a row may say more of the attack, or of the cap, than of the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from torpor.attacks.controls import Shuffled

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
    """Gather the diagnostics of one row's records, batch by batch."""

    def __init__(self) -> None:
        self.samples = self.open = self.ended = 0
        self.room = self.dearer = self.blind = self.stuck = self.black_box = 0
        self.moved: list[np.ndarray[Any, np.dtype[np.float64]]] = []
        self.slowdowns: list[np.ndarray[Any, np.dtype[np.float64]]] = []

    def update(self, table: pa.Table, own: pa.Table) -> None:
        """Add a batch of records.

        Args:
            table: of the row.
            own: of the clean inputs behind the same defense, sample by sample.
        """
        clean, flops, static = (table[name].to_numpy() for name in ("flops_own", "flops", "flops_static"))
        room = clean < static
        self.room += int(room.sum())
        self.dearer += int((flops > clean).sum())
        self.blind += int((_true(table, "zero_gradient") & room).sum())
        # an output that a cap or a guard ended, or an input that is rejected, is no matter of the gradients
        held = _true(table, "capped") | (table["refused"].null_count == 0)
        self.stuck += int((_true(table, "stuck") & room & ~held).sum())
        self.black_box += int((_true(table, "black_box_won") & room).sum())
        moved = table["moved"].to_numpy(zero_copy_only=False).astype(np.float64)
        self.moved.append(moved[(flops < static) & ~np.isnan(moved)])
        able = ~_full(table, own, "flops_own") & ~_true(own, "refused")
        self.samples += len(table)
        self.open += int(able.sum())
        self.ended += int((_full(table, table, "flops") & able).sum())
        self.slowdowns.append(table["slowdown"].to_numpy())

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
        moved = np.concatenate(self.moved)
        found = {
            "no-effect": self.dearer == 0,
            "dead-gradients": self.blind > MOST * self.room,
            "budget-unused": len(moved) > FEW * self.room and float(np.median(moved)) < UNUSED,
            "surrogate-not-tracking": self.stuck > FEW * self.room,
            "black-box-beats-white-box": self.black_box > FEW * self.room,
            "control-beats-attack": any(self._loses(name, control) for name, control in beside.items()),
            "cap-reached-by-chance": any(map(self._no_better, beside.values())),
        }
        return [name for name, holds in found.items() if holds]

    def _loses(self, name: str, control: Flags) -> bool:
        """Tell whether a control costs as much in the mean, unless both have got all that there is.

        The attack's own perturbation, shuffled, must cost more: a flat one stays what it was.
        """
        mine, other = (float(np.concatenate(each.slowdowns).mean()) for each in (self, control))
        if control.dearer == 0 or (self.ended == self.open and control.ended == control.open):
            return False
        return other > mine * (1 + TIE) if name == Shuffled.id else other >= mine * (1 - TIE)

    def _no_better(self, control: Flags) -> bool:
        """Tell whether a control takes (nearly) all samples to the cap, as the attack does."""
        return all(each.ended >= (1 - FEW) * each.open > 0 for each in (self, control))


def _full(table: pa.Table, side: pa.Table, cost: str) -> Booleans:
    """Return which samples cost the static bound of ``table``, or whose decoder in ``side`` ran up to the cap."""
    full = np.asarray(table[cost].to_numpy() >= table["flops_static"].to_numpy(), dtype=bool)
    if table["cap"].null_count or side["steps"].null_count:
        return full
    return np.asarray(full | (side["steps"].to_numpy() >= table["cap"].to_numpy()), dtype=bool)


def _true(table: pa.Table, column: str) -> Booleans:
    """Return where a nullable column is true."""
    return np.asarray(table[column].fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)
