"""One perturbation for all inputs, or one per class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.iterative import gradient_of
from torpor.attacks.search.balls import Ball, apply, ball_of
from torpor.attacks.search.incumbent import Incumbent
from torpor.attacks.search.optimizers import Optimizer, State
from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.signals import evading
from torpor.core.space import DenseSpace, VideoSpace
from torpor.core.threat import Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target

BATCH = 250  # the paper's
CHECKS = 20  # how often the hard cost of the perturbation is measured while fitting
FIT_LIMIT = 2500  # the largest number of fitting inputs that a paper's universal attack uses


@dataclass(frozen=True, eq=False)
class Learned:
    """What a universal attack learned, and what that took.

    Attributes:
        perturbations: ``[1, C, H, W]``, or one per class ``[classes, C, H, W]``; of patches, what they show, from -1
            for black to 1 for white.
        forwards: images that went forward through the target while learning.
        backwards: images that went backward.
        zero_gradient: whether most of the first gradient was exactly zero.
    """

    perturbations: Tensor
    forwards: int
    backwards: int
    zero_gradient: bool


def to_learn_from(target: Target, data: DataSet, limit: int) -> tuple[Samples, Samples]:
    """Return inputs of the validation split as ``target`` reads them, and their references.

    Args:
        target: to be attacked.
        data: whose validation split it is.
        limit: images at most; a video counts as many as it has frames.

    Raises:
        DataError: if the split cannot be read.
    """
    frames = target.space.shape[0] if isinstance(target.space, VideoSpace) else 1
    known = data.load("validation", -(-limit // frames))
    return target.read(known.inputs), known.references


@dataclass(frozen=True, kw_only=True)
class Universal(Attack):
    """Base of attacks that learn a perturbation from other inputs and then only add it.

    Attributes:
        learned: None before :meth:`fit`.
    """

    stage: ClassVar[Stage] = Stage.UNIVERSAL
    learns: ClassVar[bool] = True
    learns_from_data: ClassVar[bool] = True
    fit_limit: ClassVar[int] = FIT_LIMIT

    learned: Learned | None = field(default=None, compare=False, repr=False)

    @override
    def fit(self, target: Any, inputs: Tensor, *, references: Tensor | None = None, seed: int = 0) -> Self:
        inputs = target.space.snap(target.space.check(inputs))
        return replace(self, learned=self.learn(target, inputs, references, seed))

    def fitted(self, target: Target, data: DataSet, seed: int) -> Self:
        """Return the attack fitted on the validation split of ``data``, or on the target alone if that is all it takes.

        Raises:
            DataError: if the split is needed and cannot be read.
        """
        if not self.learns_from_data:
            return replace(self, learned=self.learn(target, (), None, seed))
        inputs, references = to_learn_from(target, data, self.fit_limit)
        return self.fit(target, inputs, references=references, seed=seed)

    def state(self) -> Mapping[str, Tensor]:
        """See :meth:`Attack.state`; empty before :meth:`fit`."""
        if self.learned is None:
            return {}
        learned = self.learned
        numbers = {"forwards": learned.forwards, "backwards": learned.backwards, "blind": int(learned.zero_gradient)}
        return {"perturbations": learned.perturbations, **{name: torch.tensor(each) for name, each in numbers.items()}}

    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        """See :meth:`Attack.with_state`.

        Raises:
            KeyError: if ``state`` is of something else.
        """
        forwards, backwards, zero = (int(state[name]) for name in ("forwards", "backwards", "blind"))
        return replace(self, learned=Learned(state["perturbations"], forwards, backwards, bool(zero)))

    @property
    @override
    def forwards_before(self) -> int:
        return 0 if self.learned is None else self.learned.forwards

    @abstractmethod
    def learn(self, target: Any, inputs: Any, references: Any, seed: int) -> Learned:  # noqa: ANN401
        """Learn from valid images ``[N, C, H, W]`` and, where the attack needs them, their classes ``[N]``."""

    def known(self) -> Learned:
        """Return what was learned.

        Raises:
            UsageError: if nothing was.
        """
        if self.learned is None:
            raise UsageError(f"expected a fitted attack, got {self.id} before fit(); fit it on other inputs first")
        return self.learned

    def search(self, target: Any, inputs: Tensor, labels: Any, seed: int) -> Candidates:  # noqa: ANN401
        """Add the learned perturbation, or paste the patch, into every frame; see :meth:`Attack.search`."""
        learned = self.known()
        values = learned.perturbations.to(inputs)
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        values = values[labels] if len(values) > 1 else values
        return Candidates(
            inputs + ball_of(self.budget, target.space).common(values, inputs),
            forwards=nothing,
            backwards=nothing,
            zero_gradient=torch.full((len(inputs),), learned.zero_gradient),
        )


def descend(
    target: Target,
    inputs: Tensor,
    *,
    objective: Callable[[Any, Any], Tensor],
    ball: Ball,
    eps: float,
    optimizer: Optimizer,
    schedule: Iterator[tuple[Tensor, Any]],
    steps: int,
    start: Tensor,
) -> Learned:
    """Minimize the mean objective with one perturbation ``[1, C, H, W]`` and return the costliest that was seen.

    Args:
        target: what to attack.
        inputs: images ``[N, C, H, W]`` whose hard cost tells which perturbation is the costliest.
        objective: maps signals, and what the schedule yields with a batch, to a loss per sample.
        ball: geometry of the budget.
        eps: radius of the budget.
        optimizer: turns gradients into steps.
        schedule: the batch of each step, and what else the objective is given.
        steps: length of the schedule.
        start: first perturbation ``[1, C, H, W]``.
    """
    space = target.space
    assert isinstance(space, DenseSpace)
    delta = start
    state: State = {}
    best = Incumbent.begin(delta)
    forwards = backwards = 0
    zero_gradient = False
    for step, (batch, beside) in enumerate(schedule):
        radius = optimizer.radius(step, eps)
        batch = batch.to(target.device)
        candidate = apply(batch, ball.common(delta, batch), ball, radius, space).requires_grad_()
        signals = target.signals(candidate)
        losses = evading(signals, objective(signals, beside))
        gradient = gradient_of(losses.mean(), candidate).sum(0, keepdim=True)
        forwards, backwards = forwards + len(batch), backwards + len(batch)
        if step == 0:
            zero_gradient = (ball.free(gradient) == 0).to(torch.float32).mean().item() > 0.5
        loss = losses.detach().mean(0, keepdim=True)
        # no clamp to the pixel range here: the perturbation belongs to no one image
        delta = optimizer.step(ball, delta, gradient, loss, step, state, partial(ball.project, radius=radius))
        if (step + 1) % max(1, steps // CHECKS) == 0 or step == steps - 1:
            within = ball.project(delta, eps)
            cost = _cost(target, inputs, within, ball, eps)
            forwards += len(inputs)
            best.offer(torch.tensor([0]), within, torch.tensor([cost], dtype=torch.float64))
    return Learned(best.inputs, forwards, backwards, zero_gradient)


def learned_by_class(
    attack: str,
    learn: Callable[[Any, Tensor, Tensor | None, int], Learned],
    target: Target,
    inputs: Tensor,
    references: Tensor | None,
    seed: int,
) -> Learned:
    """Learn a perturbation for each class from the inputs of the class alone; zeros for classes without inputs.

    Args:
        attack: its id.
        learn: from the inputs of one class.
        target: answers with class scores.
        inputs: images ``[N, C, H, W]``.
        references: their classes, int64 ``[N]``.
        seed: of all randomness.

    Raises:
        UsageError: without references.
    """
    if references is None:
        raise UsageError(f"expected a class for each input, got none; {attack} needs references")
    classes = max(int(references.max()) + 1, target.run(inputs[:1].to(target.device)).outputs.shape[-1])
    perturbations = torch.zeros(classes, *inputs.shape[1:], device=target.device)
    parts = []
    for label in range(classes):
        of_class = inputs[references == label]
        if len(of_class):
            parts.append(learn(target, of_class, None, seed))
            perturbations[label] = parts[-1].perturbations[0]
    return Learned(
        perturbations,
        sum(part.forwards for part in parts),
        sum(part.backwards for part in parts),
        all(part.zero_gradient for part in parts),
    )


def _cost(target: Target, inputs: Tensor, delta: Tensor, ball: Ball, eps: float) -> float:
    """Return the hard cost of all inputs with one perturbation, a batch at a time."""
    space = target.space
    assert isinstance(space, DenseSpace)
    total = 0.0
    for batch in inputs.split(BATCH):
        batch = batch.to(target.device)
        sent = apply(batch, ball.common(delta, batch), ball, eps, space)
        total += target.attacker_cost(target.run(sent)).sum().item()
    return total
