"""One perturbation for all inputs, or one per class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.deepsloth import PAPER
from torpor.attacks.derivatives import gradient_of
from torpor.attacks.incumbent import Incumbent
from torpor.attacks.objectives import EXITS, UniformExits
from torpor.attacks.optimizers import Optimizer, ShrinkingBall, State, Steps
from torpor.attacks.spaces import BALLS, L1, Ball, apply
from torpor.core.errors import UsageError
from torpor.core.paper import Paper
from torpor.core.signals import GateSignals, evading
from torpor.core.space import DenseSpace, VideoSpace
from torpor.core.threat import Stage
from torpor.data.sets import DataSet
from torpor.targets.base import Target
from torpor.targets.gates import GateTarget

BATCH = 250  # the paper's
CHECKS = 20  # how often the hard cost of the perturbation is measured while fitting
FIT_LIMIT = 2500  # the largest number of fitting inputs that a paper's universal attack uses


@dataclass(frozen=True, eq=False)
class Learned:
    """What a universal attack learned, and what that took.

    Attributes:
        perturbations: ``[1, C, H, W]``, or one per class ``[classes, C, H, W]``.
        forwards: images that went forward through the target while learning.
        backwards: images that went backward.
        zero_gradient: whether most of the first gradient was exactly zero.
    """

    perturbations: Tensor
    forwards: int
    backwards: int
    zero_gradient: bool


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

    def fit(self, target: Any, inputs: Tensor, *, references: Tensor | None = None, seed: int = 0) -> Self:  # noqa: ANN401
        """See :meth:`Attack.fit`."""
        inputs = target.space.snap(target.space.check(inputs))
        return replace(self, learned=self.learn(target, inputs, references, seed))

    def fitted(self, target: Target, data: DataSet, seed: int) -> Self:
        """Return the attack fitted on the validation split of ``data``, or on the target alone if that is all it takes.

        Raises:
            DataError: if the split is needed and cannot be read.
        """
        if not self.learns_from_data:
            return replace(self, learned=self.learn(target, (), None, seed))
        frames = target.space.shape[0] if isinstance(target.space, VideoSpace) else 1
        known = data.load("validation", -(-self.fit_limit // frames))
        return self.fit(target, target.read(known.inputs), references=known.references, seed=seed)

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
    def forwards_before(self) -> int:
        """See :attr:`Attack.forwards_before`."""
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
        """Add the learned perturbation, to every frame of a video; see :meth:`Attack.search`."""
        learned = self.known()
        delta = learned.perturbations.to(inputs)
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Candidates(
            inputs + (delta[labels] if len(delta) > 1 else delta),
            forwards=nothing,
            backwards=nothing,
            zero_gradient=torch.full((len(inputs),), learned.zero_gradient),
        )


@dataclass(frozen=True, kw_only=True)
class DeepSlothUniversal(Universal):
    """Push every internal classifier to the uniform distribution with one perturbation for all inputs.

    Linf: one batch of 250, 20 signed steps of 0.005 (0.16 eps) from a uniform start in the ball. L2: 11 epochs of 5
    batches of 50 steps; step and ball shrink by a tenth per epoch. L1: 10 batches of 100 steps on the 10 % of pixels
    with the largest gradients.
    """

    id: ClassVar[str] = "deepsloth-universal"
    paper: ClassVar[Paper | None] = PAPER
    reads: ClassVar[type | None] = GateSignals
    needs: ClassVar[tuple[str, ...]] = (EXITS,)

    def learn(self, target: GateTarget, inputs: Tensor, references: Tensor | None, seed: int) -> Learned:
        """See :meth:`Universal.learn`."""
        ball: Ball = L1(keep=0.1) if self.norm == "L1" else BALLS[self.norm]
        epochs, batches, repeats = {"Linf": (1, 1, 20), "L2": (11, 5, 50), "L1": (1, 10, 100)}[self.norm]
        batches = min(batches, -(-len(inputs) // BATCH))  # with fewer inputs the ball must still shrink to its end
        steps = epochs * batches * repeats
        optimizer: Optimizer = Steps((0.16 if self.norm == "Linf" else 0.0625) * self.eps)
        if self.norm == "L2":
            optimizer = ShrinkingBall(steps, self.eps, period=batches * repeats, size=0.1, cosine=False)
        like = inputs[:1].to(target.device)
        return descend(
            target,
            inputs,
            objective=UniformExits(),
            ball=ball,
            eps=self.eps,
            optimizer=optimizer,
            schedule=_schedule(inputs[: BATCH * batches], epochs, repeats),
            steps=steps,
            start=ball.random([torch.Generator().manual_seed(seed)], optimizer.radius(0, self.eps), like),
        )


@dataclass(frozen=True, kw_only=True)
class DeepSlothClassUniversal(DeepSlothUniversal):
    """Push every internal classifier to the uniform distribution with one perturbation per true class."""

    id: ClassVar[str] = "deepsloth-class-universal"

    def learn(self, target: GateTarget, inputs: Tensor, references: Tensor | None, seed: int) -> Learned:
        """See :meth:`Universal.learn`; ``references`` are required.

        Raises:
            UsageError: without references.
        """
        if references is None:
            raise UsageError(f"expected a class for each input, got none; {self.id} needs references")
        classes = max(int(references.max()) + 1, target.run(inputs[:1].to(target.device)).outputs.shape[-1])
        perturbations = torch.zeros(classes, *inputs.shape[1:], device=target.device)
        parts = []
        for label in range(classes):
            of_class = inputs[references == label]
            if len(of_class):
                parts.append(super().learn(target, of_class, None, seed))
                perturbations[label] = parts[-1].perturbations[0]
        return Learned(
            perturbations,
            sum(part.forwards for part in parts),
            sum(part.backwards for part in parts),
            all(part.zero_gradient for part in parts),
        )


def _schedule(inputs: Tensor, epochs: int, repeats: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batch of each step, and classes that :class:`UniformExits` does not look at."""
    for _ in range(epochs):
        for batch in inputs.split(BATCH):
            for _ in range(repeats):
                yield batch, torch.zeros(len(batch), dtype=torch.int64)


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
        objective: maps signals, and what the schedule says beside a batch, to a loss per sample.
        ball: geometry of the budget.
        eps: radius of the budget.
        optimizer: turns gradients into steps.
        schedule: the batch of each step, and what the objective is told beside it.
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
        candidate = apply(batch.to(target.device), delta, ball, radius, space).requires_grad_()
        signals = target.signals(candidate)
        losses = evading(signals, objective(signals, beside))
        gradient = gradient_of(losses.mean(), candidate).sum(0, keepdim=True)
        forwards, backwards = forwards + len(batch), backwards + len(batch)
        if step == 0:
            zero_gradient = (gradient == 0).to(torch.float32).mean().item() > 0.5
        loss = losses.detach().mean(0, keepdim=True)
        # no clamp to the pixel range here: the perturbation belongs to no one image
        delta = optimizer.step(ball, delta, gradient, loss, step, state, partial(ball.project, radius=radius))
        if (step + 1) % max(1, steps // CHECKS) == 0 or step == steps - 1:
            within = ball.project(delta, eps)
            cost = _cost(target, inputs, within, ball, eps)
            forwards += len(inputs)
            best.offer(torch.tensor([0]), within, torch.tensor([cost], dtype=torch.float64))
    return Learned(best.inputs, forwards, backwards, zero_gradient)


def _cost(target: Target, inputs: Tensor, delta: Tensor, ball: Ball, eps: float) -> float:
    """Return the hard cost of all inputs with one perturbation, a batch at a time."""
    space = target.space
    assert isinstance(space, DenseSpace)
    total = 0.0
    for batch in inputs.split(BATCH):
        sent = apply(batch.to(target.device), delta, ball, eps, space)
        total += target.attacker_cost(target.run(sent)).sum().item()
    return total
