"""The zoo's targets by name; each is imported on first use."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
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
        "sdn-resnet56-cifar10-hardened": "torpor.zoo.hardened:HARDENED",
        "act-digits-hardened": "torpor.zoo.hardened:HARDENED",
        "captioner-scenes-gru-hardened": "torpor.zoo.hardened:HARDENED",
        "captioner-scenes-lstm-hardened": "torpor.zoo.hardened:HARDENED",
        "detector-scenes-hardened": "torpor.zoo.hardened:HARDENED",
    }
)


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


def act_digits() -> Target:
    """Load the network on handwritten digits that halts."""
    return ZOO["act-digits"].load()


def cascade_digits() -> Target:
    """Load the cascade of three classifiers of handwritten digits."""
    return ZOO["cascade-digits"].load()


def captioner_scenes_gru() -> Target:
    """Load the captioner of a MobileNet-like encoder and a GRU."""
    return ZOO["captioner-scenes-gru"].load()


def captioner_scenes_lstm() -> Target:
    """Load the captioner of a ResNet-like encoder and an LSTM."""
    return ZOO["captioner-scenes-lstm"].load()


def translator_multi30k() -> Target:
    """Load the translator from English to German."""
    return ZOO["translator-multi30k"].load()


def lm_multi30k() -> Target:
    """Load the language model of image descriptions."""
    return ZOO["lm-multi30k"].load()


def exits_multi30k() -> Target:
    """Load the language model of image descriptions whose tokens leave early."""
    return ZOO["exits-multi30k"].load()


def speculative_multi30k() -> Target:
    """Load the language model of image descriptions, and what drafts for it."""
    return ZOO["speculative-multi30k"].load()


def moe_multi30k() -> Target:
    """Load the mixture of experts that reads image descriptions, its experts on eight devices."""
    return ZOO["moe-multi30k"].load()


def moe_batch_multi30k() -> Target:
    """Load the mixture of experts that reads image descriptions, in a batch with those of other users."""
    return ZOO["moe-batch-multi30k"].load()


def speller() -> Target:
    """Load the model that writes out numbers."""
    return ZOO["speller"].load()


def eetext_multi30k() -> Target:
    """Load the encoder with exits that counts the people in captions."""
    return ZOO["eetext-multi30k"].load()


def router_multi30k() -> Target:
    """Load the router that sends captions to a cheap reader or to an expensive encoder."""
    return ZOO["router-multi30k"].load()


def skim_multi30k() -> Target:
    """Load the encoder that skims tokens and counts the people in captions."""
    return ZOO["skim-multi30k"].load()


def speech_digits() -> Target:
    """Load the recognizer of spoken digits."""
    return ZOO["speech-digits"].load()


def speech_digits_features() -> Target:
    """Load the recognizer of spoken digits without its feature extractor."""
    from torpor.targets.decoder.generation.dense import DenseGenerationTarget
    from torpor.targets.decoder.generation.features import reading_features

    target = ZOO["speech-digits"].load()
    assert isinstance(target, DenseGenerationTarget)
    return reading_features(target)


def tts_digits() -> Target:
    """Load the synthesizer of spoken digits."""
    return ZOO["tts-digits"].load()


def detector_scenes() -> Target:
    """Load the detector of digits and CIFAR-10 objects in generated scenes."""
    return ZOO["detector-scenes"].load()


def tracker_scenes() -> Target:
    """Load the tracker of digits and CIFAR-10 objects in generated videos."""
    return ZOO["tracker-scenes"].load()


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


def avit_digits() -> Target:
    """Load the vision transformer on handwritten digits whose patches halt."""
    return ZOO["avit-digits"].load()


def adavit_digits() -> Target:
    """Load the vision transformer on handwritten digits with policies for patches, heads and layers."""
    return ZOO["adavit-digits"].load()


def ats_digits() -> Target:
    """Load the vision transformer on handwritten digits that samples patches by significance."""
    return ZOO["ats-digits"].load()


def avit_cifar10() -> Target:
    """Load the vision transformer on CIFAR-10 whose patches halt."""
    return ZOO["avit-cifar10"].load()


def adavit_cifar10() -> Target:
    """Load the vision transformer on CIFAR-10 with policies for patches, heads and layers."""
    return ZOO["adavit-cifar10"].load()


def ats_cifar10() -> Target:
    """Load the vision transformer on CIFAR-10 that samples patches by significance."""
    return ZOO["ats-cifar10"].load()


def odenet_digits() -> Target:
    """Load the neural ordinary differential equation on handwritten digits."""
    return ZOO["odenet-digits"].load()


def skipnet_digits() -> Target:
    """Load the network on handwritten digits that skips layers."""
    return ZOO["skipnet-digits"].load()


def skipnet_cifar10() -> Target:
    """Load the ResNet-38 on CIFAR-10 that skips layers."""
    return ZOO["skipnet-cifar10"].load()


def int8_vit_digits() -> Target:
    """Load the vision transformer on handwritten digits that computes in 8 bits, outlier columns beside it."""
    return ZOO["int8-vit-digits"].load()


def int8_vit_cifar10() -> Target:
    """Load the vision transformer on CIFAR-10 that computes in 8 bits, outlier columns beside it."""
    return ZOO["int8-vit-cifar10"].load()


def sdn_digits_hardened() -> Target:
    """Load the network on handwritten digits that was trained on DeepSloth's images."""
    return ZOO["sdn-digits-hardened"].load()


def sdn_resnet56_cifar10_hardened() -> Target:
    """Load the ResNet-56 that was trained on DeepSloth's images."""
    return ZOO["sdn-resnet56-cifar10-hardened"].load()


def act_digits_hardened() -> Target:
    """Load the network that halts and was trained on images that were to keep it going."""
    return ZOO["act-digits-hardened"].load()


def captioner_scenes_gru_hardened() -> Target:
    """Load the GRU captioner that was trained on NICGSlowDown's images."""
    return ZOO["captioner-scenes-gru-hardened"].load()


def captioner_scenes_lstm_hardened() -> Target:
    """Load the LSTM captioner that was trained on NICGSlowDown's images."""
    return ZOO["captioner-scenes-lstm-hardened"].load()


def detector_scenes_hardened() -> Target:
    """Load the detector that was trained on Overload's images from the user's cache folder."""
    return ZOO["detector-scenes-hardened"].load()
