"""Anything that transformers can generate with: language models, translators, captioners, speech recognizers."""

from torpor.targets.decoder.generation.features import reading_features
from torpor.targets.decoder.generation.loading import from_transformers, load_pretrained
from torpor.targets.decoder.generation.target import GenerationTarget

__all__ = ["GenerationTarget", "from_transformers", "load_pretrained", "reading_features"]
