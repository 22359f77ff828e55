"""The zoo's language models by name: architecture, data, recipe, and where the weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torpor.core.errors import DataError
from torpor.data.sets import DataSet
from torpor.data.texts import Beginnings, ParquetTexts
from torpor.targets.generation import GenerationTarget, load_pretrained
from torpor.zoo.entry import Entry, Progress
from torpor.zoo.language.architectures import language_model, speller, translator
from torpor.zoo.language.numbers import Spellings
from torpor.zoo.language.tokenizer import BYTES_ONLY, Kind
from torpor.zoo.recipes.language import Builder, LanguageRecipe, train_language

PROMPT_WORDS = 4


@dataclass(frozen=True)
class LanguageEntry(Entry):
    """A language model that torpor can build and train.

    Attributes:
        kind: encoder-decoder, whose output answers the whole input, or decoder-only, whose output continues it.
        data: makes the data set from the user's ``--data-dir``.
        build: makes the untrained model from its tokenizer and a dropout rate; caps and decoding are the deployed ones.
        recipe: how the weights were trained.
    """

    kind: Kind
    data: Callable[[Path | None], DataSet]
    build: Builder
    recipe: LanguageRecipe = field(kw_only=True)

    def load(self, folder: Path | None = None) -> GenerationTarget:
        """See :meth:`Entry.load`."""
        self.card(folder)
        return load_pretrained(str((folder or self.folder()) / self.name), data=self.data)

    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        """See :meth:`Entry.fit`."""
        return train_language(self, self.data(data_dir), folder, device=device, progress=progress)


def _multi30k(folder: Path | None, source: str, reference: str | None) -> ParquetTexts:
    if folder is None:
        raise DataError("expected Multi30k (train, validation and test.parquet), got no folder; pass --data-dir")
    nested = folder / "multi30k"
    return ParquetTexts(nested if nested.is_dir() else folder, source, reference, "multi30k")


def _english_to_german(folder: Path | None) -> DataSet:
    return _multi30k(folder, "en", "de")


def _english_beginnings(folder: Path | None) -> DataSet:
    return Beginnings(_multi30k(folder, "en", None), PROMPT_WORDS)


def _spellings(folder: Path | None) -> DataSet:
    return Spellings()


LANGUAGE_MODELS: dict[str, LanguageEntry] = {
    entry.name: entry
    for entry in (
        LanguageEntry(
            "translator-multi30k",
            "encoder-decoder",
            _english_to_german,
            translator,
            recipe=LanguageRecipe(epochs=30, vocab_size=6000, dropout=0.3, rough_epochs=6, wrong=0.15),
        ),
        LanguageEntry(
            "lm-multi30k",
            "decoder-only",
            _english_beginnings,
            language_model,
            recipe=LanguageRecipe(
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
        ),
        LanguageEntry(
            "speller",
            "encoder-decoder",
            _spellings,
            speller,
            recipe=LanguageRecipe(
                epochs=6,
                vocab_size=BYTES_ONLY,
                batch_tokens=1536,
                learning_rate=3e-3,
                dropout=0,
                label_smoothing=0,
                bfloat16=False,
            ),
        ),
    )
}
