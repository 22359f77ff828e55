"""The zoo's targets and the budgets in which they are attacked, with samples that nothing was tuned on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.strength.figures import Figure, behind, headroom, i_loops, more, objects, taken, unit
from torpor.core.budget import COUNTS

HEADROOM: Mapping[str, Figure] = {"headroom, %": headroom}
MORE: Mapping[str, Figure] = {"more cost, %": more}
LOOPS: Mapping[str, Figure] = {"I-Loops, %": i_loops}
TAKEN: Mapping[str, Figure] = {"neighbors' tokens dropped, %": taken}
FOUND: Mapping[str, Figure] = {"kFLOPs behind the network": behind, "objects": objects}
FOLLOWED: Mapping[str, Figure] = {
    **FOUND,
    "live tracks": unit("track_alive"),
    "association pairs": unit("association_pair"),
}
MASKS = (
    "detached",
    "four-bits",
    "reversed",
    "noisy",
    "mirrored",
    "rounded-logits",
    "detached-heads",
    "saturated",
    "outside",
    "rearranged-outside",
)
"""Gradients that are not there, or mislead."""


@dataclass(frozen=True)
class Case:
    """One target and budget.

    Attributes:
        target: by its name in the zoo.
        norm: of the budget.
        eps: radius, or number of edits.
        first: sample of the test split; those before it served to tune, to train or as examples.
        count: samples.
        figures: by their units; a row of the table for each.
        data: subfolder of the data that the target needs; None if it makes its own.
        learned: samples of the validation split that universal attacks learn from; 0 leaves these attacks out.
        also: specifications of attacks that are tried besides those that the registry names.
        quick: whether it is part of a quick table.
        mask: what hides an early-exit network's gradients, see :func:`~benchmarks.masked.masked`; nothing if empty.
    """

    target: str
    norm: str
    eps: float
    first: int
    count: int
    figures: Mapping[str, Figure] = field(default_factory=lambda: HEADROOM)
    data: str | None = None
    learned: int = 0
    also: tuple[str, ...] = ()
    quick: bool = False
    mask: str = ""

    @property
    def budget(self) -> str:
        """The budget as the table shows it.

        >>> Case("toy", "Linf", 8 / 255, 0, 1).budget, Case("toy", "chars", 3.0, 0, 1).budget
        ('Linf 8/255', '3 chars')
        """
        if self.norm in COUNTS:
            return f"{self.eps:g} {self.norm}"
        levels = 255 * self.eps
        whole = self.norm == "Linf" and abs(levels - round(levels)) < 1e-9
        return f"{self.norm} {round(levels)}/255" if whole else f"{self.norm} {self.eps:g}"

    @property
    def name(self) -> str:
        """What the command line calls it.

        >>> Case("toy", "Linf", 8 / 255, 0, 1).name
        'toy/Linf-8of255'
        """
        return f"{self.shown}/{self.budget.replace(' ', '-').replace('/', 'of')}"

    @property
    def shown(self) -> str:
        """The target as the table shows it.

        >>> Case("toy", "Linf", 8 / 255, 0, 1, mask="detached").shown
        'toy:detached'
        """
        return f"{self.target}:{self.mask}" if self.mask else self.target


CASES: tuple[Case, ...] = (
    Case("sdn-digits", "Linf", 8 / 255, 200, 16, quick=True),
    Case("sdn-digits", "Linf", 16 / 255, 200, 16),
    Case("sdn-digits", "L2", 0.35, 200, 16),
    Case("sdn-digits", "L2", 1.0, 200, 16),
    Case("sdn-digits", "L1", 8.0, 200, 16),
    *(Case("sdn-digits", "Linf", 16 / 255, 200, 4, mask=how) for how in MASKS),
    Case("sdn-digits-hardened", "Linf", 16 / 255, 200, 16),
    Case("sdn-resnet56-cifar10", "Linf", 8 / 255, 1000, 2, data="cifar10"),
    Case("skipnet-cifar10", "Linf", 8 / 255, 1000, 2, data="cifar10"),
    Case("skipnet-digits", "Linf", 8 / 255, 200, 8),
    Case("act-digits", "Linf", 16 / 255, 200, 8),
    Case("act-digits-hardened", "Linf", 16 / 255, 200, 8),
    Case("cascade-digits", "Linf", 4 / 255, 200, 8),
    Case("avit-digits", "Linf", 16 / 255, 200, 8),
    Case("avit-digits", "patch", 0.08, 200, 8, learned=64),
    Case("avit-cifar10", "Linf", 8 / 255, 1000, 2, data="cifar10"),
    Case("adavit-digits", "Linf", 16 / 255, 200, 8),
    Case("ats-digits", "Linf", 16 / 255, 200, 8),
    Case("sparse-digits", "Linf", 8 / 255, 200, 8, MORE),
    Case("int8-vit-digits", "Linf", 8 / 255, 200, 8, MORE),
    Case("odenet-digits", "Linf", 16 / 255, 200, 8, MORE),
    Case("snn-digits", "Linf", 8 / 255, 200, 8, MORE),
    Case("eetext-multi30k", "words", 1, 200, 8, MORE, "multi30k"),
    Case("skim-multi30k", "words", 1, 200, 8, MORE, "multi30k"),
    Case("speller", "chars", 3, 70, 10, LOOPS, quick=True),
    Case("speller", "tokens", 3, 70, 10, LOOPS),
    Case("translator-multi30k", "chars", 3, 100, 4, LOOPS, "multi30k"),
    Case("translator-multi30k", "tokens", 3, 100, 4, LOOPS, "multi30k"),
    Case("translator-multi30k", "words", 2, 100, 4, LOOPS, "multi30k"),
    Case("lm-multi30k", "suffix", 30, 100, 4, LOOPS, "multi30k"),
    Case("lm-multi30k", "prompt", 32, 100, 4, {**MORE, **LOOPS}, "multi30k", learned=8),
    Case("tts-digits", "chars", 3, 100, 4, LOOPS),
    Case("exits-multi30k", "suffix", 8, 100, 4, MORE, "multi30k"),
    Case("speculative-multi30k", "suffix", 8, 100, 4, MORE, "multi30k"),
    Case("router-multi30k", "suffix", 2, 100, 8, MORE, "multi30k", learned=500),
    Case("moe-multi30k", "prompt", 64, 100, 8, MORE, "multi30k"),
    Case("moe-batch-multi30k", "prompt", 64, 100, 4, TAKEN, "multi30k"),
    Case("captioner-scenes-gru", "L2", 3.0, 400, 4),
    Case("captioner-scenes-gru", "Linf", 8 / 255, 400, 4),
    Case("captioner-scenes-lstm", "L2", 3.0, 400, 4),
    Case("captioner-scenes-lstm", "Linf", 8 / 255, 400, 4),
    Case("speech-digits", "Linf", 0.002, 100, 4, data="fsdd"),
    Case("detector-scenes", "Linf", 8 / 255, 40, 3, FOUND, learned=48, quick=True),
    Case(
        "tracker-scenes",
        "Linf",
        8 / 255,
        4,
        1,
        FOLLOWED,
        learned=48,
        also=("slowtrack:keep=region", "slowtrack:keep=tracker"),
    ),
)
