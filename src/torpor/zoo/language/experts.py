"""The zoo's mixture of experts: its weights, its experts on devices, and its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.data.multi30k import multi30k
from torpor.data.sets import DataSet
from torpor.targets.decoder.generation.codec import HuggingFaceCodec
from torpor.targets.decoder.generation.foreign import quietly
from torpor.targets.experts.adapter import expert_parallel
from torpor.targets.experts.target import ExpertTarget
from torpor.zoo.entry import ZooEntry
from torpor.zoo.language.passages import Passages
from torpor.zoo.text.registry import read_tokenizer

if TYPE_CHECKING:
    from transformers import MixtralForCausalLM

JOINED = 3
"""Captions of a passage."""
LONGEST = 128
"""Tokens of a prompt at most, the first one counted."""
SAMPLES = 16
"""Passages that an audit takes by default."""


@dataclass(frozen=True)
class ExpertEntry(ZooEntry):
    """A small Mixtral whose experts lie on devices.

    Attributes:
        devices: as many as experts, one each, like the paper's Mixtral.
    """

    devices: int

    def data(self, folder: Path | None, codec: HuggingFaceCodec) -> DataSet:
        """Return passages of Multi30k's English captions."""
        return Passages(multi30k(folder, "en"), JOINED, codec)

    def model(self, home: Path) -> MixtralForCausalLM:
        """Load the model from a folder.

        Raises:
            UsageError: if its weights are missing or damaged.
        """
        import transformers

        try:
            with quietly(transformers, offline=True):
                model: MixtralForCausalLM = transformers.MixtralForCausalLM.from_pretrained(
                    home, dtype=torch.float32, local_files_only=True, use_safetensors=True
                )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UsageError(f"expected weights of {self.name} in {home}, got: {error}; train it again") from error
        return model

    @override
    def load(self, folder: Path | None = None) -> ExpertTarget:
        self.card(folder)
        return self.open((folder or self.folder()) / self.name)

    def open(self, home: Path) -> ExpertTarget:
        """Load the target from a folder with weights and tokenizer."""
        tokenizer = read_tokenizer(home, self.name)  # first: it says so where transformers is missing
        codec = HuggingFaceCodec(tokenizer)
        target = expert_parallel(
            self.model(home),
            tokenizer,
            devices=self.devices,
            longest=LONGEST,
            name=self.name,
            data=lambda folder: self.data(folder, codec),
        )
        target.samples = SAMPLES
        return target


EXPERTS: dict[str, ExpertEntry] = {entry.name: entry for entry in (ExpertEntry("moe-multi30k", devices=8),)}
