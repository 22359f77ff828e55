"""Detectors fitted to toys whose costly inputs are known, and inputs of theirs: what costs little is clean."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import pytest
import torch

from torpor.core.batches import Samples
from torpor.core.space import DenseSpace
from torpor.defenses.detectors.base import Detector
from torpor.defenses.detectors.perplexity import Perplexity
from torpor.defenses.detectors.spectral import Spectral
from torpor.defenses.detectors.squeeze import Squeeze
from torpor.defenses.detectors.svm import SVM
from torpor.defenses.detectors.trace import Trace
from torpor.targets.base import Target
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.early_exit.toys import needle

WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "dog", "bird")


class Translator(ToyText):
    """A toy that cannot score its own prompts."""

    decoder_only = False


def lamp_video() -> Target:
    """Build a tracker of lamps."""
    pytest.importorskip("trackers")
    from torpor.targets.detector.tracking import TrackerTarget

    return TrackerTarget(LampTarget(8, 12), frames=3)


TARGETS: dict[str, Callable[[], Target]] = {
    "gates": needle,
    "steps": PeakTarget,
    "candidates": LampTarget,
    "video": lamp_video,
    "text": lambda: ToyText(cap=30),
    "translator": lambda: Translator(cap=30),
}
DETECTORS: tuple[type[Detector], ...] = (SVM, Squeeze, Perplexity, Trace)
CASES = [
    (kind, family)
    for kind in DETECTORS
    for family in TARGETS
    if (kind is Perplexity) == (family in ("text", "translator")) or kind in (SVM, Trace)
]
CASES.append((Spectral, "gates"))


def inputs_of(target: Target, count: int, seed: int, *, costly: bool = False) -> Samples:
    """Return cheap inputs, or costly ones: dark or half-bright images, words or words and digits."""
    if not isinstance(target.space, DenseSpace):
        rng = random.Random(seed)
        texts = (" ".join(rng.choices(WORDS, k=6)) for _ in range(count))
        return tuple(f"{text} 9{rng.randrange(10, 99)}" if costly else text for text in texts)
    draws = torch.Generator().manual_seed(seed)
    low, high = (0.47, 0.53) if costly else (0.05, 0.2)
    means = low + (high - low) * torch.rand(count, *[1] * len(target.space.shape), generator=draws)
    noise = torch.rand(count, *target.space.shape, generator=draws) - 0.5
    return target.space.snap(means + 0.1 * noise)


@cache
def fitted(kind: type[Detector], family: str) -> tuple[Target, Detector]:
    """Return a target and a detector fitted to it."""
    target = TARGETS[family]()
    clean, costly = inputs_of(target, 30, 0), inputs_of(target, 30, 1, costly=True)
    return target, kind(0.1).fit(target, clean, costly, inputs_of(target, 60, 2))
