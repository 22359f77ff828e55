"""An assertion on what inputs can make a target cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from torpor.api.result import Audit
from torpor.api.run import audit
from torpor.attacks.base import Attack
from torpor.data.given import Given
from torpor.targets.base import Target


def assert_cost(
    target: str | Target,
    inputs: str | Path | Given | None,
    *gates: str,
    attacks: str | Sequence[str | Attack] | None = None,
    eps: str | float | Sequence[str | float] | None = None,
    norm: str | None = None,
    steps: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    defenses: str | Sequence[str] | None = None,
    accept: Collection[str] = (),
    timed: bool = False,
    out: str | Path | None = None,
) -> Audit:
    """Audit a target and raise unless every gate passes; a gate that could not be judged does not.

    Args:
        target: a name or a target; for this and all other arguments see :func:`torpor.audit`.
        inputs: what is attacked; the target's own data if None.
        *gates: what must hold for every attack, such as ``"p95(slowdown) < 1.5"``.
        attacks: specifications or attacks; those for this kind of target if None.
        eps: radii or numbers of edits.
        norm: of every budget.
        steps: iterations, for attacks that take them.
        limit: samples at most.
        seed: of all randomness.
        defenses: names, such as ``"jpeg:75"``.
        accept: reliability flags that do not make a pass inconclusive.
        timed: whether latency, energy and memory are measured, for gates on them.
        out: folder of the audit, to look at what failed; a temporary one if None.

    Returns:
        The audit, if all gates pass.

    Raises:
        AssertionError: if a gate fails or is inconclusive, with the verdict on each row.
        UsageError: if something does not exist or does not apply, or no gate is given.
        DataError: if the inputs cannot be read.
    """
    __tracebackhide__ = True
    found = audit(
        *(target, attacks),
        eps=eps,
        norm=norm,
        inputs=inputs,
        defenses=defenses,
        limit=limit,
        steps=steps,
        seed=seed,
        timed=timed,
        out=out,
    )
    checks = found.check(*gates, accept=accept)
    if not checks:
        raise AssertionError(str(checks))
    return found
