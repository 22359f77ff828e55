"""Hardening of the zoo's networks: from the weights of their bases, half of each batch attacked."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from typing_extensions import override

from torpor.attacks.decoder.nicg_slowdown import NICGSlowDown
from torpor.attacks.detector.overload import Overload
from torpor.attacks.early_exit.climbs import AutoExpected
from torpor.attacks.early_exit.deepsloth import DeepSloth
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.training.captioning import CaptionRecipe, CaptionTrainer
from torpor.training.classifiers import ClassifierTrainer
from torpor.training.crafting import BatchAttack, Hardening, closed_gates, delayed_end, many_boxes, uniform_exits
from torpor.training.detection import DetectionRecipe, DetectorTrainer
from torpor.training.early_exit import EarlyExitTrainer, Recipe
from torpor.training.halting import HaltingDepthRecipe, halting_losses
from torpor.training.loop import Model
from torpor.zoo.captioning.captioner import Captioner
from torpor.zoo.captioning.registry import CAPTIONERS, CaptionEntry
from torpor.zoo.captioning.vocabulary import Vocabulary
from torpor.zoo.classifiers import CLASSIFIERS, ClassifierEntry
from torpor.zoo.detection.network import PyramidDetector
from torpor.zoo.detection.registry import DETECTORS, DetectorEntry
from torpor.zoo.early_exits import EARLY_EXITS, EarlyExitEntry
from torpor.zoo.entry import ZooEntry, load_half
from torpor.zoo.hardened import hardened

LEVEL = 1 / 255


@dataclass(frozen=True, kw_only=True)
class HardRecipe(Recipe, Hardening):
    """How a multi-exit network is hardened; ``supervision`` lets the internal classifiers change the backbone."""


@dataclass(frozen=True, kw_only=True)
class HardCaptionRecipe(CaptionRecipe, Hardening):
    """How a captioner is hardened."""


@dataclass(frozen=True, kw_only=True)
class HardDetectionRecipe(DetectionRecipe, Hardening):
    """How a detector is hardened."""


@dataclass(frozen=True, kw_only=True)
class HardHaltingRecipe(HaltingDepthRecipe, Hardening):
    """How a network that halts is hardened."""


@dataclass(frozen=True)
class ExitHardener(EarlyExitTrainer):
    """Hardens a multi-exit network against DeepSloth: sure early on attacked images too.

    Attributes:
        base: whose weights training starts from.
    """

    recipe: HardRecipe
    base: EarlyExitEntry = field(kw_only=True)

    @override
    def start(self) -> ShallowDeepNetwork:
        return with_weights_of(self.base, super().start())

    @override
    def attack(self) -> BatchAttack[ShallowDeepNetwork]:
        return uniform_exits(self.recipe)


@dataclass(frozen=True)
class CaptionHardener(CaptionTrainer):
    """Hardens a captioner against NICGSlowDown: it ends where it should on attacked images too.

    Attributes:
        base: whose weights training starts from.
    """

    recipe: HardCaptionRecipe
    base: CaptionEntry = field(kw_only=True)

    @override
    def start(self, vocabulary: Vocabulary) -> Captioner:
        return with_weights_of(self.base, super().start(vocabulary))

    @override
    def attack(self) -> BatchAttack[Captioner]:
        return delayed_end(self.recipe)


@dataclass(frozen=True)
class DetectorHardener(DetectorTrainer):
    """Hardens a detector against Overload: it finds the ground truth in attacked images too, and no more.

    Attributes:
        base: whose weights training starts from.
    """

    recipe: HardDetectionRecipe
    base: DetectorEntry = field(kw_only=True)

    @override
    def start(self) -> PyramidDetector:
        return with_weights_of(self.base, super().start())

    @override
    def attack(self) -> BatchAttack[PyramidDetector]:
        return many_boxes(self.recipe)


@dataclass(frozen=True)
class GateHardener(ClassifierTrainer):
    """Hardens a classifier with gates of any kind: it saves as much on images that were to close them.

    Attributes:
        base: whose weights training starts from.
    """

    base: ClassifierEntry = field(kw_only=True)

    @override
    def start(self) -> nn.Module:
        return with_weights_of(self.base, super().start())

    @override
    def attack(self) -> BatchAttack[Any]:
        assert isinstance(self.recipe, Hardening)
        return closed_gates(self.recipe, pkgutil.resolve_name(self.entry.target))


def with_weights_of(base: ZooEntry, model: Model) -> Model:
    """Return ``model`` with the trained weights of ``base``.

    Raises:
        UsageError: if they are missing, with how to train them.
    """
    base.card()
    return load_half(model, base.folder() / f"{base.name}.safetensors", base.name)


def _exits(name: str, recipe: HardRecipe) -> ExitHardener:
    base, judges = EARLY_EXITS[name], (DeepSloth(eps=8 * LEVEL), DeepSloth(eps=16 * LEVEL))
    return ExitHardener(hardened(base), recipe, base=base, judges=judges)


def _captions(name: str, recipe: HardCaptionRecipe) -> CaptionHardener:
    base, judges = CAPTIONERS[name], (NICGSlowDown(eps=8 * LEVEL, steps=100),)
    return CaptionHardener(hardened(base), recipe, base=base, judges=judges, limit=50)


def _boxes(name: str, recipe: HardDetectionRecipe) -> DetectorHardener:
    base, judges = DETECTORS[name], (Overload(eps=8 * LEVEL),)
    return DetectorHardener(hardened(base), recipe, base=base, judges=judges, limit=50)


def _halting(name: str, recipe: HardHaltingRecipe) -> GateHardener:
    base, judges = CLASSIFIERS[name], (AutoExpected(eps=8 * LEVEL), AutoExpected(eps=16 * LEVEL))
    return GateHardener(hardened(base), recipe, losses=halting_losses, base=base, judges=judges, limit=200)


HARDENERS: dict[str, ExitHardener | GateHardener | CaptionHardener | DetectorHardener] = {
    trainer.entry.name: trainer
    for trainer in (
        _exits(
            "sdn-digits",
            HardRecipe(epochs=60, batch_size=64, pad=2, flip=False, supervision=1.0, eps=16 * LEVEL, attack_steps=10),
        ),
        _exits("sdn-resnet56-cifar10", HardRecipe(epochs=6, learning_rate=0.03, supervision=1.0, attack_steps=5)),
        _halting(
            "act-digits",
            HardHaltingRecipe(
                epochs=30,
                batch_size=64,
                learning_rate=0.05,
                pad=2,
                flip=False,
                ponder_weight=0.05,
                free=0,
                eps=16 * LEVEL,
                attack_steps=5,
            ),
        ),
        _captions(
            "captioner-scenes-gru", HardCaptionRecipe(epochs=1, learning_rate=1e-3, attack_steps=3, autocast=False)
        ),
        _captions("captioner-scenes-lstm", HardCaptionRecipe(epochs=1, learning_rate=1e-3, attack_steps=3)),
        _boxes("detector-scenes", HardDetectionRecipe(epochs=8, learning_rate=1e-3)),
    )
}
