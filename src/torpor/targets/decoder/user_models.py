"""Saved models of the user's: what ``hf:NAME`` loads."""

from __future__ import annotations

from torpor.targets.decoder.contract import StepTarget
from torpor.targets.decoder.generation.loading import load_pretrained
from torpor.targets.model_options import Options

AUDIT_S = 540.0
"""Seconds that attacks on a saved model, which may be a large one, take by default: 10 minutes with all else."""


def load_large(name: str) -> StepTarget:
    """Load a saved model of the user's, which may be large: audits of it end after :data:`AUDIT_S` by default.

    Args:
        name: see :func:`load_pretrained`; with ``assistant`` or ``lookup`` it decodes speculatively.
    """
    target: StepTarget = load_pretrained(name)
    if (options := Options.split(name)[1]).guesses is not None:
        from torpor.targets.decoder.speculative.loading import with_drafter

        target = with_drafter(target, options)
    target.max_seconds = AUDIT_S
    return target
