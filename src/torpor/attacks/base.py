"""The contract of an attack: a model-free, frozen configuration whose call trusts nobody and verifies everything."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from torpor.attacks.spaces import BALLS, apply, check_budget
from torpor.core.budget import Budget
from torpor.core.criteria import Evidence
from torpor.core.errors import DataError, UsageError
from torpor.core.outcome import Outcome
from torpor.core.paper import Paper
from torpor.core.threat import Access, Stage, ThreatModel
from torpor.core.work import Work
from torpor.targets.base import Target


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a search found, one candidate per sample.

    Attributes:
        inputs: candidate images ``[B, C, H, W]``.
        forwards: forward passes spent on each sample, int64 ``[B]``.
        backwards: backward passes spent on each sample, int64 ``[B]``.
        zero_gradient: whether most of the first gradient was exactly zero, bool ``[B]``; None without gradients.
        loss_fell: whether the loss fell by a tenth or more, bool ``[B]``; None without a surrogate loss.
        black_box_won: whether a gradient-free member beat all others, bool ``[B]``; None outside an ensemble.
    """

    inputs: Tensor
    forwards: Tensor
    backwards: Tensor
    zero_gradient: Tensor | None = None
    loss_fell: Tensor | None = None
    black_box_won: Tensor | None = None


@dataclass(frozen=True, eq=False)
class AttackResult:
    """A verified attack on a batch.

    Attributes:
        clean_inputs: the inputs as 8-bit pixels hold them, ``[B, C, H, W]``.
        inputs: the attacked inputs, on the pixel grid and within budget; the clean input where none was costlier.
        clean: outputs and work of the hard target on the clean inputs.
        attacked: outputs and work of the hard target on the attacked inputs.
        static: the static bound of each sample.
        moved: share of the budget that each candidate used, whether it was kept or not, ``[B]``.
        candidates: what the search returned, and what it spent.
        seconds: wall-clock of the search.
    """

    clean_inputs: Tensor
    inputs: Tensor
    clean: Outcome
    attacked: Outcome
    static: Work
    moved: Tensor
    candidates: Candidates
    seconds: float

    def evidence(self, target: Target) -> Evidence:
        """Return what a :class:`~torpor.core.criteria.Criterion` judges, priced in FLOPs."""
        return Evidence(
            cost=target.prices.cost(self.attacked.work).numpy(),
            clean=target.prices.cost(self.clean.work).numpy(),
            static=target.prices.cost(self.static).numpy(),
            agrees=target.agreement(self.attacked.outputs, self.clean.outputs).numpy(),
        )


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An efficiency attack.

    Subclasses write :meth:`search`; the call then snaps what it returns into the budget and onto the pixel grid, runs
    the hard target, and keeps per sample the costlier of clean and attacked.

    Attributes:
        norm: ``"Linf"``, ``"L2"`` or ``"L1"``.
        eps: radius of the ball, in pixel units of [0, 1].
    """

    id: ClassVar[str]
    paper: ClassVar[Paper | None]
    stage: ClassVar[Stage] = Stage.EVASION
    access: ClassVar[Access] = Access.WHITE
    is_control: ClassVar[bool] = False

    norm: str = "Linf"
    eps: float = 0.03125

    def __post_init__(self) -> None:
        Budget(self.norm, self.eps)

    @property
    def budget(self) -> Budget:
        """How far an input may be changed."""
        return Budget(self.norm, self.eps)

    @property
    def threat(self) -> ThreatModel:
        """The attacker that this attack stands for."""
        return ThreatModel(self.stage, self.access, self.budget)

    @abstractmethod
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        """Look for costly inputs; the one method that an attack writes.

        Args:
            target: what to attack.
            inputs: valid images ``[B, C, H, W]`` on the target's device.
            labels: classes ``[B]``: the references, or the clean predictions where there are none.
            seed: of all randomness, to be drawn per sample.
        """

    def fit(self, target: Target, inputs: Tensor, *, references: Tensor | None = None, seed: int = 0) -> Attack:
        """Learn from ``inputs``, disjoint from those to be attacked, and return the fitted attack."""
        return self

    @final
    def __call__(
        self, target: Target, inputs: Tensor, *, references: Tensor | None = None, seed: int = 0
    ) -> AttackResult:
        """Attack a batch and verify the result on the hard target.

        Args:
            target: what to attack.
            inputs: images ``[B, C, H, W]`` in [0, 1].
            references: true classes ``[B]``.
            seed: the same seed and input give the same result in any batch.

        Raises:
            UsageError: if the attack must be fitted first, or the budget allows no change.
            DataError: if the inputs are not valid for the target.
        """
        check_budget(self.budget, target.space)
        clean_inputs = target.space.snap(target.space.check(inputs)).to(target.device)
        if references is not None and len(references) != len(inputs):
            raise UsageError(f"expected one reference per input, got {len(references)} for {len(inputs)} inputs")
        clean = target.run(clean_inputs)
        classes = clean.outputs.shape[-1]
        if references is not None and not (references.min() >= 0 and references.max() < classes):
            raise DataError(
                f"expected classes from 0 to {classes - 1}, as {target.name} knows them, got references from "
                f"{int(references.min())} to {int(references.max())}; relabel the data"
            )
        labels = clean.outputs.argmax(-1) if references is None else references.to(target.device)
        begin = time.perf_counter()
        found = self.search(target, clean_inputs, labels, seed)
        seconds = time.perf_counter() - begin
        if not found.inputs.isfinite().all():
            raise UsageError(
                f"expected finite candidates, got NaN or infinity from {self.id}; the target's gradients do"
            )
        delta = found.inputs.to(clean_inputs) - clean_inputs
        attacked_inputs = apply(clean_inputs, delta, BALLS[self.norm], self.eps, target.space)
        attacked = target.run(attacked_inputs)
        worse = target.prices.cost(attacked.work) > target.prices.cost(clean.work)
        there = worse.to(target.device)
        return AttackResult(
            clean_inputs=clean_inputs,
            inputs=torch.where(there.view(-1, 1, 1, 1), attacked_inputs, clean_inputs),
            clean=clean,
            attacked=Outcome(
                torch.where(there.view(-1, 1), attacked.outputs, clean.outputs),
                Work(torch.where(worse.view(-1, 1), attacked.work.counts, clean.work.counts)),
            ),
            static=target.max_work(clean_inputs),
            moved=BALLS[self.norm].norm(attacked_inputs - clean_inputs) / self.eps,
            candidates=found,
            seconds=seconds,
        )
