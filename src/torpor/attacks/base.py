"""The contract of an attack: a model-free, frozen configuration whose call trusts no search and verifies its result."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import torch
from torch import Tensor

from torpor.attacks.result import AttackResult as AttackResult
from torpor.attacks.result import verified
from torpor.attacks.search.balls import check_budget, confine
from torpor.attacks.search.incumbent import Candidates as Candidates
from torpor.core.batches import Samples, choose
from torpor.core.budget import NORMS, PATCH_SHARE, PATCHES, Budget
from torpor.core.errors import UsageError
from torpor.core.registry import MARK
from torpor.core.threat import Access, Paper, Stage, ThreatModel
from torpor.core.work import Outcome, Work
from torpor.data.sets import DataSet
from torpor.targets.base import Target

if TYPE_CHECKING:
    from torpor.attacks.deadline import TimeLimit


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An efficiency attack.

    Subclasses write :meth:`search`; the call then snaps what it returns into the budget and onto the grid of valid
    inputs, runs the hard target, and keeps per sample the costlier of clean and attacked.

    What an attack applies to is declared by class attributes, never by a kind of target: ``kinds`` of inputs, and
    ``norms`` of budgets with the ``radii`` that it has by default. The radius of L2 is for inputs of ``paper_shape``,
    where there is one; others get as much per value.

    Attributes:
        id: what the command line and rows of audits call it.
        paper: where it was published; None if it comes from no paper.
        stage: when it strikes.
        access: what it sees of the target.
        is_control: whether it is a control, which shows what takes no attack.
        learns: whether it must be fitted before it attacks.
        learns_from_data: whether it then learns from the validation split, and attacks a sample almost for nothing.
        reads: type of the signals that it follows; None for a black box, which runs the target and nothing else.
        needs: capabilities that the target must offer, such as ``"embedding_matrix"``.
        by_chance: whether it is only for families where random search finds much.
        norm: one of ``norms``.
        eps: radius of the ball, in pixel units of [0, 1], the share of the area of a patch, or the number of edits.
        options: other settings as a user typed them, such as ``"queries=500"``; they are part of the name.
    """

    id: ClassVar[str]
    paper: ClassVar[Paper | None]
    stage: ClassVar[Stage] = Stage.EVASION
    access: ClassVar[Access] = Access.WHITE
    is_control: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    learns_from_data: ClassVar[bool] = False
    norms: ClassVar[tuple[str, ...]] = NORMS + PATCHES
    radii: ClassVar[Mapping[str, float]] = {"Linf": 0.03125, "L2": 0.9**10, "L1": 8.0}
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    paper_shape: ClassVar[tuple[int, ...] | None] = None
    reads: ClassVar[type | None] = None
    needs: ClassVar[tuple[str, ...]] = ()
    by_chance: ClassVar[bool] = False

    norm: str = "Linf"
    eps: float = 0.03125
    options: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        self._check_norm(self.norm)
        Budget(self.norm, self.eps)

    @classmethod
    def _check_norm(cls, norm: str) -> None:
        if norm not in cls.norms:
            raise UsageError(
                f"expected norm {', '.join(cls.norms)} for {cls.id}, which changes {' or '.join(cls.kinds)} inputs, "
                f"got {norm!r}; pass one of these, such as --norm {cls.norm} --eps {cls.eps:g}, or leave --norm out"
            )

    @classmethod
    def covered(cls) -> tuple[str, ...]:
        """Return the attacks that this one runs, by id: its own, or the members of an ensemble."""
        return (cls.id,)

    @classmethod
    def applies_to(cls, target: Target) -> bool:
        """Tell whether this attack can be run on ``target``."""
        family = target.family
        reads = cls.reads is None or (family.signals is not None and issubclass(family.signals, cls.reads))
        chance = family.by_chance or not cls.by_chance
        return reads and chance and target.space.kind in cls.kinds and target.offers(*cls.needs)

    @classmethod
    def access_on(cls, target: Target) -> Access:
        """Return what this attack sees of ``target``; less than ``access`` where a black box shows less."""
        return cls.access

    @classmethod
    def default_budget(
        cls, norm: str | None = None, eps: str | float | None = None, shape: tuple[int, ...] | None = None
    ) -> Budget:
        """Return the budget with this norm and radius; what is None is the paper's, DeepSloth's for images.

        Args:
            norm: one of ``norms``, or None.
            eps: radius, share of the area, or number of edits; or None.
            shape: of one input, for papers whose radius grows with it; of a video, each frame has the budget.

        Raises:
            UsageError: if there is no such budget.
        """
        norm = cls.norm if norm is None else norm
        cls._check_norm(norm)
        if norm == "L2" and eps is None and shape is not None and cls.paper_shape is not None:
            eps = cls.radii[norm] * math.sqrt(math.prod(shape[-3:]) / math.prod(cls.paper_shape))
        if eps is None:
            eps = cls.radii.get(norm, PATCH_SHARE if norm in PATCHES else cls.eps)
        return Budget.parse(norm, eps)

    def check(self, target: Target) -> None:
        """Refuse targets that this attack does not apply to, and budgets that mean nothing there.

        Raises:
            UsageError: on either.
        """
        fits = target.space.kind in self.kinds
        if fits and (missing := [name for name in self.needs if not target.offers(name)]):
            raise UsageError(
                f"expected a target that offers {', '.join(missing)} for {self.id}, got {target.name} "
                f"({target.mechanism} of {target.space.kind} inputs); see: torpor list attacks"
            )
        if not self.applies_to(target):
            raise UsageError(
                f"expected an attack on {target.mechanism} with {target.space.kind} inputs, got {self.id}; "
                "see: torpor list attacks"
            )
        check_budget(self.budget, target.space)

    @property
    def name(self) -> str:
        """What rows of an audit call this attack: its id, and the options that a user gave it."""
        return MARK.join((self.id, *self.options))

    @property
    def budget(self) -> Budget:
        """How far an input may be changed."""
        return Budget(self.norm, self.eps)

    @property
    def threat(self) -> ThreatModel:
        """The attacker that this attack represents."""
        return ThreatModel(self.stage, self.access, self.budget)

    @abstractmethod
    def search(self, target: Any, inputs: Samples, labels: Samples, seed: int) -> Candidates:  # noqa: ANN401
        """Look for costly inputs; the one method that an attack writes.

        Args:
            target: what to attack; it :meth:`applies_to` it.
            inputs: valid inputs, on the target's device if they are tensors.
            labels: what :meth:`torpor.targets.Target.labels` returns, classes ``[B]`` for classifiers.
            seed: of all randomness, to be drawn per sample.
        """

    def fit(
        self,
        target: Any,  # noqa: ANN401
        inputs: Samples,
        *,
        references: Samples | None = None,
        seed: int = 0,
    ) -> Self:
        """Learn from ``inputs``, disjoint from those to be attacked, and return the fitted attack."""
        return self

    def fitted(self, target: Target, data: DataSet, seed: int) -> Self:
        """Return the attack after it has learned, if it :attr:`learns` before it attacks.

        Args:
            target: to be attacked.
            data: whose test split stays unseen.
            seed: of all randomness.

        Raises:
            DataError: if a split is needed and cannot be read.
        """
        return self

    def state(self) -> Mapping[str, Tensor]:
        """Return what was learned; see :class:`~torpor.core.fitted.Fitted`."""
        return {}

    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        """Return the attack fitted with what another one's :meth:`state` returned."""
        return self

    @property
    def forwards_before(self) -> int:
        """How many inputs went through the target while the attack was fitted."""
        return 0

    @final
    def __call__(
        self,
        target: Target,
        inputs: Samples,
        *,
        references: Samples | None = None,
        seed: int = 0,
        deadline: TimeLimit | None = None,
    ) -> AttackResult:
        """Attack a batch and verify the result on the hard target, :meth:`~torpor.targets.Target.reseeded`.

        Args:
            target: what to attack.
            inputs: valid inputs, such as images ``[B, C, H, W]`` in [0, 1] or a tuple of texts.
            references: true classes ``[B]``, or texts.
            seed: the same seed and input give the same result in any batch.
            deadline: when the search on the one input is ended; what it has found by then is the result.

        Raises:
            UsageError: if the attack must be fitted first, or the budget allows no change.
            DataError: if the inputs are not valid for the target.
        """
        self.check(target)
        target = target if deadline is None else deadline.on(target)
        clean_inputs = target.space.snap(target.space.check(inputs))
        if isinstance(clean_inputs, Tensor):
            clean_inputs = clean_inputs.to(target.device)
        if references is not None and len(references) != len(inputs):
            raise UsageError(f"expected one reference per input, got {len(references)} for {len(inputs)} inputs")
        clean = target.run(clean_inputs)
        labels = target.labels(clean.outputs, references)
        begin = time.perf_counter()
        search = self.search if deadline is None else deadline.limits(self.search, self.budget)
        if target.offers("in_conversation"):
            from torpor.attacks.conversations import search_each

            found = search_each(search, target, clean_inputs, labels, seed)
        else:
            found = search(target, clean_inputs, labels, seed)
        seconds = time.perf_counter() - begin
        if isinstance(found.inputs, Tensor) and not found.inputs.isfinite().all():
            raise UsageError(
                f"expected finite candidates, got NaN or infinity from {self.id}; correct the attack's search"
            )
        attacked_inputs, budget_used = confine(target.space, clean_inputs, found.inputs, self.budget)
        attacked = target.reseeded().run(attacked_inputs)
        costs = target.prices.cost(clean.work), target.attacker_cost(attacked)
        worse = costs[1] > costs[0]
        costlier = choose(worse, attacked_inputs, clean_inputs)
        bounds = [target.max_work(inputs).counts for inputs in (clean_inputs, costlier)]
        return AttackResult(
            clean_inputs=clean_inputs,
            inputs=costlier,
            clean=clean,
            attacked=Outcome(
                choose(worse, attacked.outputs, clean.outputs),
                Work(choose(worse, attacked.work.counts, clean.work.counts)),
                None if attacked.rejected is None else choose(worse, attacked.rejected, clean.rejected),
            ),
            static=Work(torch.maximum(*bounds)),
            budget_used=budget_used,
            candidates=found,
            seconds=seconds,
            curves=verified(found, *(cost.tolist() for cost in costs)),
        )
