"""FLOPs per unit, found by running the model under the counter and solving for them in integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from typing import Any

from torpor.core.errors import MeterError
from torpor.core.units import Unit
from torpor.meters.flops import counting
from torpor.targets.generation.layouts import Layout


def priced_units(layout: Layout, beams: int, model: Any, force: Callable[[int, int], None]) -> tuple[Unit, ...]:  # noqa: ANN401
    """Return the layout's units with their FLOPs.

    Args:
        layout: which units there are.
        beams: rows that the decoder computes at each step.
        model: whose forward passes count.
        force: runs the model on an input of some length for some number of steps.

    Raises:
        MeterError: if an operator has no FLOP formula, or the FLOPs are not linear in the counts.
    """

    def flops(length: int, steps: int) -> int:
        with forwards_counted(model) as total:
            force(length, steps)
        return sum(total)

    prices = solve(
        [layout.counts(length, steps, beams) for length, steps in layout.probes],
        [flops(length, steps) for length, steps in layout.probes],
    )
    length, steps = layout.check
    expected = sum(price * count for price, count in zip(prices, layout.counts(length, steps, beams), strict=True))
    found = flops(length, steps)
    if expected != found or any(price < 0 or price.denominator != 1 for price in prices):
        raise MeterError(
            f"expected FLOPs linear in {', '.join(layout.names)}, got {found} instead of {float(expected):.12g} for "
            f"{length} tokens and {steps} steps; such a model, with windows or routing, needs a target of its own"
        )
    return tuple(Unit(name, int(price)) for name, price in zip(layout.names, prices, strict=True))


def solve(rows: Sequence[Sequence[int]], values: Sequence[int]) -> list[Fraction]:
    """Solve a square system of equations exactly.

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
def forwards_counted(model: Any) -> Iterator[list[int]]:  # noqa: ANN401
    """Count the FLOPs of the forward passes of ``model`` and of its encoder, and of nothing between them.

    What ``generate`` does to scores and ids costs no multiply-adds, and torpor's counter does not know all of it.
    """
    found: list[int] = []
    open_calls: list[ExitStack] = []
    depth = 0

    def enter(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth == 1:
            stack = ExitStack()
            counter = stack.enter_context(counting())
            stack.callback(lambda: found.append(counter.flops))
            open_calls.append(stack)

    def leave(*_: object) -> None:
        nonlocal depth
        depth -= 1
        if depth == 0:
            open_calls.pop().close()

    parts = {id(part): part for part in (model, model.get_encoder()) if part is not None}
    hooks = [part.register_forward_pre_hook(enter) for part in parts.values()]
    hooks += [part.register_forward_hook(leave) for part in parts.values()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
        for stack in open_calls:
            stack.close()
