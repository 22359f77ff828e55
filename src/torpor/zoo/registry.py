"""The zoo's targets by name."""

from __future__ import annotations

from torpor.targets.base import Target
from torpor.targets.early_exit import EarlyExitTarget
from torpor.targets.generation.dense import DenseGenerationTarget
from torpor.targets.generation.features import reading_features
from torpor.zoo.captioning.registry import CAPTIONERS
from torpor.zoo.detection.registry import DETECTORS
from torpor.zoo.early_exits import EARLY_EXITS
from torpor.zoo.entry import Entry
from torpor.zoo.hardened import HARDENED
from torpor.zoo.language.registry import LANGUAGE_MODELS
from torpor.zoo.speech.registry import SPEECH
from torpor.zoo.tracking.registry import TRACKERS

ZOO: dict[str, Entry] = {
    **EARLY_EXITS,
    **CAPTIONERS,
    **LANGUAGE_MODELS,
    **SPEECH,
    **DETECTORS,
    **TRACKERS,
    **HARDENED,
}


def sdn_digits() -> EarlyExitTarget:
    """Load the Shallow-Deep Network on handwritten digits."""
    return EARLY_EXITS["sdn-digits"].load()


def sdn_resnet56_cifar10() -> EarlyExitTarget:
    """Load the Shallow-Deep ResNet-56 on CIFAR-10."""
    return EARLY_EXITS["sdn-resnet56-cifar10"].load()


def sdn_vgg16_cifar10() -> EarlyExitTarget:
    """Load the Shallow-Deep VGG-16 on CIFAR-10 from the user's cache folder."""
    return EARLY_EXITS["sdn-vgg16-cifar10"].load()


def captioner_scenes_gru() -> Target:
    """Load the captioner of a MobileNet-like encoder and a GRU."""
    return CAPTIONERS["captioner-scenes-gru"].load()


def captioner_scenes_lstm() -> Target:
    """Load the captioner of a ResNet-like encoder and an LSTM."""
    return CAPTIONERS["captioner-scenes-lstm"].load()


def translator_multi30k() -> Target:
    """Load the translator from English to German."""
    return LANGUAGE_MODELS["translator-multi30k"].load()


def lm_multi30k() -> Target:
    """Load the language model of picture descriptions."""
    return LANGUAGE_MODELS["lm-multi30k"].load()


def speller() -> Target:
    """Load the model that writes out numbers."""
    return LANGUAGE_MODELS["speller"].load()


def speech_digits() -> Target:
    """Load the recognizer of spoken digits."""
    return SPEECH["speech-digits"].load()


def speech_digits_features() -> Target:
    """Load the recognizer of spoken digits behind its feature extractor."""
    target = SPEECH["speech-digits"].load()
    assert isinstance(target, DenseGenerationTarget)
    return reading_features(target)


def detector_scenes() -> Target:
    """Load the detector of digits and CIFAR-10 objects in generated scenes."""
    return DETECTORS["detector-scenes"].load()


def tracker_scenes() -> Target:
    """Load the tracker of digits and CIFAR-10 objects in generated videos."""
    return TRACKERS["tracker-scenes"].load()


def sdn_digits_hardened() -> Target:
    """Load the network on handwritten digits that was trained on DeepSloth's images."""
    return HARDENED["sdn-digits-hardened"].load()


def sdn_resnet56_cifar10_hardened() -> Target:
    """Load the ResNet-56 that was trained on DeepSloth's images."""
    return HARDENED["sdn-resnet56-cifar10-hardened"].load()


def captioner_scenes_gru_hardened() -> Target:
    """Load the GRU captioner that was trained on NICGSlowDown's pictures."""
    return HARDENED["captioner-scenes-gru-hardened"].load()


def captioner_scenes_lstm_hardened() -> Target:
    """Load the LSTM captioner that was trained on NICGSlowDown's pictures."""
    return HARDENED["captioner-scenes-lstm-hardened"].load()


def detector_scenes_hardened() -> Target:
    """Load the detector that was trained on Overload's pictures from the user's cache folder."""
    return HARDENED["detector-scenes-hardened"].load()
