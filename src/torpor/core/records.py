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
    attacker: str | None
    """``blind`` if the attack was crafted without the defense, ``adaptive`` if through it; None without either."""
    found_through: str | None
    """Name of the defense through which an input of an undefended row was crafted, if it is from an attack on that
    defended target and costs more than what the attack found without it; None otherwise."""
    norm: str | None
    """Norm of the budget; None for the clean input."""
    eps: float | None
    """Radius of the budget, pixels in [0, 1]; the number of edits for texts."""
    cut: int | None
    """Sound samples or tokens at the end of the input as it was given that the target does not read; None for inputs
    without a length."""
    reference: int | None
    """True class; None for targets that do not classify."""
    reference_text: str | None
    """True text, for targets that generate text and data that have one."""
    flops_clean: float
    """FLOPs of the clean input without any defense, two per multiply-add."""
    flops_own: float
    """FLOPs of the clean input behind this row's defense: what success, flags and headroom are told by."""
    flops: float
    """FLOPs of this input."""
    flops_static: float
    """The sample's static bound, FLOPs."""
    slowdown: float
    """``flops / flops_clean``."""
    headroom: float | None
    """``(flops - flops_own) / (flops_static - flops_own)``, of refused inputs 0 at least; None where there was none, or
    where the clean input is refused."""
    work: tuple[int, ...]
    """How often each unit ran."""
    exit: int | None
    """Index of the last unit that ran; None for other targets than those that exit early."""
    steps_clean: int | None
    """Decoder steps of the clean input; None for targets that do not iterate."""
    steps: int | None
    """Decoder steps of this input, the end token counted."""
    i_loops: float | None
    """``100 * (steps - steps_clean) / steps_clean``, per cent."""
    cap: int | None
    """Decoder steps at most for this sample."""
    capped_clean: bool | None
    """Whether the cap, not an end token, ended the clean output."""
    capped: bool | None
    """Whether the cap ended this output."""
    output: str | None
    """The text that was generated."""
    kept_clean: int | None
    """Objects that are handed downstream for the clean input, over all frames; None for targets that find none."""
    kept: int | None
    """Objects that are handed downstream for this input."""
    clean_recall: float | None
    """Share of the clean input's objects that are still found here; None where there were none."""
    found: str | None
    """These objects as JSON; for a video a list with those of each frame."""
    truth: str | None
    """What is really there, likewise; None without references."""
    utility_clean: float | None
    """Utility of the clean output without any defense, such as 1 for a right prediction; None without references."""
    utility: float | None
    """Utility of this output."""
    agreement: bool
    """Whether the output says the same as the clean one without any defense."""
    refused: bool | None
    """Whether a defense turned the input away; None where none can."""
    linf: float | None
    """Largest change of any pixel or sound sample; None for texts."""
    l2: float | None
    """Euclidean length of the change; None for texts."""
    l1: float | None
    """Sum of the changes; None for texts."""
    edits: int | None
    """Edits in the unit of the budget's norm; None for other inputs than texts."""
    similarity: float | None
    """1 minus the edit distance over characters as a share of the longer text; None for other inputs than texts."""
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
