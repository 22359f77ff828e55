"""Hardened networks of the zoo: trained on from the weights of another one, half of each batch attacked."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from torpor.targets.resolve import HARDENED_SUFFIX, NEO_KD_SUFFIX
from torpor.zoo.captioning.registry import CAPTIONERS, CaptionEntry
from torpor.zoo.classifiers import CLASSIFIERS, ClassifierEntry
from torpor.zoo.detection.registry import DETECTORS, DetectorEntry
from torpor.zoo.early_exits import EARLY_EXITS, EarlyExitEntry

Base = TypeVar("Base", EarlyExitEntry, ClassifierEntry, CaptionEntry, DetectorEntry)


def hardened(base: Base, suffix: str = HARDENED_SUFFIX) -> Base:
    """Return the entry of the same architecture and data whose weights are hardened, called after how.

    >>> hardened(EARLY_EXITS["sdn-digits"]).name
    'sdn-digits-hardened'
    """
    return replace(base, name=base.name + suffix)


HARDENED: dict[str, EarlyExitEntry | ClassifierEntry | CaptionEntry | DetectorEntry] = {
    entry.name: entry
    for entry in (
        hardened(EARLY_EXITS["sdn-digits"]),
        hardened(EARLY_EXITS["sdn-digits"], NEO_KD_SUFFIX),
        hardened(EARLY_EXITS["sdn-resnet56-cifar10"]),
        hardened(CLASSIFIERS["act-digits"]),
        hardened(CAPTIONERS["captioner-scenes-gru"]),
        hardened(CAPTIONERS["captioner-scenes-lstm"]),
        hardened(DETECTORS["detector-scenes"]),
    )
}
