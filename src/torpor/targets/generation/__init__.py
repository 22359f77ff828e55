"""Anything that transformers can generate with: language models, translators, captioners, speech recognizers."""

from torpor.targets.generation.features import reading_features
from torpor.targets.generation.loading import from_transformers, load_pretrained
from torpor.targets.generation.target import GenerationTarget

__all__ = ["GenerationTarget", "from_transformers", "load_pretrained", "reading_features"]
