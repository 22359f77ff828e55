"""The zoo's language models by name: architecture, data, and where the weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from torpor.data.multi30k import multi30k
from torpor.data.sets import DataSet
from torpor.data.texts import Beginnings
from torpor.targets.decoder.generation import GenerationTarget, load_pretrained
from torpor.zoo.entry import ZooEntry
from torpor.zoo.language.architectures import Builder, language_model, speller, translator
from torpor.zoo.language.numbers import Spellings
from torpor.zoo.language.tokenizer import Kind

PROMPT_WORDS = 4


@dataclass(frozen=True)
class LanguageEntry(ZooEntry):
    """A language model that torpor can build and train.

    Attributes:
        kind: encoder-decoder, whose output answers the whole input, or decoder-only, whose output continues it.
        data: makes the data set from the user's ``--data-dir``.
        build: makes the untrained model from its tokenizer and a dropout rate; caps and decoding are the deployed ones.
    """

    kind: Kind
    data: Callable[[Path | None], DataSet]
    build: Builder

    @override
    def load(self, folder: Path | None = None) -> GenerationTarget:
        self.card(folder)
        return load_pretrained(str((folder or self.folder()) / self.name), data=self.data)


def _english_to_german(folder: Path | None) -> DataSet:
    return multi30k(folder, "en", "de")


def english_beginnings(folder: Path | None) -> Beginnings:
    """Return the first words of English captions, to be continued."""
    return Beginnings(multi30k(folder, "en", None), PROMPT_WORDS)


def _spellings(folder: Path | None) -> DataSet:
    return Spellings()


LANGUAGE_MODELS: dict[str, LanguageEntry] = {
    entry.name: entry
    for entry in (
        LanguageEntry("translator-multi30k", "encoder-decoder", _english_to_german, translator),
        LanguageEntry("lm-multi30k", "decoder-only", english_beginnings, language_model),
        LanguageEntry("speller", "encoder-decoder", _spellings, speller),
    )
}
