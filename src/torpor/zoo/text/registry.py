"""The zoo's classifiers of texts by name: network, target, data, and where the weights are."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.data.multi30k import multi30k
from torpor.data.sets import DataSet
from torpor.targets.text.base import TextClassifier
from torpor.zoo.entry import ZooEntry, load_half
from torpor.zoo.text.people import PeopleInCaptions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class TextClassifierEntry(ZooEntry):
    """An encoder that classifies texts, which torpor can build and train.

    Attributes:
        network: ``module:class`` of the untrained network, called with the size of its vocabulary.
        target: ``module:function`` that makes the target, called with the network, the tokenizer's codec, the settings
            in the card, and ``name`` and ``source`` of data.
        source: makes the data set from the user's ``--data-dir``.
    """

    network: str
    target: str
    source: Callable[[Path | None], DataSet]

    def data(self, folder: Path | None) -> DataSet:
        """Return the data set."""
        return self.source(folder)

    def build(self, vocabulary: int) -> nn.Module:
        """Build the untrained network."""
        network: nn.Module = pkgutil.resolve_name(self.network)(vocabulary)
        return network

    def open(self, home: Path, settings: Mapping[str, Any]) -> TextClassifier:
        """Load the target from a folder with weights and tokenizer.

        Args:
            home: the folder.
            settings: from the card, such as thresholds.

        Raises:
            UsageError: if something is missing or does not fit.
        """
        from torpor.targets.decoder.generation.codec import HuggingFaceCodec

        codec = HuggingFaceCodec(read_tokenizer(home, self.name))
        network = load_half(self.build(codec.size), home / "model.safetensors", self.name)
        target: TextClassifier = pkgutil.resolve_name(self.target)(
            network, codec, settings, name=self.name, source=self.source
        )
        return target

    @override
    def load(self, folder: Path | None = None) -> TextClassifier:
        return self.open((folder or self.folder()) / self.name, self.card(folder))


def read_tokenizer(home: Path, name: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer in a folder.

    Raises:
        UsageError: if transformers is missing, or there is no tokenizer.
    """
    try:
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise UsageError(f"expected transformers for {name}, got none; pip install 'torpor[language]'") from error
    if not (home / "tokenizer.json").is_file():
        raise UsageError(f"expected the tokenizer of {name} in {home}, got none; train it again")
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(home)
    return tokenizer


def people_in_multi30k(folder: Path | None) -> DataSet:
    """Return Multi30k's English captions, with the number of people in each."""
    return PeopleInCaptions(multi30k(folder, "en"))


_ENCODERS = "torpor.zoo.text.encoder"

TEXT_CLASSIFIERS: dict[str, TextClassifierEntry] = {
    entry.name: entry
    for entry in (
        TextClassifierEntry(
            "eetext-multi30k",
            f"{_ENCODERS}:ExitEncoder",
            "torpor.zoo.text.opening:exits",
            people_in_multi30k,
        ),
        TextClassifierEntry(
            "skim-multi30k",
            f"{_ENCODERS}:SkimEncoder",
            "torpor.zoo.text.opening:skims",
            people_in_multi30k,
        ),
    )
}
