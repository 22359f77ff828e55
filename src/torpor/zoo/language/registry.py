"""The zoo's language models by name: architecture, data, recipe, and where the weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torpor.core.errors import DataError
from torpor.data.sets import DataSet
from torpor.data.texts import Beginnings, ParquetTexts
from torpor.zoo.language.architectures import language_model, speller, translator
from torpor.zoo.language.numbers import Spellings
from torpor.zoo.language.tokenizer import BYTES_ONLY, Kind
from torpor.zoo.recipes.language import Builder, LanguageRecipe
from torpor.zoo.recipes.training import Progress
from torpor.zoo.registry import SHIPPED, cache_folder

Metric = Literal["bleu", "perplexity", "exact_match"]
PROMPT_WORDS = 4


@dataclass(frozen=True)
class LanguageEntry:
    """A language model that torpor can build and train.

    Attributes:
        name: on the command line.
        kind: encoder-decoder, whose output answers the whole input, or decoder-only, whose output continues it.
        data: makes the data set from the user's ``--data-dir``.
        build: makes the untrained model from its tokenizer and a dropout rate; caps and decoding are the deployed ones.
        recipe: how the weights were trained.
        metric: what the card reports on the test split.
    """

    name: str
    kind: Kind
    data: Callable[[Path | None], DataSet]
    build: Builder
    recipe: LanguageRecipe
    metric: Metric

    @property
    def ships(self) -> bool:
        """Whether the weights come with the package."""
        return (SHIPPED / self.name).is_dir()

    def folder(self) -> Path:
        """Return where the model is, or will be: in the package, else in the user's cache folder."""
        return SHIPPED / self.name if self.ships else cache_folder() / self.name

    def train(
        self,
        data_dir: Path | None = None,
        folder: Path | None = None,
        checkpoint: Path | None = None,
        *,
        progress: Progress = lambda done, total, loss: None,
    ) -> Path:
        """Train from scratch, or go on from ``checkpoint``, and return the path of the card.

        Args:
            data_dir: where the data lie.
            folder: of the model; ``NAME`` in the user's cache folder if None. The card is written beside it.
            checkpoint: of an interrupted training; beside the folder if None.
            progress: is told the steps done, the steps in all, and the loss.

        Raises:
            UsageError: if the data or the checkpoint cannot be read.
        """
        from torpor.zoo.recipes.language import train_language

        folder = folder or cache_folder() / self.name
        checkpoint = checkpoint or folder.parent / f"{folder.name}.checkpoint.safetensors"
        return train_language(self, self.data(data_dir), folder, checkpoint, progress=progress)


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


LANGUAGE_ZOO: dict[str, LanguageEntry] = {
    entry.name: entry
    for entry in (
        LanguageEntry(
            "translator-multi30k",
            "encoder-decoder",
            _english_to_german,
            translator,
            LanguageRecipe(epochs=30, vocab_size=6000, dropout=0.3),
            "bleu",
        ),
        LanguageEntry(
            "lm-multi30k",
            "decoder-only",
            _english_beginnings,
            language_model,
            LanguageRecipe(
                epochs=10, vocab_size=4000, batch_tokens=2048, weight_decay=0.1, dropout=0.2, label_smoothing=0
            ),
            "perplexity",
        ),
        LanguageEntry(
            "speller",
            "encoder-decoder",
            _spellings,
            speller,
            LanguageRecipe(
                epochs=2,
                vocab_size=BYTES_ONLY,
                batch_tokens=1536,
                learning_rate=3e-3,
                dropout=0,
                label_smoothing=0,
                bfloat16=False,
            ),
            "exact_match",
        ),
    )
}
