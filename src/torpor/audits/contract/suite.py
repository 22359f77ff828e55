"""The whole contract of a target, a line for each check."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from torpor.audits.contract import counting, running, seeing
from torpor.audits.contract.line import ContractBroken, ContractLine, ContractSkipped
from torpor.audits.contract.trial import Trial
from torpor.audits.verdict.gate import Verdict

CHECKS: tuple[tuple[str, Callable[[Trial], str]], ...] = (
    ("units", running.units_are_told),
    ("run", running.run_returns_work),
    ("run again", running.run_repeats),
    ("batches of one", running.run_equals_batches_of_one),
    ("independent rows", running.rows_are_independent),
    ("bound", running.run_is_bounded),
    ("outputs", running.outputs_are_judged),
    ("signals", seeing.signals_say_the_work),
    ("sign of margins", seeing.margins_have_their_sign),
    ("gradients", seeing.signals_have_gradients),
    ("FLOPs", counting.flops_are_those_counted),
    ("devices", counting.devices_change_nothing),
    ("copies", counting.copies_are_the_same),
    ("family", counting.family_has_what_it_asks),
)
"""Every check by its name, in the order in which they make sense: what fails early explains what fails later."""


def contract_of(trial: Trial, tell: Callable[[str], None] = lambda check: None) -> Iterator[ContractLine]:
    """Yield a line for each check; without inputs or a run that returns work, no check after that is made.

    Args:
        trial: the target and its inputs.
        tell: called with the name of a check before it is made.

    >>> from torpor.targets.early_exit.toys import needle
    >>> [line.verdict for line in contract_of(Trial(needle(), None)) if line.check in ("bound", "signals")]
    ['pass', 'pass']
    """
    for name, check in CHECKS:
        tell(name)
        line = _line(name, check, trial)
        yield line
        if name == "run" and line.verdict == "fail":
            return


def verdict_of(lines: list[ContractLine]) -> Verdict:
    """Return pass if nothing failed; inconclusive if nothing could be checked.

    >>> verdict_of([ContractLine("run", "pass", "")]).value, verdict_of([]).value
    ('pass', 'inconclusive')
    """
    verdicts = {line.verdict for line in lines}
    if "fail" in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if "pass" in verdicts else Verdict.INCONCLUSIVE


def _line(name: str, check: Callable[[Trial], str], trial: Trial) -> ContractLine:
    try:
        return ContractLine(name, "pass", check(trial))
    except ContractSkipped as skipped:
        return ContractLine(name, "skipped", str(skipped))
    except ContractBroken as broken:
        return ContractLine(name, "fail", broken.told, broken.advice)
    except Exception as error:  # whatever it is, the target's code raised it
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}, line {where.lineno}"
        return ContractLine(name, "fail", f"{type(error).__name__}: {error} ({place})", "correct what raises")
