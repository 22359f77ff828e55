"""Language models of the zoo that decode with a drafter; the drafter's weights lie in their own folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.data.texts import Beginnings
from torpor.targets.decoder.generation import load_pretrained
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.decoder.speculative.target import SpeculativeTarget
from torpor.zoo.entry import ZooEntry
from torpor.zoo.language.architectures import Builder, drafter
from torpor.zoo.language.exiting import SAMPLES
from torpor.zoo.language.registry import LANGUAGE_MODELS, english_beginnings


@dataclass(frozen=True)
class DraftEntry(ZooEntry):
    """A language model of the zoo, and a drafter that was distilled from it.

    Attributes:
        of: name of the language model.
        data: makes the data set from the user's ``--data-dir``.
        build: makes the untrained drafter from its tokenizer and a dropout rate.
        drafts: tokens per round.
    """

    of: str
    data: Callable[[Path | None], Beginnings]
    build: Builder
    drafts: int = 4

    def large(self) -> PromptTarget:
        """Load the model whose output is deployed."""
        found = LANGUAGE_MODELS[self.of].load()
        assert isinstance(found, PromptTarget)
        return found

    @override
    def load(self, folder: Path | None = None) -> SpeculativeTarget:
        self.card(folder)
        home = str((folder or self.folder()) / self.name)
        small = load_pretrained(home)
        if not isinstance(small, PromptTarget):
            raise UsageError(f"expected a drafter in {home}, got {small.mechanism}; train {self.name} again")
        target = SpeculativeTarget(self.large(), small, drafts=self.drafts, name=self.name)
        target.samples = SAMPLES
        return target


SPECULATIVE: dict[str, DraftEntry] = {
    entry.name: entry for entry in (DraftEntry("speculative-multi30k", "lm-multi30k", english_beginnings, drafter),)
}
