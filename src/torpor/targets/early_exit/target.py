"""Targets that stop as soon as an internal classifier is sure."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Work
from torpor.data.sets import DataSet
from torpor.meters.flops import count_flops
from torpor.targets.early_exit.exit_rules import ExitRule, leave, parse_rule
from torpor.targets.early_exit.family import BatchedClassifier, EarlyExitFamily
from torpor.targets.speed import in_pieces, store_channels_last
from torpor.targets.weights import digest

if TYPE_CHECKING:
    from torpor.targets.early_exit.module import EarlyExitModule

LEAST = 2
"""Exits that must be left of a network: with one, there is nothing dynamic."""


class EarlyExitTarget(BatchedClassifier):
    """A multi-exit classifier that really stops: samples that leave are gone from the batch.

    Unit ``exit<k>`` is stage ``k`` with its head. The work of a sample that leaves at exit ``k`` is one run of each of
    the first ``k + 1`` units.

    Args:
        module: the network; see :class:`EarlyExitModule`. It is put in evaluation mode and its weights are frozen.
        rule: when samples leave.
        input_shape: ``(C, H, W)`` of one image.
        name: shown in reports.
        device: where to run.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None); Parquet images if None.
        named_rules: other rules that users may choose by name, such as ``"drop:0.15"``.

    Raises:
        UsageError: if the module lacks stages or heads, or if a head does not return logits ``[B, C]``.
        MeterError: if an operator's FLOPs cannot be counted.

    >>> from torpor.targets import Confidence, ShallowDeepNetwork
    >>> net = ShallowDeepNetwork([nn.Flatten(), nn.ReLU()], [nn.Linear(4, 3), nn.Linear(4, 3)])
    >>> target = EarlyExitTarget(net, Confidence(0.2), input_shape=(1, 2, 2))
    >>> target.run(torch.zeros(1, 1, 2, 2)).work.counts.tolist()
    [[1, 0]]
    """

    family = EarlyExitFamily()
    mechanism = "early exit"
    tie = 2e-5
    space: ImageSpace

    def __init__(
        self,
        module: EarlyExitModule,
        rule: ExitRule,
        *,
        input_shape: tuple[int, int, int],
        name: str = "early-exit",
        device: str | torch.device = "cpu",
        data: Callable[[Path | None], DataSet] | None = None,
        named_rules: Mapping[str, ExitRule] | None = None,
    ) -> None:
        stages, heads = getattr(module, "stages", None), getattr(module, "heads", None)
        if stages is None or heads is None or len(stages) != len(heads) or len(stages) < LEAST:
            raise UsageError("expected a module with as many stages as heads, at least 2; see EarlyExitModule")
        self.name, self.rule = name, rule
        self.source, self.named_rules = data, dict(named_rules or {})
        self.space = ImageSpace(input_shape)
        self.device = torch.device(device)
        self.blocks = [(self._ready(stage), self._ready(head)) for stage, head in zip(stages, heads, strict=True)]
        self._sample_bytes: list[int] = []
        self.units, self.classes = self._measure()
        self._counts = torch.ones(len(self.units), len(self.units), dtype=torch.int64).tril()
        store_channels_last(self.blocks, torch.zeros(2, *input_shape, device=self.device))

    def _ready(self, part: nn.Module) -> nn.Module:
        return part.to(self.device).eval().requires_grad_(False)

    def _measure(self) -> tuple[tuple[Unit, ...], int]:
        """Count each unit's FLOPs on one blank image."""
        features = torch.zeros(1, *self.space.shape, device=self.device)
        units, widths = [], set()
        for k, (stage, head) in enumerate(self.blocks):
            flops = count_flops(stage, features)
            with torch.no_grad():
                features = stage(features)
                logits = head(features)
            self._sample_bytes.append(features.nbytes)
            if logits.ndim != 2 or len(logits) != 1:
                raise UsageError(
                    f"expected head {k} to return logits [B, C], got shape {list(logits.shape)} for one image"
                )
            units.append(Unit(f"exit{k}", flops + count_flops(head, features)))
            widths.add(logits.shape[1])
        if len(widths) != 1 or min(widths) < 2:
            raise UsageError(f"expected every head to score the same classes, at least 2, got widths {sorted(widths)}")
        return tuple(units), widths.pop()

    def stage(self, k: int, features: Tensor) -> Tensor:
        """Return the output of stage ``k``, computed the fast way for inference."""
        return in_pieces(self.blocks[k][0], features, self._sample_bytes[k])

    def _pass(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run one batch: logits ``[B, C]``, exit indices ``[B]``, and each sample's least gap to a threshold."""
        features = inputs.to(self.device, copy=True)  # the network may begin with an operator that works in place
        return leave(self.stage, [head for _, head in self.blocks], self.rule, features, self.classes)

    @torch.no_grad()
    def _refuse_nan(self, inputs: Tensor) -> NoReturn:
        """Raise an error that names the head whose logits are NaN."""
        sound = self.signals(inputs).exit_logits.isfinite().all(-1).all(0)
        head = "the rule's margins" if sound.all() else f"head {int(sound.int().argmin())}"
        raise UsageError(f"expected numbers from {head} of {self.name}, got NaN logits; check its weights")

    def _work(self, decided: Tensor) -> Work:
        """Turn exit indices ``[B]`` into counts: one run of every unit up to and including the exit."""
        return Work(self._counts[decided.cpu()])

    def max_work(self, inputs: Tensor) -> Work:
        """Return one run of every unit up to the last exit that samples may take."""
        return Work(self._counts[-1:].expand(len(inputs), -1).clone())

    def signals(self, inputs: Tensor) -> GateSignals:
        """Evaluate every exit, differentiably."""
        features = inputs.to(self.device).clone()  # the network may begin with an operator that works in place
        parts = []
        for stage, head in self.blocks:
            features = stage(features)
            parts.append(head(features))
        logits = torch.stack(parts, dim=1)
        margins = torch.stack([self.rule.log_odds(logits[:, : k + 1]) for k in range(len(parts) - 1)], dim=1)
        closed = (margins.detach() < 0).to(torch.int64).cumprod(1)
        return GateSignals(logits, margins, self._work(closed.sum(1)))

    def exits(self, work: Work) -> Tensor:
        """Return the last unit that ran for each sample, int64 ``[B]``; 0 where none did, since it was rejected."""
        return ((work.counts[:, : len(self.units)] > 0).sum(1) - 1).clamp_min(0)

    @property
    def exit_costs(self) -> Tensor:
        """Cumulative FLOPs at each exit as a share of the whole network's, float64 ``[K]``, ending in 1."""
        flops = torch.tensor([unit.flops for unit in self.units], dtype=torch.float64).cumsum(0)
        return flops / flops[-1] if flops[-1] > 0 else torch.full_like(flops, math.nan)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the mean of each channel of the last feature map ``[B, F]``; the last stage may end in logits."""
        features = inputs.to(self.device)
        for stage, _ in self.blocks[:-1]:
            features = stage(features)
            if features.ndim != 4:
                features = features.flatten(1)
        return features.mean((2, 3)) if features.ndim == 4 else features

    def details(self) -> dict[str, Any]:
        """Return the exit rule, the number of classes and the cost shares; see :meth:`Target.details`."""
        return {"rule": self.rule.describe(), **super().details(), "exit_costs": self.exit_costs.tolist()}

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield, for each exit, a call that runs the network up to it."""

        def upto(last: int) -> Callable[[], object]:
            @torch.no_grad()
            def call() -> object:
                features = inputs.to(self.device)
                logits = features
                for stage, head in self.blocks[: last + 1]:
                    features = stage(features)
                    logits = head(features)
                return logits

            return call

        for k in range(len(self.blocks)):
            yield self._work(torch.full((len(inputs),), k)), upto(k)

    def to(self, device: torch.device) -> Self:
        """Move the network and return this target."""
        self.device = device
        self.blocks = [(self._ready(stage), self._ready(head)) for stage, head in self.blocks]
        return self

    def with_rule(self, rule: str | ExitRule) -> Self:
        """Return a target that shares this one's network but leaves by another rule.

        Args:
            rule: a rule, the name of one of this target's, or one that :func:`~torpor.targets.parse_rule` reads.

        Raises:
            UsageError: if it is neither.
        """
        named = ", ".join(self.named_rules)
        if isinstance(rule, str) and rule.startswith("drop:") and rule not in self.named_rules:
            raise UsageError(f"expected a named rule of {self.name} ({named or 'it has none'}), got {rule!r}")
        other = copy.copy(self)
        other.rule = (self.named_rules.get(rule) or parse_rule(rule)) if isinstance(rule, str) else rule
        return other

    def with_heads(self, heads: Sequence[nn.Module]) -> Self:
        """Return a target that shares this one's stages but has other heads, one per stage, which cost the same.

        Its named rules are gone: their thresholds were chosen for the confidences of the heads that were there.
        """
        other = copy.copy(self)
        other.named_rules = {}
        other.blocks = [(stage, self._ready(head)) for (stage, _), head in zip(self.blocks, heads, strict=True)]
        return other

    def upto(self, exits: int) -> Self:
        """Return a target that shares this one's first blocks and answers at exit ``exits - 1`` at the latest.

        Raises:
            UsageError: if that leaves fewer than two exits, or more than there are.
        """
        if not LEAST <= exits <= len(self.blocks):
            raise UsageError(f"expected {LEAST} to {len(self.blocks)} exits of {self.name}, got {exits}")
        other = copy.copy(self)
        other.blocks, other.units = self.blocks[:exits], self.units[:exits]
        other._sample_bytes, other._counts = self._sample_bytes[:exits], self._counts[:exits, :exits]
        return other

    def rungs(self) -> int:
        """See :meth:`Capped.rungs`: the last exit that samples may take."""
        return len(self.blocks) - LEAST + 1

    def at_rung(self, rung: int) -> Self:
        """See :meth:`Capped.at_rung`; unlike :meth:`upto`, all units are still there, and the last ones never run."""
        other = self.upto(len(self.blocks) - rung)
        other.units, other._counts = self.units, self._counts[: len(other.blocks)]
        return other

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the rule and all weights count."""
        return digest(f"{super().fingerprint()} {self.rule}", chain.from_iterable(self.blocks))
