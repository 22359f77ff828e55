"""Records: what an audit keeps of each sample under each attack, and nothing that a clock measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One row of ``records.parquet``. None means "not defined here", never zero."""

    sample: int
    """Index of the sample in its split."""
    attack: str
    """Name of the attack; ``clean`` for the clean input."""
    defense: str
    """Name of the defense; ``none`` without one."""
    norm: str | None
    """Norm of the budget; None for the clean input."""
    eps: float | None
    """Radius of the budget, pixels in [0, 1]."""
    reference: int | None
    """True class."""
    flops_clean: float
    """FLOPs of the clean input, two per multiply-add."""
    flops: float
    """FLOPs of this input."""
    flops_static: float
    """The sample's static bound, FLOPs."""
    slowdown: float
    """``flops / flops_clean``."""
    headroom: float | None
    """``(flops - flops_clean) / (flops_static - flops_clean)``; None where there was none."""
    work: tuple[int, ...]
    """How often each unit ran."""
    exit: int
    """Index of the last unit that ran."""
    utility_clean: float
    """Utility of the clean output, such as 1 for a right prediction."""
    utility: float
    """Utility of this output."""
    agreement: bool
    """Whether the output says the same as the clean one."""
    linf: float
    """Largest change of any pixel."""
    l2: float
    """Euclidean length of the change."""
    l1: float
    """Sum of the changes of all pixels."""
    forwards: int
    """Forward passes that the attack spent on this sample."""
    backwards: int
    """Backward passes that the attack spent on this sample."""
    zero_gradient: bool | None
    """Whether most of the attack's first gradient was exactly zero."""
    moved: float | None
    """Share of the budget that the attack's candidate used, whether it was kept or not."""
    stuck: bool | None
    """Whether the attack's loss fell by a tenth while the cost did not rise above the clean input's."""
    black_box_won: bool | None
    """Whether a gradient-free member of an ensemble beat all others."""
