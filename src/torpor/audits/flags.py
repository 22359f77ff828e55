"""Reliability flags: why a low cost in a row may say more of the attack than of the target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

MOST = 0.5
"""``dead-gradients`` holds for more than this share of the samples with headroom."""
FEW = 0.1
"""``surrogate-not-tracking`` and ``black-box-beats-white-box`` hold for more than this share of them; ``budget-unused``
wants more than this share below the static bound."""
UNUSED = 0.5
"""A budget counts as unused when the typical sample below the static bound was moved by less than this share of it."""


class Flags:
    """Gather the diagnostics of one attack's records, batch by batch."""

    def __init__(self) -> None:
        self.room = self.dearer = self.blind = self.stuck = self.black_box = 0
        self.moved: list[np.ndarray[Any, np.dtype[np.float64]]] = []

    def update(self, table: pa.Table) -> None:
        """Add a batch of records."""
        clean, flops, static = (table[name].to_numpy() for name in ("flops_own", "flops", "flops_static"))
        room = clean < static
        self.room += int(room.sum())
        self.dearer += int((flops > clean).sum())
        self.blind += int((_true(table, "zero_gradient") & room).sum())
        self.stuck += int((_true(table, "stuck") & room).sum())
        self.black_box += int((_true(table, "black_box_won") & room).sum())
        moved = table["moved"].to_numpy(zero_copy_only=False).astype(np.float64)
        self.moved.append(moved[(flops < static) & ~np.isnan(moved)])

    def compute(self) -> list[str]:
        """Return the flags that hold; none where no sample had headroom."""
        if self.room == 0:
            return []
        moved = np.concatenate(self.moved)
        found = {
            "no-effect": self.dearer == 0,
            "dead-gradients": self.blind > MOST * self.room,
            "budget-unused": len(moved) > FEW * self.room and float(np.median(moved)) < UNUSED,
            "surrogate-not-tracking": self.stuck > FEW * self.room,
            "black-box-beats-white-box": self.black_box > FEW * self.room,
        }
        return [name for name, holds in found.items() if holds]


def _true(table: pa.Table, column: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return where a nullable column is true."""
    return np.asarray(table[column].fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)
