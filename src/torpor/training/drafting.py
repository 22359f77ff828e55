"""Distill a drafter: a small language model learns to write on as a large one does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from torpor.data.texts import Beginnings
from torpor.targets.decoder.contract import TextTarget
from torpor.training.language import LanguageRecipe, teach
from torpor.training.loop import Progress
from torpor.training.teacher import check_packages, save_pretrained
from torpor.training.trainer import Trainer
from torpor.zoo.language.speculative import DraftEntry

AT_ONCE = 256
"""Texts that are continued together."""


@dataclass(frozen=True)
class DraftTrainer(Trainer):
    """Trains the drafter of a target of the zoo on what its large model writes (Kim and Rush, EMNLP 2016).

    Each text is the first words of a training caption and the large model's own greedy continuation, so the drafter
    learns the choices that it will be compared with, not the captions.
    """

    entry: DraftEntry
    recipe: LanguageRecipe

    @override
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        check_packages(self.entry.name)
        large, data = self.entry.large(), self.entry.data(data_dir)
        prompts = beginnings(data)
        texts = written(large, prompts, folder / f"{self.entry.name}.written.json")
        tokenizer = large.codec.tokenizer
        answers = tokenizer(texts, add_special_tokens=False).input_ids
        pairs: list[tuple[list[int], list[int]]] = [([], answer) for answer in answers]
        model, seconds = teach(
            self.entry.build,
            tokenizer,
            lambda epoch: pairs,
            self.recipe,
            self.checkpoint(folder),
            device=device,
            progress=progress,
        )
        return save_pretrained(self.entry.name, model, [tokenizer], data, self.recipe, folder, seconds)


def beginnings(data: Beginnings) -> list[str]:
    """Return what is continued, each text once: the deployed beginnings, and of every other caption some words more."""
    longer = Beginnings(data.data, data.words + 3).load("train").inputs[::2]
    return list(dict.fromkeys((*data.load("train").inputs, *longer)))


def written(large: TextTarget, prompts: Sequence[str], path: Path) -> list[str]:
    """Return each prompt with what the large model writes after it, from ``path`` where that is there already."""
    key = hashlib.sha256("\0".join((large.fingerprint(), *prompts)).encode()).hexdigest()
    known: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    texts = known.get(key, [])
    while len(texts) < len(prompts):
        batch = prompts[len(texts) : len(texts) + AT_ONCE]
        texts += [before + one.text for before, one in zip(batch, large.run(tuple(batch)).outputs, strict=True)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".partial").write_text(json.dumps({key: texts}), encoding="utf-8")
        os.replace(path.with_suffix(".partial"), path)
    return texts
