"""One row of the table of mechanisms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What an attack reaches on a mechanism, by the metric of its paper.

    Attributes:
        target: by its name in the zoo.
        attack: by its id; controls too.
        budget: in words, such as ``"Linf 16/255"``.
        metric: of the paper, such as ``"recovery, %"``.
        ours: measured here.
        theirs: published, as text with its source of doubt; empty where nothing was published.
        passes: forward and backward passes per sample.
        count: samples.
    """

    target: str
    attack: str
    budget: str
    metric: str
    ours: float
    theirs: str
    passes: float
    count: int
