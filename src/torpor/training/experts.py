"""Teach a small mixture of experts: the next token, and to use all experts alike."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.data.multi30k import multi30k
from torpor.targets.decoder.generation.foreign import quietly
from torpor.targets.experts.loads import imbalance
from torpor.targets.experts.target import ExpertTarget
from torpor.training.language import LanguageRecipe, teach
from torpor.training.loop import Progress
from torpor.training.teacher import check_packages
from torpor.training.trainer import Trainer
from torpor.zoo.entry import save_card
from torpor.zoo.language.architectures import mixture
from torpor.zoo.language.experts import JOINED, ExpertEntry
from torpor.zoo.language.passages import whole_passages
from torpor.zoo.language.tokenizer import train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from torpor.zoo.language.architectures import LanguageModel


@dataclass(frozen=True, kw_only=True)
class ExpertRecipe(LanguageRecipe):
    """How a mixture of experts is taught.

    Attributes:
        balance: weight of the loss that balances experts; Mixtral's is 0.02.
    """

    balance: float = 0.02


class Balance:
    """The loss of Switch Transformers that makes routers use all experts alike: listens to the routers of a model."""

    def __init__(self, weight: float) -> None:
        self.weight, self._heard = weight, list[tuple[Tensor, Tensor]]()

    def listen(self, model: LanguageModel) -> LanguageModel:
        """Return the model, every router of which is heard from now on."""
        for name, module in model.named_modules():
            if name.endswith("mlp.gate"):
                module.register_forward_hook(lambda module, given, found: self._heard.append((found[0], found[2])))
        return model

    def __call__(self, model: LanguageModel) -> Tensor:
        """Return the loss of what was heard since the last call, and forget it."""
        losses = [balance_loss(scores, chosen) for scores, chosen in self._heard]
        self._heard.clear()
        return self.weight * torch.stack(losses).mean()


def balance_loss(scores: Tensor, chosen: Tensor) -> Tensor:
    """Return experts times the sum of each one's share of tokens and mean probability; 1 where all are used alike.

    Fedus et al., JMLR 2022, with k experts per token.

    Args:
        scores: of the router, ``[T, E]``.
        chosen: experts of each token, int64 ``[T, k]``.

    >>> balance_loss(torch.zeros(4, 2), torch.tensor([[0], [1], [0], [1]])).item()
    1.0
    """
    experts = scores.shape[1]
    shares = F.one_hot(chosen, experts).to(torch.float32).mean((0, 1))
    return experts * (shares * scores.float().softmax(-1).mean(0)).sum()


@dataclass(frozen=True)
class ExpertTrainer(Trainer):
    """Trains the mixture of experts of the zoo on passages of captions."""

    entry: ExpertEntry
    recipe: ExpertRecipe

    @override
    def fit(self, data_dir: Path | None, folder: Path, device: str, progress: Progress) -> Path:
        name, recipe, home = self.entry.name, self.recipe, folder / self.entry.name
        check_packages(name)
        texts = list(whole_passages(multi30k(data_dir, "en"), "train", JOINED))
        tokenizer = train_tokenizer(texts, recipe.vocab_size, "decoder-only")
        pairs: Sequence[tuple[list[int], list[int]]] = [
            ([], answer) for answer in tokenizer(texts, add_special_tokens=False).input_ids
        ]
        balance = Balance(recipe.balance)

        def build(tokenizer: PreTrainedTokenizerFast, dropout: float) -> LanguageModel:
            return balance.listen(mixture(tokenizer, dropout))

        model, seconds = teach(
            build,
            tokenizer,
            lambda epoch: pairs,
            recipe,
            self.checkpoint(folder),
            device=device,
            progress=progress,
            further=balance,
        )
        (folder / f"{name}.json").unlink(missing_ok=True)  # it is written last: where it lies, the model is whole
        import transformers

        halved: Any = model
        with quietly(transformers, offline=True):
            halved.half().save_pretrained(home)
        tokenizer.save_pretrained(home)
        target = self.entry.open(home)
        card = {
            "name": name,
            "parameters": sum(value.numel() for value in model.parameters()),
            "vocabulary": len(tokenizer),
            "data": target.data(data_dir).fingerprint(),
            **{split: judged(target, data_dir, split, self.limit) for split in ("test", "validation")},
            "recipe": asdict(recipe),
            "seconds": round(seconds, 1),
            "torch": torch.__version__,
            "sha256": hashlib.sha256((home / "model.safetensors").read_bytes()).hexdigest(),
        }
        return save_card(folder / f"{name}.json", card)


def judged(target: ExpertTarget, data_dir: Path | None, split: str, limit: int) -> dict[str, Any]:
    """Return how often the next token is right, and how uneven loads of devices and experts are, on the first texts."""
    batch = target.data(data_dir).load(split, limit)
    outcome = target.run(batch.inputs)
    ran = target.balance(outcome.work)
    uneven = imbalance(ran["busiest"], ran["assigned"], target.placement.devices)
    used = target.loads(outcome.work).sum(0).double()
    share = target.prices.cost(outcome.work) / target.prices.cost(target.max_work(batch.inputs))
    return {
        "samples": len(batch),
        "accuracy": round(target.utility(outcome.outputs, batch.references).mean().item(), 4),
        "cost_share": round(share.mean().item(), 4),
        "tokens_mean": round(outcome.work.counts[:, 1].double().mean().item(), 2),
        "imbalance_mean": round(uneven.mean().item(), 4),
        "imbalance_max": round(uneven.max().item(), 4),
        "expert_share_max": round((used.amax(1) / used.sum(1)).max().item(), 4),
    }
