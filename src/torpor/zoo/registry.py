"""The zoo's targets by name; each is imported on first use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from torpor.targets.base import Target
from torpor.zoo.entry import ZooEntry

if TYPE_CHECKING:
    from torpor.targets.early_exit.target import EarlyExitTarget
    from torpor.targets.spiking.target import SpikingTarget
    from torpor.targets.zero_skipping.target import ZeroSkippingTarget


class Zoo(Mapping[str, ZooEntry]):
    """Entries by name, each imported when it is asked for.

    Args:
        homes: of each name, the module and the variable with a mapping that holds the entry: ``"pkg.module:NAME"``.

    >>> ZOO["sdn-digits"].ships
    True
    """

    def __init__(self, homes: Mapping[str, str]) -> None:
        self._homes = homes

    def __getitem__(self, name: str) -> ZooEntry:
        module, _, variable = self._homes[name].partition(":")
        entry = getattr(importlib.import_module(module), variable)[name]
        assert isinstance(entry, ZooEntry)
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)


ZOO = Zoo(
    {
        "sdn-digits": "torpor.zoo.early_exits:EARLY_EXITS",
        "sdn-resnet56-cifar10": "torpor.zoo.early_exits:EARLY_EXITS",
        "sdn-vgg16-cifar10": "torpor.zoo.early_exits:EARLY_EXITS",
        "act-digits": "torpor.zoo.classifiers:CLASSIFIERS",
        "cascade-digits": "torpor.zoo.cascades:CASCADES",
        "captioner-scenes-gru": "torpor.zoo.captioning.registry:CAPTIONERS",
        "captioner-scenes-lstm": "torpor.zoo.captioning.registry:CAPTIONERS",
        "translator-multi30k": "torpor.zoo.language.registry:LANGUAGE_MODELS",
        "lm-multi30k": "torpor.zoo.language.registry:LANGUAGE_MODELS",
        "exits-multi30k": "torpor.zoo.language.exiting:EXITING",
        "speculative-multi30k": "torpor.zoo.language.speculative:SPECULATIVE",
        "moe-multi30k": "torpor.zoo.language.experts:EXPERTS",
        "moe-batch-multi30k": "torpor.zoo.language.expert_batch:EXPERT_BATCHES",
        "speller": "torpor.zoo.language.registry:LANGUAGE_MODELS",
        "eetext-multi30k": "torpor.zoo.text.registry:TEXT_CLASSIFIERS",
        "router-multi30k": "torpor.zoo.text.routers:ROUTERS",
        "skim-multi30k": "torpor.zoo.text.registry:TEXT_CLASSIFIERS",
        "speech-digits": "torpor.zoo.speech.registry:SPEECH",
        "tts-digits": "torpor.zoo.speech.synthesis:SYNTHESIS",
        "detector-scenes": "torpor.zoo.detection.registry:DETECTORS",
        "tracker-scenes": "torpor.zoo.tracking.registry:TRACKERS",
        "snn-digits": "torpor.zoo.classifiers:CLASSIFIERS",
        "sparse-digits": "torpor.zoo.sparse:SPARSE",
        "sparse-resnet56-cifar10": "torpor.zoo.sparse:SPARSE",
        "avit-digits": "torpor.zoo.classifiers:CLASSIFIERS",
        "adavit-digits": "torpor.zoo.classifiers:CLASSIFIERS",
        "ats-digits": "torpor.zoo.classifiers:CLASSIFIERS",
        "avit-cifar10": "torpor.zoo.classifiers:CLASSIFIERS",
        "adavit-cifar10": "torpor.zoo.classifiers:CLASSIFIERS",
        "ats-cifar10": "torpor.zoo.classifiers:CLASSIFIERS",
        "odenet-digits": "torpor.zoo.classifiers:CLASSIFIERS",
        "skipnet-digits": "torpor.zoo.classifiers:CLASSIFIERS",
        "skipnet-cifar10": "torpor.zoo.classifiers:CLASSIFIERS",
        "int8-vit-digits": "torpor.zoo.mixed_precision:MIXED_PRECISION",
        "int8-vit-cifar10": "torpor.zoo.mixed_precision:MIXED_PRECISION",
        "sdn-digits-hardened": "torpor.zoo.hardened:HARDENED",
        "sdn-digits-neo-kd": "torpor.zoo.hardened:HARDENED",
        "sdn-resnet56-cifar10-hardened": "torpor.zoo.hardened:HARDENED",
        "act-digits-hardened": "torpor.zoo.hardened:HARDENED",
        "captioner-scenes-gru-hardened": "torpor.zoo.hardened:HARDENED",
        "captioner-scenes-lstm-hardened": "torpor.zoo.hardened:HARDENED",
        "detector-scenes-hardened": "torpor.zoo.hardened:HARDENED",
    }
)


def _loads(name: str, what: str) -> Callable[[], Target]:
    """Return the function that loads an entry, as entry points and users call it.

    Args:
        name: of the entry; the function has the same with underscores.
        what: its docstring.
    """

    def load() -> Target:
        return ZOO[name].load()

    load.__name__ = load.__qualname__ = name.replace("-", "_")
    load.__doc__ = what
    return load


def sdn_digits() -> EarlyExitTarget:
    """Load the Shallow-Deep Network on handwritten digits."""
    from torpor.zoo.early_exits import EARLY_EXITS

    return EARLY_EXITS["sdn-digits"].load()


def sdn_resnet56_cifar10() -> EarlyExitTarget:
    """Load the Shallow-Deep ResNet-56 on CIFAR-10."""
    from torpor.zoo.early_exits import EARLY_EXITS

    return EARLY_EXITS["sdn-resnet56-cifar10"].load()


def sdn_vgg16_cifar10() -> EarlyExitTarget:
    """Load the Shallow-Deep VGG-16 on CIFAR-10 from the user's cache folder."""
    from torpor.zoo.early_exits import EARLY_EXITS

    return EARLY_EXITS["sdn-vgg16-cifar10"].load()


act_digits = _loads("act-digits", "Load the network on handwritten digits that halts.")
cascade_digits = _loads("cascade-digits", "Load the cascade of three classifiers of handwritten digits.")
captioner_scenes_gru = _loads("captioner-scenes-gru", "Load the captioner of a MobileNet-like encoder and a GRU.")
captioner_scenes_lstm = _loads("captioner-scenes-lstm", "Load the captioner of a ResNet-like encoder and an LSTM.")
translator_multi30k = _loads("translator-multi30k", "Load the translator from English to German.")
lm_multi30k = _loads("lm-multi30k", "Load the language model of image descriptions.")
exits_multi30k = _loads("exits-multi30k", "Load the language model of image descriptions whose tokens leave early.")
speculative_multi30k = _loads(
    "speculative-multi30k", "Load the language model of image descriptions, and what drafts for it."
)
moe_multi30k = _loads(
    "moe-multi30k", "Load the mixture of experts that reads image descriptions, its experts on eight devices."
)
moe_batch_multi30k = _loads(
    "moe-batch-multi30k",
    "Load the mixture of experts that reads image descriptions, in a batch with those of other users.",
)
speller = _loads("speller", "Load the model that writes out numbers.")
eetext_multi30k = _loads("eetext-multi30k", "Load the encoder with exits that counts the people in captions.")
router_multi30k = _loads(
    "router-multi30k", "Load the router that sends captions to a cheap reader or to an expensive encoder."
)
skim_multi30k = _loads("skim-multi30k", "Load the encoder that skims tokens and counts the people in captions.")
speech_digits = _loads("speech-digits", "Load the recognizer of spoken digits.")


def speech_digits_features() -> Target:
    """Load the recognizer of spoken digits without its feature extractor."""
    from torpor.targets.decoder.generation.dense import DenseGenerationTarget
    from torpor.targets.decoder.generation.features import reading_features

    target = ZOO["speech-digits"].load()
    assert isinstance(target, DenseGenerationTarget)
    return reading_features(target)


tts_digits = _loads("tts-digits", "Load the synthesizer of spoken digits.")
detector_scenes = _loads("detector-scenes", "Load the detector of digits and CIFAR-10 objects in generated scenes.")
tracker_scenes = _loads("tracker-scenes", "Load the tracker of digits and CIFAR-10 objects in generated videos.")


def snn_digits() -> SpikingTarget:
    """Load the network of spiking neurons on handwritten digits."""
    from torpor.targets.spiking.target import SpikingTarget

    target = ZOO["snn-digits"].load()
    assert isinstance(target, SpikingTarget)
    return target


def sparse_digits() -> ZeroSkippingTarget:
    """Load the network on handwritten digits, without exits, on an accelerator that skips zeros."""
    from torpor.zoo.sparse import SPARSE

    return SPARSE["sparse-digits"].load()


def sparse_resnet56_cifar10() -> ZeroSkippingTarget:
    """Load the ResNet-56 on CIFAR-10, without exits, on an accelerator that skips zeros."""
    from torpor.zoo.sparse import SPARSE

    return SPARSE["sparse-resnet56-cifar10"].load()


avit_digits = _loads("avit-digits", "Load the vision transformer on handwritten digits whose patches halt.")
adavit_digits = _loads(
    "adavit-digits", "Load the vision transformer on handwritten digits with policies for patches, heads and layers."
)
ats_digits = _loads(
    "ats-digits", "Load the vision transformer on handwritten digits that samples patches by significance."
)
avit_cifar10 = _loads("avit-cifar10", "Load the vision transformer on CIFAR-10 whose patches halt.")
adavit_cifar10 = _loads(
    "adavit-cifar10", "Load the vision transformer on CIFAR-10 with policies for patches, heads and layers."
)
ats_cifar10 = _loads("ats-cifar10", "Load the vision transformer on CIFAR-10 that samples patches by significance.")
odenet_digits = _loads("odenet-digits", "Load the neural ordinary differential equation on handwritten digits.")
skipnet_digits = _loads("skipnet-digits", "Load the network on handwritten digits that skips layers.")
skipnet_cifar10 = _loads("skipnet-cifar10", "Load the ResNet-38 on CIFAR-10 that skips layers.")
int8_vit_digits = _loads(
    "int8-vit-digits",
    "Load the vision transformer on handwritten digits that computes in 8 bits, outlier columns beside it.",
)
int8_vit_cifar10 = _loads(
    "int8-vit-cifar10", "Load the vision transformer on CIFAR-10 that computes in 8 bits, outlier columns beside it."
)
sdn_digits_hardened = _loads(
    "sdn-digits-hardened", "Load the network on handwritten digits that was trained on DeepSloth's images."
)
sdn_digits_neo_kd = _loads(
    "sdn-digits-neo-kd",
    "Load the network on handwritten digits that was trained on DeepSloth's images, its exits by one another.",
)
sdn_resnet56_cifar10_hardened = _loads(
    "sdn-resnet56-cifar10-hardened", "Load the ResNet-56 that was trained on DeepSloth's images."
)
act_digits_hardened = _loads(
    "act-digits-hardened", "Load the network that halts and was trained on images that were to keep it going."
)
captioner_scenes_gru_hardened = _loads(
    "captioner-scenes-gru-hardened", "Load the GRU captioner that was trained on NICGSlowDown's images."
)
captioner_scenes_lstm_hardened = _loads(
    "captioner-scenes-lstm-hardened", "Load the LSTM captioner that was trained on NICGSlowDown's images."
)
detector_scenes_hardened = _loads(
    "detector-scenes-hardened", "Load the detector that was trained on Overload's images from the user's cache folder."
)
