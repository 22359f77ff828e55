"""FLOPs per unit, found by running the model under the counter and solving for them in integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

from torpor.core.errors import MeterError
from torpor.core.units import Unit
from torpor.meters.flops import counting
from torpor.targets.decoder.generation.layouts import Layout
from torpor.targets.decoder.generation.library import entered

LARGE = 2**12
"""Elements from which on tensors are not computed where the cost of a long input is counted."""
LONG = 32
"""Tokens and steps from which on an input is long."""

Force = Callable[[int, int, bool], None]
"""Runs the model on an input of some length for some number of steps; on tokens that differ, if True."""


def priced_units(
    layout: Layout,
    beams: int,
    model: Any,  # noqa: ANN401
    force: Force,
    edges: Sequence[int],
    longest: int,
    possible: Callable[[int, int], bool],
) -> tuple[Layout, tuple[Unit, ...]]:
    """Return the layout that the model's cost obeys, and its units with their FLOPs.

    Prices come from a few short inputs, and from some beyond each window. They must then explain inputs and steps on
    both sides of every length at which something else may begin, the longest input, and one of other content.

    Args:
        layout: which units there may be; those of keys that cost nothing are left out.
        beams: rows that the decoder computes at each step.
        model: whose forward passes count.
        force: runs the model.
        edges: lengths at which something else may begin.
        longest: tokens that an input has at most; 0 where inputs have none.
        possible: tells which lengths and steps can occur.

    Raises:
        MeterError: if an operator has no FLOP formula, or the FLOPs are not linear in the counts.
    """

    @cache
    def flops(length: int, steps: int, varied: bool) -> int:
        with forwards_counted(model, LARGE if layout.size(length) + steps > LONG else None) as total:
            force(length, steps, varied)
        return sum(total)

    far = [(longest - 2, 3), (longest, 1)]  # a window that began anywhere is still there at the end
    pairs = [(*layout.check, False), (*layout.check, True), *((*pair, False) for pair in layout.more)]
    pairs += [(*pair, False) for pair in far if possible(*pair)][:1]
    pairs += [(*pair, False) for edge in edges for pair in layout.edge(edge, longest) if possible(*pair)]
    first: MeterError | None = None
    for one in layout.variants(edges):
        try:
            return _priced(one, beams, flops, pairs)
        except MeterError as error:
            first = first or error
    raise first or MeterError(f"expected a model with a layout, got none for {type(model).__name__}; write a target")


def _priced(
    layout: Layout,
    beams: int,
    flops: Callable[[int, int, bool], int],
    pairs: Sequence[tuple[int, int, bool]],
) -> tuple[Layout, tuple[Unit, ...]]:
    prices = find_prices(layout, beams, flops)
    for length, steps, varied in dict.fromkeys(pairs):
        counts = layout.counts(length, steps, beams)
        expected = sum(price * count for price, count in zip(prices, counts, strict=True))
        found = flops(length, steps, varied)
        if expected != found or any(price < 0 or price.denominator != 1 for price in prices):
            raise MeterError(
                f"expected FLOPs linear in {', '.join(layout.names)}, got {found} instead of {float(expected):.12g} "
                f"for {length} tokens and {steps} steps; such a model, with windows, chunks or routing of its own, "
                "needs a target of its own"
            )
    if getattr(layout, "expands", False) and not all(prices):
        raise MeterError(
            "expected a cache that saves reading everything at each step, got none; such a model needs a target of its "
            "own"
        )
    units = {name: int(price) for name, price in zip(layout.names, prices, strict=True)}
    used = [size for size in layout.windows if units[f"{layout.key}_within_{size}"]]
    everything = layout.everything and (units[layout.key] > 0 or not used)
    fitting = replace(layout, windows=tuple(used), everything=everything)
    return fitting, tuple(Unit(name, units[name]) for name in fitting.names)


def find_prices(layout: Layout, beams: int, flops: Callable[[int, int, bool], int]) -> list[Fraction]:
    """Find prices from as few probes as needed; units that others can stand for at every probe cost nothing."""
    rows = [layout.counts(length, steps, beams) for length, steps in layout.probes]
    alike = [(layout.names.index(one), layout.names.index(other)) for one, other in layout.alike]
    for row in rows:
        for one, other in alike:
            row[one], row[other] = 0, row[one] + row[other]
    columns = independent(list(zip(*rows, strict=True)))
    chosen = independent([[row[column] for column in columns] for row in rows])
    values = [flops(*layout.probes[place], False) for place in chosen]
    found = solve([[rows[place][column] for column in columns] for place in chosen], values)
    prices = dict(zip(columns, found, strict=True))
    prices |= {one: prices.get(other, Fraction(0)) for one, other in alike}
    return [prices.get(column, Fraction(0)) for column in range(len(layout.names))]


def independent(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the places of the rows that are not a combination of rows before them.

    >>> independent([[1, 2], [2, 4], [0, 1]])
    [0, 2]
    """
    kept: list[tuple[int, list[Fraction]]] = []
    places = []
    for place, row in enumerate(rows):
        rest = [Fraction(entry) for entry in row]
        for pivot, other in kept:
            if rest[pivot]:
                factor = rest[pivot] / other[pivot]
                rest = [entry - factor * known for entry, known in zip(rest, other, strict=True)]
        lead = next((column for column, entry in enumerate(rest) if entry), None)
        if lead is not None:
            kept.append((lead, rest))
            places.append(place)
    return places


def solve(rows: Sequence[Sequence[int]], values: Sequence[int]) -> list[Fraction]:
    """Solve a square system of independent equations exactly.

    >>> [int(x) for x in solve([[1, 1], [1, 2]], [5, 8])]
    [2, 3]
    """
    table = [[Fraction(entry) for entry in (*row, value)] for row, value in zip(rows, values, strict=True)]
    size = len(table)
    for column in range(size):
        pivot = next(row for row in range(column, size) if table[row][column])
        table[column], table[pivot] = table[pivot], table[column]
        table[column] = [entry / table[column][column] for entry in table[column]]
        for row in range(size):
            if row != column and table[row][column]:
                factor = table[row][column]
                table[row] = [entry - factor * top for entry, top in zip(table[row], table[column], strict=True)]
    return [row[-1] for row in table]


@contextmanager
def forwards_counted(model: Any, large: int | None = None) -> Iterator[list[int]]:  # noqa: ANN401
    """Count the FLOPs of the forward passes of ``model`` and of its encoders, and of nothing between them.

    What ``generate`` does to scores and ids costs no multiply-adds, and torpor's counter does not know all of it.

    Args:
        model: one of transformers' models.
        large: see :func:`~torpor.meters.flops.counting`.
    """
    found: list[int] = []
    open_calls: list[ExitStack] = []
    depth = 0

    def enter(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth == 1:
            stack = ExitStack()
            counter = stack.enter_context(counting(large))
            stack.callback(lambda: found.append(counter.flops))
            open_calls.append(stack)

    def leave(*_: object) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0:
            open_calls.pop().close()

    parts = entered(model)
    hooks = [part.register_forward_pre_hook(enter) for part in parts]
    hooks += [part.register_forward_hook(leave) for part in parts]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
        for stack in open_calls:
            stack.close()
