"""What the study runs: targets, attacks and defenses, and on how much data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TRANSFORMS = ("jpeg-blocks:90", "jpeg:75", "non-local-means", "median")
"""The study's two, JPEG of blocks and non-local means, and one more of each kind."""
DETECTORS = ("svm", "jpeg-blocks:90+svm", "non-local-means+svm", "trace")
"""The study's, alone and after both of its transforms, and ours."""


class Scale(StrEnum):
    """How much is run: minutes, for CI, or hours."""

    SMOKE = "smoke"
    FULL = "full"


@dataclass(frozen=True)
class Size:
    """On how much data one case runs.

    Attributes:
        limit: test samples that are attacked.
        steps: iterations of attacks that take them; their own if None.
        judged: clean inputs that detectors learn from, are calibrated on and are judged on, each.
        eps: size of the attack's budget; its own if None.
    """

    limit: int
    steps: int | None
    judged: int
    eps: float | None = None


@dataclass(frozen=True)
class Case:
    """One row of the study: a target under one attack, with every defense.

    Attributes:
        name: of its folder.
        theirs: what the study's artifact calls it; empty for what is ours alone.
        target: name in the zoo.
        attack: its name.
        norm: of its budget; the attack's own if None.
        defenses: names of those in front of it.
        detectors: kinds that are judged on their own.
        sizes: by scale; it is no part of other scales.
        needs: name of the data in the folder of data; empty for targets that make their own.
    """

    name: str
    theirs: str
    target: str
    attack: str
    norm: str | None
    defenses: tuple[str, ...]
    detectors: tuple[str, ...]
    sizes: dict[Scale, Size]
    needs: str = ""


def cases() -> tuple[Case, ...]:
    """Return every case, in the order of the tables.

    >>> [case.name for case in cases()][:2]
    ['D1-resnet56-Linf', 'D1-resnet56-L2']
    """
    images = (*TRANSFORMS, *DETECTORS)
    exits, steps, boxes = ((*images, guard, "hardened") for guard in ("deadline:0.5", "steps", "tracks"))
    found = [
        Case(
            f"D1-{short}-{norm}",
            theirs,
            f"sdn-{short}-cifar10",
            "deepsloth",
            norm,
            exits,
            ("svm", "squeeze", "trace"),
            {Scale.SMOKE: Size(8, 20, 40), Scale.FULL: Size(50, None, 100)},
            "cifar10",
        )
        for short, theirs in (("resnet56", "ResNet56"), ("vgg16", "VGG16-BN"))
        for norm in ("Linf", "L2")
    ]
    found += [
        Case(
            f"D1-digits-{norm}",
            "",
            "sdn-digits",
            "deepsloth",
            norm,
            (*exits, "calibrated"),
            ("svm", "squeeze", "trace"),
            {Scale.SMOKE: Size(8, 20, 40), Scale.FULL: Size(50, None, 300)},
        )
        for norm in ("Linf", "L2")
    ]
    found += [
        Case(
            f"D2-captioner-{short}-{norm}",
            theirs,
            f"captioner-scenes-{short}",
            "nicg-slowdown",
            norm,
            steps,
            ("svm", "squeeze", "trace"),
            {Scale.SMOKE: Size(3, 25, 30), Scale.FULL: Size(10, 300, 40)},
        )
        for short, theirs in (("gru", "A coco mobilenet-rnn"), ("lstm", "B coco resnet-lstm"))
        for norm in ("Linf", "L2")
    ]
    found.append(
        Case(
            "D2-translator",
            "",
            "translator-multi30k",
            "nmtsloth-token",
            None,
            ("normalize", "strip", "spelling", "perplexity", "trace", "steps", "loop-stop"),
            ("perplexity", "trace"),
            {Scale.SMOKE: Size(1, None, 4, eps=1), Scale.FULL: Size(4, None, 12)},
            "multi30k",
        )
    )
    found += [
        Case(
            f"D3-tracker-{attack}",
            "ByteTrack, conf .25" if attack == "slowtrack" else "",
            "tracker-scenes",
            attack,
            None,
            boxes,
            ("svm", "trace"),
            {Scale.FULL: Size(2, most, 6)},
        )
        for attack, most in (("slowtrack", 80), ("overload", 20))  # with 20, SlowTrack keeps fewer tracks than Overload
    ]
    return tuple(found)
