"""Defenses by the names that the command line and audits use."""

from __future__ import annotations

from torpor.core.errors import UsageError, did_you_mean
from torpor.defenses.base import Defense
from torpor.defenses.bit_depth import BitDepth
from torpor.defenses.box_caps import BoxCap, TrackCap
from torpor.defenses.calibrated import Calibrated
from torpor.defenses.chain import JOINT, Chain
from torpor.defenses.deadline import Deadline
from torpor.defenses.hardened import Hardened
from torpor.defenses.hazard import HazardMonitor
from torpor.defenses.jpeg import JPEG, BlockJPEG, RandomJPEG
from torpor.defenses.loop_stop import LoopStop
from torpor.defenses.perplexity import Perplexity
from torpor.defenses.resize import ResizePad
from torpor.defenses.smoothing import Median, NonLocalMeans
from torpor.defenses.spelling import Spelling
from torpor.defenses.squeeze import Squeeze
from torpor.defenses.step_budget import StepBudget
from torpor.defenses.svm import SVM
from torpor.defenses.text_cleaning import Normalize, Strip
from torpor.defenses.trace import Trace

KINDS: tuple[type[Defense], ...] = (
    JPEG,
    RandomJPEG,
    BlockJPEG,
    Median,
    NonLocalMeans,
    BitDepth,
    ResizePad,
    Normalize,
    Strip,
    Spelling,
    SVM,
    Squeeze,
    Perplexity,
    Trace,
    Deadline,
    StepBudget,
    LoopStop,
    HazardMonitor,
    BoxCap,
    TrackCap,
    Calibrated,
    Hardened,
)
DEFENSES: dict[str, type[Defense]] = {defense.id: defense for defense in KINDS}


def defense_ids() -> tuple[str, ...]:
    """Return the kinds of defenses."""
    return tuple(DEFENSES)


def load_defense(name: str) -> Defense:
    """Build a defense by name: its kind, and its setting behind a colon, such as ``"jpeg:75"``.

    Several that are joined by ``+`` stand behind each other, the first in front.

    Raises:
        UsageError: on an unknown kind or setting.
    """
    if JOINT in name:
        return Chain(tuple(load_defense(part) for part in name.split(JOINT)))
    kind, _, value = name.partition(":")
    if kind not in DEFENSES:
        raise UsageError(
            f"expected a defense among {', '.join(DEFENSES)}, got {name!r}; {did_you_mean(kind, DEFENSES)}"
            "see: torpor list defenses"
        )
    return DEFENSES[kind].parse(value)
