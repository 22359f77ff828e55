"""The goal: as many decoder steps as possible."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from torpor.targets.decoder.contract import TextTarget

BATCH = 2048  # texts that are handed to the target at a time


def decoder_steps(target: TextTarget, texts: Sequence[str]) -> list[int]:
    """Return how many decoder steps the target really runs for each text, by generating; never a surrogate.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> decoder_steps(ToyText(), ["a 4", "a cat"]), decoder_steps(ToyText(), [])
    ([5, 1], [])
    """
    with torch.no_grad():
        parts = [target.score(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    return [steps for part in parts for steps in part.tolist()]
