"""Language models of the zoo with exits; the exits' weights lie beside their card, the model's in its own folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from torpor.data.texts import Beginnings
from torpor.targets.decoder.exiting.target import ExitingTarget
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.zoo.entry import ZooEntry, load_half
from torpor.zoo.language.registry import LANGUAGE_MODELS, english_beginnings
from torpor.zoo.networks.exit_heads import ExitHeads

SAMPLES = 3
"""Texts that an audit takes by default, of this and of other models that are decoded row by row: minutes."""


@dataclass(frozen=True)
class ExitEntry(ZooEntry):
    """A language model of the zoo, and exits that were taught to it.

    Attributes:
        of: name of the language model.
        data: makes the data set from the user's ``--data-dir``.
        sure: probability of saying what the last layer would, from which on a token leaves.
    """

    of: str
    data: Callable[[Path | None], Beginnings]
    sure: float

    def large(self) -> PromptTarget:
        """Load the model without exits."""
        found = LANGUAGE_MODELS[self.of].load()
        assert isinstance(found, PromptTarget)
        return found

    @override
    def load(self, folder: Path | None = None) -> ExitingTarget:
        self.card(folder)
        large = self.large()
        config = large.model.config
        heads = ExitHeads(config.hidden_size, config.num_hidden_layers - 1)
        path = (folder or self.folder()) / f"{self.name}.safetensors"
        target = ExitingTarget(large, load_half(heads, path, self.name), sure=self.sure, name=self.name)
        target.samples = SAMPLES
        return target


EXITING: dict[str, ExitEntry] = {
    entry.name: entry for entry in (ExitEntry("exits-multi30k", "lm-multi30k", english_beginnings, sure=0.8),)
}
