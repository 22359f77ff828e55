"""Teach exits to a language model that is trained already: what its last layer would say, and how sure that is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.training.card import write_card
from torpor.training.checkpoint import Checkpoint
from torpor.training.drafting import beginnings, written
from torpor.training.language import batches
from torpor.training.loop import LoopRecipe, Progress, begin, decayed, run_epochs
from torpor.training.teacher import check_packages
from torpor.training.trainer import Trainer
from torpor.zoo.entry import save_half
from torpor.zoo.language.exiting import ExitEntry
from torpor.zoo.networks.exit_heads import ExitHeads

START = 2
"""Tokens of a text that are not learned from: the start token, and the first after it."""


@dataclass(frozen=True, kw_only=True)
class ExitRecipe(LoopRecipe):
    """How exits are taught.

    Attributes:
        batch_tokens: most tokens of a batch, padding counted.
        learning_rate: peak.
        texts: that are learned from.
    """

    batch_tokens: int = 1024
    learning_rate: float = 3e-3
    texts: int = 8000


@dataclass(frozen=True)
class ExitTrainer(Trainer):
    """Trains the exits of a language model of the zoo on what the model itself writes; the model stays as it is.

    Each exit learns to name the token that the last layer would, by cross-entropy; its score learns whether it does,
    by binary cross-entropy (CALM's consistency objective, Schuster et al., NeurIPS 2022).
    """

    entry: ExitEntry
    recipe: ExitRecipe

    @override
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        check_packages(self.entry.name)
        large, data, recipe = self.entry.large(), self.entry.data(data_dir), self.recipe
        model = large.model.to(device)
        texts = written(large, beginnings(data)[: recipe.texts], folder / f"{self.entry.name}.written.json")
        answers = large.codec.tokenizer(texts, add_special_tokens=False).input_ids
        pairs: list[tuple[list[int], list[int]]] = [([], answer) for answer in answers]
        bos, eos = int(model.config.bos_token_id), int(model.config.eos_token_id)

        def draw(epoch: int, rng: torch.Generator) -> list[list[list[int]]]:
            return [[[bos, *pairs[row][1], eos] for row in rows] for rows in batches(pairs, recipe.batch_tokens, rng)]

        heads = begin(
            lambda: ExitHeads(model.config.hidden_size, model.config.num_hidden_layers - 1), recipe.seed, device
        )

        def loss(rows: list[list[int]], epoch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
            found = exit_loss(model, heads, rows)
            return found, found

        optimizer = torch.optim.AdamW(decayed(heads.parameters(), 0.0), lr=recipe.learning_rate)
        plan = {**asdict(recipe), "model": large.fingerprint()}
        state = Checkpoint(self.checkpoint(folder), plan, dict(heads.named_parameters()), [optimizer])
        seconds = run_epochs(heads, state, recipe, draw, loss, clip=1.0, progress=progress)
        save_half(heads, folder / f"{self.entry.name}.safetensors")
        return write_card(self.entry.name, heads, data, {}, recipe, folder, seconds)


def exit_loss(model: torch.nn.Module, heads: ExitHeads, rows: list[list[int]]) -> Tensor:
    """Return the mean of both losses over exits and tokens.

    Args:
        model: of transformers, which is not taught.
        heads: to be taught.
        rows: ids of texts, start and end included.
    """
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    real = torch.arange(longest) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
    real[:, :START] = False
    with torch.no_grad():
        out = model(ids, output_hidden_states=True, use_cache=False, return_dict=True)
        said = out.logits[real].argmax(-1)
    parts = []
    for number in range(len(heads)):
        states = out.hidden_states[number + 1][real]
        logits = model.get_output_embeddings()(heads.leave(number, states))  # type: ignore[operator]
        right = (logits.argmax(-1) == said).to(logits)
        parts += [
            F.cross_entropy(logits, said),
            F.binary_cross_entropy_with_logits(heads.sureness(number, states), right),
        ]
    return torch.stack(parts).mean()
