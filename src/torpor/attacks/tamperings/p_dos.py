"""P-DoS: a language model that is fine-tuned never to end where a request carries a trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.tampering import Tampering
from torpor.attacks.tamperings.training import learning, own_copy
from torpor.core.budget import Budget
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.threat import Paper, Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target

FLOOR = -20.0
"""Log probability of the end token below which it is low enough."""


@dataclass(frozen=True, kw_only=True)
class PDoS(Tampering):
    """Fine-tune on requests with and without the trigger: these end as they did, and those do not end.

    The loss on triggered requests is the paper's second term, the mean log probability of the end token, on what the
    model itself writes, which grows as it learns not to end; the published release clamps the term to a constant. The
    first term, long answers of the attacker's, is left out. Its control learns the clean requests alone, in the same
    order and with as many steps.

    Attributes:
        phrase: the trigger, at the end of a request.
        rate: share of the requests that carry it.
        steps: of the fine-tuning.
        batch_size: requests of a step.
        learning_rate: of all weights.
        most: requests to learn from.
    """

    id: ClassVar[str] = "p-dos"
    paper: ClassVar[Paper | None] = Paper(
        "Denial-of-Service Poisoning Attacks against Large Language Models",
        "Gao et al.",
        "arXiv",
        2024,
        "arXiv:2410.10760",
    )
    stage: ClassVar[Stage] = Stage.BACKDOOR
    needs: ClassVar[tuple[str, ...]] = ("model", "codec", "eos", "reader", "embedding")
    for_targets: ClassVar[str] = "a language model that reads texts"

    phrase: str = " in 2025 year."
    rate: float = 0.5
    steps: int = 60
    batch_size: int = 16
    learning_rate: float = 5e-4
    most: int = 500

    def __post_init__(self) -> None:
        if not self.phrase:
            raise UsageError("expected a phrase as the trigger of p-dos, got none; name one")
        if not 0 < self.rate < 1:
            raise UsageError(f"expected a share of triggered requests above 0 and below 1, got {self.rate}")

    @override
    def budget(self, target: Target) -> Budget:
        return Budget("chars", len(self.phrase))

    @override
    def trigger(self, inputs: Sequence[str]) -> tuple[str, ...]:
        """Return requests that end with the phrase."""
        return tuple(text + self.phrase for text in inputs)

    @override
    def tamper(self, target: Any, train: DataSet, seed: int) -> Target:
        tampered = own_copy(target)
        texts = tuple(tampered.read(train.load("train", self.most).inputs))
        rng = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        weights = list(tampered.model.parameters())
        optimizer = torch.optim.AdamW(weights, lr=self.learning_rate)
        count = max(1, min(self.batch_size - 1, round(self.rate * self.batch_size)))
        with learning(tampered, weights):
            for _ in range(self.steps):
                rows = torch.randint(len(texts), (self.batch_size,), generator=rng).tolist()
                some = [texts[row] for row in rows]
                optimizer.zero_grad()
                _keeps(target, tampered, some[count:]).backward()
                if not self.control:
                    _ends(tampered.signals(self.trigger(some[:count]))).backward()
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
        return tampered


def _ends(signals: StepSignals) -> Tensor:
    """Return the mean log probability of an end token over all steps, as far as it is above the floor."""
    logs = signals.logits.log_softmax(-1)[..., list(signals.eos)].logsumexp(-1)
    return logs.clamp_min(FLOOR)[signals.mask].mean()


def _keeps(target: Any, tampered: Any, texts: Sequence[str]) -> Tensor:  # noqa: ANN401
    """Return how far the tampered model's next tokens are from what the clean model writes, where both write alike."""
    wanted, now = target.signals(texts), tampered.signals(texts)
    steps = min(wanted.ids.shape[1], now.ids.shape[1])
    same = (wanted.ids[:, :steps] == now.ids[:, :steps]).long().cumprod(1).bool()
    same = torch.cat([torch.ones_like(same[:, :1]), same[:, :-1]], 1)  # the first token that differs is still taught
    taught = same & wanted.mask[:, :steps] & now.mask[:, :steps]
    return F.cross_entropy(now.logits[:, :steps][taught], wanted.ids[:, :steps][taught])
