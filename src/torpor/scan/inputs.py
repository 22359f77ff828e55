"""Inputs to scan with: those to learn triggers from, and others to measure on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from torpor.audits.run.job import source
from torpor.core.batches import Samples
from torpor.core.errors import DataError, UsageError
from torpor.data.sets import DataSet
from torpor.scan.natural import costs_of
from torpor.targets.base import Target

FEWEST = 8
"""Inputs that a scan needs, half of them to learn from."""
TIMED = 4
"""Inputs that are run to tell how many more there is time for."""
PROMPTS = tuple(
    f"{ask} {about}"
    for ask in ("Tell me about", "A short story about", "Explain", "Two people see")
    for about in ("a dog in the park.", "the history of bread.", "a train at night.", "how rain forms.")
) + tuple(
    f"{who} {does}"
    for who in ("A man in a blue shirt", "Two women", "A little girl", "The old teacher")
    for does in ("is standing", "is playing with", "walks down the", "looks at a")
)
"""What language models without data of their own are scanned with."""


@dataclass(frozen=True, eq=False)
class ScanInputs:
    """Two disjoint parts of natural inputs.

    Attributes:
        learn: to learn triggers from.
        held_out: to measure on.
        source: where they are from.
    """

    learn: Samples
    held_out: Samples
    source: str


def scan_inputs(target: Target, data_dir: Path | None, inputs: Path | DataSet | None, count: int) -> ScanInputs:
    """Read natural inputs of ``target``: the user's own, its validation split, or prompts that come with torpor.

    Args:
        target: to be scanned.
        data_dir: folder of its data.
        inputs: the user's own.
        count: inputs at most.

    Raises:
        UsageError: if there are fewer than :data:`FEWEST`.
        DataError: if there are none.
    """
    try:
        data = source(target, data_dir, inputs)
        split = "validation" if data.has("validation") else "test"
        read, name = target.read(data.load(split, count).inputs), f"{data.name}, {split}"
    except DataError:
        if inputs is not None or data_dir is not None or target.space.kind != "text":
            raise
        read, name = target.read(PROMPTS[:count]), "prompts of torpor"
    if len(read) < FEWEST:
        raise UsageError(f"expected {FEWEST} natural inputs or more, got {len(read)} of {name}; give more of them")
    half = len(read) // 2
    return ScanInputs(read[:half], read[half:], name)


def affordable(target: Target, inputs: ScanInputs, seconds: float) -> ScanInputs:
    """Return as many of the inputs of each part as the target runs in so many seconds, :data:`TIMED` at least."""
    begin = time.perf_counter()
    costs_of(target, inputs.held_out[:TIMED])
    each = (time.perf_counter() - begin) / TIMED
    count = max(TIMED, int(seconds / max(each, 1e-9)))
    return ScanInputs(inputs.learn[:count], inputs.held_out[:count], inputs.source)
