"""Calibrated exits: each internal classifier is as sure as it is right, before a rule asks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.attacks.base import Attack
from torpor.core.errors import DataError, UsageError
from torpor.core.threat import Paper
from torpor.data.sets import DataSet
from torpor.defenses.base import LEARNED, Defense
from torpor.targets.base import Target
from torpor.targets.early_exit.exit_rules import Confidence, Entropy

PAPER = Paper(
    "Understanding, Uncovering, and Mitigating the Causes of Inference Slowdown for Language Models",
    "Varma et al.",
    "SaTML",
    2024,
    "arXiv:2305.18926",
)
COLDEST, HOTTEST = 0.2, 5.0
"""Temperatures stay within: where validation data are classified without error, the likeliest one would be 0."""
HALVINGS = 50
BATCH = 250


class Tempered(nn.Module):
    """A classifier whose logits are divided by a temperature."""

    temperature: Tensor

    def __init__(self, head: nn.Module, temperature: float) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[B, C]``."""
        logits: Tensor = self.head(features) / self.temperature
        return logits


def fit_temperatures(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for each exit the temperature of least negative log-likelihood, float64 ``[K]``.

    The loss is convex in the inverse temperature, so halving finds where its slope is 0 (Guo et al., ICML 2017, fit the
    same by gradient descent).

    Args:
        logits: of every exit, ``[N, K, C]``.
        labels: classes, int64 ``[N]``.

    >>> logits = torch.tensor([[[0.0, 8.0]]]).repeat(10, 1, 1)  # right 9 times of 10: the odds should be 9, not e^8
    >>> temperature = fit_temperatures(logits, torch.tensor([0] + [1] * 9))
    >>> round(torch.tensor(8 / temperature.item()).exp().item(), 3)
    9.0
    """
    logits = logits.to(torch.float64)
    right = logits.gather(2, labels.view(-1, 1, 1).expand(-1, logits.shape[1], 1)).squeeze(2).mean(0)
    low = torch.full_like(right, 1 / HOTTEST)
    high = torch.full_like(right, 1 / COLDEST)
    for _ in range(HALVINGS):
        inverse = (low + high) / 2
        expected = ((logits * inverse[:, None]).softmax(2) * logits).sum(2).mean(0)
        low, high = torch.where(expected < right, inverse, low), torch.where(expected < right, high, inverse)
    return 2 / (low + high)


@dataclass(frozen=True)
class Calibrated(Defense):
    """Divide each exit's logits by a temperature, fitted on validation data; the exit rule stays.

    The network computes what it did: a division of a few logits counts as no FLOPs, like the softmax after it. Attacks
    meet the divided logits. Predictions stay; the exits that samples take do not, so clean cost and accuracy change.

    Attributes:
        temperatures: of each exit; None before they are fitted.
    """

    id: ClassVar[str] = "calibrated"
    paper: ClassVar[Paper | None] = PAPER
    learns: ClassVar[bool] = True

    temperatures: tuple[float, ...] | None = None

    @classmethod
    def applies_to(cls, target: Any) -> bool:  # noqa: ANN401 - perhaps with a rule
        """See :meth:`Defense.applies_to`; a rule that counts agreeing exits has no temperature."""
        return target.offers("with_heads", "rule") and isinstance(target.rule, Confidence | Entropy)

    @override
    def check(self, target: Any) -> None:
        if target.offers("with_heads", "rule") and not self.applies_to(target):
            raise UsageError(
                f"expected an exit rule by confidence or entropy for {self.name}, got: {target.rule.describe()}"
            )
        super().check(target)

    def prepared(
        self,
        target: Any,  # noqa: ANN401
        data: DataSet,
        attacks: Sequence[Attack],
        seed: int,
        learned: int = LEARNED,
    ) -> Self:
        """See :meth:`Defense.prepared`; attacks are not needed."""
        if self.temperatures is not None:
            return self
        self.check(target)
        logits, labels = [], []
        with torch.no_grad():
            for batch in data.batches("validation", BATCH):
                if not len(batch.references):
                    raise DataError(f"expected classes to calibrate {target.name}, got none in {data.name}")
                found = target.signals(target.read(batch.inputs)).exit_logits
                logits.append(found.cpu())
                labels.append(target.labels(found, batch.references).cpu())
        return self.fit(torch.cat(logits), torch.cat(labels))

    def fit(self, logits: Tensor, labels: Tensor) -> Self:
        """Return the defense fitted to the logits ``[N, K, C]`` of every exit and the classes ``[N]``."""
        return replace(self, temperatures=tuple(fit_temperatures(logits, labels).tolist()))

    @override
    def state(self) -> Mapping[str, Tensor]:
        return {"temperatures": torch.tensor(self._fitted, dtype=torch.float64)}

    @override
    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        self._check_state(state, ("temperatures",))
        return replace(self, temperatures=tuple(state["temperatures"].tolist()))

    @property
    def _fitted(self) -> tuple[float, ...]:
        if self.temperatures is None:
            raise UsageError(f"expected fitted temperatures, got {self.name} as it comes; call its prepared()")
        return self.temperatures

    @override
    def defend(self, target: Any) -> Target:
        self.check(target)
        if len(self._fitted) != len(target.blocks):
            raise UsageError(
                f"expected a temperature for each of {len(target.blocks)} exits of {target.name}, got "
                f"{len(self._fitted)}; fit {self.name} to this target"
            )
        pairs = zip(target.blocks, self._fitted, strict=True)
        defended: Target = target.with_heads([Tempered(head, temperature) for (_, head), temperature in pairs])
        defended.name = f"{target.name} defended by {self.name}"
        return defended
