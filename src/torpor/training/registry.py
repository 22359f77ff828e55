"""What trains each target of the zoo, by the target's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from torpor.training.captioning import CaptionRecipe, CaptionTrainer
from torpor.training.classifiers import ClassifierRecipe, ClassifierTrainer, adamw
from torpor.training.detection import DetectionRecipe, DetectorTrainer
from torpor.training.distilling import DISTILLERS
from torpor.training.drafting import DraftTrainer
from torpor.training.early_exit import EarlyExitTrainer, Recipe
from torpor.training.exiting import ExitRecipe, ExitTrainer
from torpor.training.expert_batch import ExpertBatchTrainer
from torpor.training.experts import ExpertRecipe, ExpertTrainer
from torpor.training.halting import HaltingDepthRecipe, halting_losses
from torpor.training.hardening import HARDENERS
from torpor.training.language import LanguageRecipe, LanguageTrainer
from torpor.training.loop import LoopRecipe
from torpor.training.mixed_precision import ThresholdRecipe, ThresholdTrainer
from torpor.training.ode import solved_cross_entropy
from torpor.training.routing import RouterRecipe, RouterTrainer
from torpor.training.skipping import SkipRecipe, TaughtSkipRecipe, TaughtSkipTrainer, skip_losses
from torpor.training.sparse import SparseTrainer
from torpor.training.speech import SpeechRecipe, SpeechTrainer
from torpor.training.spiking import SpikingRecipe, spiking_loss
from torpor.training.synthesis import SynthesisRecipe, SynthesisTrainer
from torpor.training.texts import SkimmingRecipe, TextExitRecipe, TextTrainer, every_exit, kept_tokens
from torpor.training.tracking import TrackerTrainer
from torpor.training.trainer import Trainer
from torpor.training.vit import PatchHaltingRecipe, PolicyRecipe, TransformerRecipe, adaptive, backbone
from torpor.zoo.captioning.registry import CAPTIONERS
from torpor.zoo.cascades import CASCADES
from torpor.zoo.classifiers import CLASSIFIERS
from torpor.zoo.detection.registry import DETECTORS
from torpor.zoo.early_exits import EARLY_EXITS
from torpor.zoo.language.exiting import EXITING
from torpor.zoo.language.expert_batch import EXPERT_BATCHES
from torpor.zoo.language.experts import EXPERTS
from torpor.zoo.language.registry import LANGUAGE_MODELS
from torpor.zoo.language.speculative import SPECULATIVE
from torpor.zoo.language.tokenizer import BYTES_ONLY
from torpor.zoo.mixed_precision import MIXED_PRECISION
from torpor.zoo.sparse import SPARSE
from torpor.zoo.speech.registry import SPEECH
from torpor.zoo.speech.synthesis import SYNTHESIS
from torpor.zoo.text.registry import TEXT_CLASSIFIERS
from torpor.zoo.text.routers import ROUTERS
from torpor.zoo.tracking.registry import TRACKERS

EntryT = TypeVar("EntryT")
RecipeT = TypeVar("RecipeT")

_EARLY_EXITS = {
    "sdn-digits": Recipe(epochs=80, batch_size=64, pad=2, flip=False),
    "sdn-resnet56-cifar10": Recipe(epochs=60, cutout=12, sizes=(20, 26, 32)),
    "sdn-vgg16-cifar10": Recipe(epochs=30, cutout=12, sizes=(20, 26, 32)),
}
_ODE_NETS = {
    "odenet-digits": ClassifierRecipe(
        epochs=60, batch_size=64, learning_rate=3e-3, weight_decay=1e-4, label_smoothing=0, pad=2, flip=False
    )
}
_SKIPNETS = {
    "skipnet-digits": SkipRecipe(epochs=30, batch_size=64, pad=2, flip=False),
}
_TAUGHT_SKIPNETS = {
    "skipnet-cifar10": TaughtSkipRecipe(
        epochs=18,
        learning_rate=0.05,
        goal=0.76,
        ramp=(0.0, 0.3),
        scatter_weight=10.0,
        label_smoothing=0,
        sizes=(24, 32, 32),
        untaught=SkipRecipe(epochs=24, learning_rate=0.08, goal=0.7, ramp=(0.0, 0.3), sizes=(24, 32, 32)),
    ),
}
_CASCADES = {"cascade-digits": Recipe(epochs=60, batch_size=64, pad=2, flip=False, head_learning_rate=1e-2)}
_HALTING = {"act-digits": HaltingDepthRecipe(epochs=40, batch_size=64, pad=2, flip=False, ponder_weight=0.03)}
_CAPTIONERS = {
    "captioner-scenes-gru": CaptionRecipe(epochs=6, autocast=False),
    "captioner-scenes-lstm": CaptionRecipe(epochs=9),
}
_LANGUAGE = {
    "translator-multi30k": LanguageRecipe(epochs=30, vocab_size=6000, dropout=0.3, rough_epochs=6, wrong=0.15),
    "lm-multi30k": LanguageRecipe(
        epochs=10,
        vocab_size=4000,
        batch_tokens=2048,
        weight_decay=0.1,
        dropout=0.2,
        label_smoothing=0,
        rough_epochs=3,
        wrong=0.15,
        repeated=0.5,
    ),
    "speller": LanguageRecipe(
        epochs=6,
        vocab_size=BYTES_ONLY,
        batch_tokens=1536,
        learning_rate=3e-3,
        dropout=0,
        label_smoothing=0,
        bfloat16=False,
    ),
}
_DRAFTS = {
    "speculative-multi30k": LanguageRecipe(
        epochs=3,
        vocab_size=4000,
        batch_tokens=1024,
        learning_rate=3e-3,
        dropout=0,
        label_smoothing=0,
        bfloat16=False,
    )
}
_EXPERTS = {
    "moe-multi30k": ExpertRecipe(
        epochs=12,
        vocab_size=2000,
        batch_tokens=1536,
        learning_rate=3e-3,
        weight_decay=0.05,
        dropout=0,
        label_smoothing=0,
        bfloat16=False,
    )
}
_SPEECH = {"speech-digits": SpeechRecipe(epochs=40, learning_rate=2e-3, label_smoothing=0)}
_SYNTHESIS = {"tts-digits": SynthesisRecipe(epochs=16)}
_DETECTORS = {"detector-scenes": DetectionRecipe(epochs=16)}
_TRACKERS = {"tracker-scenes": DetectionRecipe(epochs=10, batch_size=64)}
_SPIKING = {
    "snn-digits": SpikingRecipe(
        epochs=40,
        batch_size=64,
        learning_rate=5e-3,
        weight_decay=1e-3,
        label_smoothing=0,
        pad=2,
        flip=False,
        activity=1.0,
    )
}
_TRANSFORMERS = {
    "ats-cifar10": backbone("ats-cifar10", TransformerRecipe(epochs=12, sizes=(20, 26, 32))),
    "ats-digits": backbone(
        "ats-digits", TransformerRecipe(epochs=40, batch_size=64, learning_rate=2e-3, pad=2, flip=False)
    ),
    "avit-cifar10": adaptive("avit-cifar10", PatchHaltingRecipe(epochs=10), base="ats-cifar10"),
    "avit-digits": adaptive(
        "avit-digits", PatchHaltingRecipe(epochs=40, batch_size=64, learning_rate=2e-3, pad=2, flip=False, depth=2.5)
    ),
    "adavit-digits": adaptive(
        "adavit-digits",
        PolicyRecipe(epochs=30, batch_size=64, learning_rate=1e-3, pad=2, flip=False),
        base="ats-digits",
    ),
    "adavit-cifar10": adaptive("adavit-cifar10", PolicyRecipe(epochs=2), base="ats-cifar10"),
}
_TEXTS = {
    "eetext-multi30k": TextTrainer(TEXT_CLASSIFIERS["eetext-multi30k"], TextExitRecipe(epochs=6), every_exit),
    "skim-multi30k": TextTrainer(TEXT_CLASSIFIERS["skim-multi30k"], SkimmingRecipe(epochs=6), kept_tokens),
}
_MIXED_PRECISION = {"int8-vit-digits": ThresholdRecipe(), "int8-vit-cifar10": ThresholdRecipe()}


def _each(
    make: Callable[[EntryT, RecipeT], Trainer], entries: Mapping[str, EntryT], recipes: Mapping[str, RecipeT]
) -> dict[str, Trainer]:
    """Return what trains each entry that has a recipe."""
    return {name: make(entries[name], recipe) for name, recipe in recipes.items()}


def _all(
    make: Callable[[EntryT, RecipeT], Trainer], entries: Mapping[str, EntryT], recipe: RecipeT
) -> dict[str, Trainer]:
    """Return what trains every entry by the one recipe."""
    return _each(make, entries, dict.fromkeys(entries, recipe))


_SOLVED = partial(ClassifierTrainer, losses=solved_cross_entropy, optimizers=adamw)
_SKIPPED = partial(ClassifierTrainer, losses=skip_losses)
_TAUGHT_SKIPPED = partial(TaughtSkipTrainer, losses=skip_losses, base=EARLY_EXITS["sdn-resnet56-cifar10"])
_HALTED = partial(ClassifierTrainer, losses=halting_losses)
_SPIKED = partial(ClassifierTrainer, losses=spiking_loss, optimizers=adamw)

TRAINERS: dict[str, Trainer] = {
    **_each(EarlyExitTrainer, EARLY_EXITS, _EARLY_EXITS),
    **_each(_SOLVED, CLASSIFIERS, _ODE_NETS),
    **_each(_SKIPPED, CLASSIFIERS, _SKIPNETS),
    **_each(_TAUGHT_SKIPPED, CLASSIFIERS, _TAUGHT_SKIPNETS),
    **_each(EarlyExitTrainer, CASCADES, _CASCADES),
    **_each(_HALTED, CLASSIFIERS, _HALTING),
    **_each(CaptionTrainer, CAPTIONERS, _CAPTIONERS),
    **_each(LanguageTrainer, LANGUAGE_MODELS, _LANGUAGE),
    **_each(DraftTrainer, SPECULATIVE, _DRAFTS),
    **_all(ExitTrainer, EXITING, ExitRecipe(epochs=2)),
    **_each(ExpertTrainer, EXPERTS, _EXPERTS),
    **_all(ExpertBatchTrainer, EXPERT_BATCHES, LoopRecipe(epochs=0)),
    **_each(SpeechTrainer, SPEECH, _SPEECH),
    **_each(SynthesisTrainer, SYNTHESIS, _SYNTHESIS),
    **_each(DetectorTrainer, DETECTORS, _DETECTORS),
    **_each(TrackerTrainer, TRACKERS, _TRACKERS),
    **_each(_SPIKED, CLASSIFIERS, _SPIKING),
    **{name: SparseTrainer(entry) for name, entry in SPARSE.items()},
    **_TRANSFORMERS,
    **_TEXTS,
    **_all(RouterTrainer, ROUTERS, RouterRecipe(epochs=4)),
    **_each(ThresholdTrainer, MIXED_PRECISION, _MIXED_PRECISION),
    **HARDENERS,
    **DISTILLERS,
}
