"""Hardened networks of the zoo: trained on from the weights of another one, half of each batch attacked."""

from __future__ import annotations

from dataclasses import dataclass, field

from torpor.attacks.deepsloth import DeepSloth
from torpor.attacks.nicg_slowdown import NICGSlowDown
from torpor.attacks.overload import Overload
from torpor.targets.resolve import HARDENED_SUFFIX
from torpor.targets.sdn import ShallowDeepNetwork
from torpor.zoo.captioning.captioner import Captioner
from torpor.zoo.captioning.registry import CAPTIONERS, CaptionEntry
from torpor.zoo.captioning.vocabulary import Vocabulary
from torpor.zoo.detection.network import Detector
from torpor.zoo.detection.registry import DETECTORS, DetectorEntry
from torpor.zoo.early_exits import EARLY_EXITS, EarlyExitEntry
from torpor.zoo.entry import Entry
from torpor.zoo.recipes.captioning import CaptionRecipe
from torpor.zoo.recipes.crafting import BatchAttack, Hardening, delayed_end, many_boxes, uniform_exits
from torpor.zoo.recipes.detection import DetectionRecipe
from torpor.zoo.recipes.loop import Model
from torpor.zoo.recipes.training import Recipe
from torpor.zoo.storage import load_half

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


@dataclass(frozen=True)
class HardenedExits(EarlyExitEntry):
    """A multi-exit network hardened against DeepSloth: sure early on attacked images too.

    Attributes:
        base: whose weights training starts from.
    """

    base: EarlyExitEntry = field(kw_only=True)
    recipe: HardRecipe = field(kw_only=True)

    def start(self) -> ShallowDeepNetwork:
        """See :meth:`EarlyExitEntry.start`."""
        return _trained(self.base, self.build())

    def attack(self) -> BatchAttack[ShallowDeepNetwork]:
        """See :meth:`EarlyExitEntry.attack`."""
        return uniform_exits(self.recipe)


@dataclass(frozen=True)
class HardenedCaptions(CaptionEntry):
    """A captioner hardened against NICGSlowDown: it ends where it should on attacked pictures too.

    Attributes:
        base: whose weights training starts from.
    """

    base: CaptionEntry = field(kw_only=True)
    recipe: HardCaptionRecipe = field(kw_only=True)

    def start(self, vocabulary: Vocabulary) -> Captioner:
        """See :meth:`CaptionEntry.start`."""
        return _trained(self.base, self.build(vocabulary))

    def attack(self) -> BatchAttack[Captioner]:
        """See :meth:`CaptionEntry.attack`."""
        return delayed_end(self.recipe)


@dataclass(frozen=True)
class HardenedDetector(DetectorEntry):
    """A detector hardened against Overload: it sees what is there in attacked pictures too, and no more.

    Attributes:
        base: whose weights training starts from.
    """

    base: DetectorEntry = field(kw_only=True)
    recipe: HardDetectionRecipe = field(kw_only=True)

    def start(self) -> Detector:
        """See :meth:`DetectorEntry.start`."""
        return _trained(self.base, self.build())

    def attack(self) -> BatchAttack[Detector]:
        """See :meth:`DetectorEntry.attack`."""
        return many_boxes(self.recipe)


def _trained(base: Entry, model: Model) -> Model:
    """Return ``model`` with the weights of ``base``.

    Raises:
        UsageError: if they are missing; it says how to train them.
    """
    base.card()
    return load_half(model, base.folder() / f"{base.name}.safetensors", base.name)


def _exits(name: str, recipe: HardRecipe) -> HardenedExits:
    base = EARLY_EXITS[name]
    return HardenedExits(
        name + HARDENED_SUFFIX,
        base.backbone,
        base.cuts,
        base.input_shape,
        base.num_classes,
        base.data,
        base=base,
        recipe=recipe,
        judges=(DeepSloth(eps=8 * LEVEL), DeepSloth(eps=16 * LEVEL)),
    )


def _captions(name: str, recipe: HardCaptionRecipe) -> HardenedCaptions:
    base = CAPTIONERS[name]
    judges = (NICGSlowDown(eps=8 * LEVEL, steps=100),)
    return HardenedCaptions(
        name + HARDENED_SUFFIX, base.build, base.data, base=base, recipe=recipe, judges=judges, limit=50
    )


HARDENED: dict[str, EarlyExitEntry | CaptionEntry | DetectorEntry] = {
    entry.name: entry
    for entry in (
        _exits(
            "sdn-digits",
            HardRecipe(epochs=60, batch_size=64, pad=2, flip=False, supervision=1.0, eps=16 * LEVEL, attack_steps=10),
        ),
        _exits("sdn-resnet56-cifar10", HardRecipe(epochs=6, learning_rate=0.03, supervision=1.0, attack_steps=5)),
        _captions(
            "captioner-scenes-gru", HardCaptionRecipe(epochs=1, learning_rate=1e-3, attack_steps=3, autocast=False)
        ),
        _captions("captioner-scenes-lstm", HardCaptionRecipe(epochs=1, learning_rate=1e-3, attack_steps=3)),
        HardenedDetector(
            "detector-scenes" + HARDENED_SUFFIX,
            base=DETECTORS["detector-scenes"],
            recipe=HardDetectionRecipe(epochs=8, learning_rate=1e-3),
            judges=(Overload(eps=8 * LEVEL),),
            limit=50,
        ),
    )
}
