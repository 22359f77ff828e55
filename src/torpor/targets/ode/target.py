"""Targets whose solver takes as many steps as an input needs: neural ordinary differential equations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.core.space import ImageSpace
from torpor.core.work import Outcome, Work
from torpor.data.sets import DataSet
from torpor.meters.flops import count_flops
from torpor.targets.early_exit.family import GatedClassifier
from torpor.targets.ode.family import COUNTED, OdeFamily, SolverSignals, units
from torpor.targets.ode.solver import START_EVALUATIONS, Controller, Solution, first_size, solve, stages
from torpor.targets.ode.tableaus import DOPRI5, TABLEAUS
from torpor.targets.weights import digest

LEAST_STEPS = 2
"""Steps that a cap must leave: with one, there is nothing dynamic."""


class OdeModule(Protocol):
    """What a target is made of."""

    @property
    def stem(self) -> nn.Module:
        """From images ``[B, C, H, W]`` to states ``[B, ...]``."""

    @property
    def slope(self) -> nn.Module:
        """The right-hand side, called with times ``[B, 1, ...]`` and states, as torchdiffeq calls it with one time."""

    @property
    def head(self) -> nn.Module:
        """From states to class scores ``[B, classes]``."""


class OdeTarget(GatedClassifier):
    """A classifier that solves an ordinary differential equation from its features to its scores.

    Units are the network's ends (before and after the solver, once), evaluations of the right-hand side, attempted
    steps, and those of them that were rejected. Each sample has steps of its own, those that torchdiffeq 0.2.5 takes
    for it alone, and leaves the batch at the end; the weights are raised to double precision, so that no rounding
    decides a step. A sample that reaches ``max_steps`` is answered from the state that it has reached.

    Args:
        module: the network; a copy of it runs.
        input_shape: ``(C, H, W)`` of one image.
        controller: solver, tolerances, end and the cap on steps. Where its steps are ``shared``, as torchdiffeq shares
            them, a batch is one system: all of its samples take its steps, so that one costly sample costs all others,
            and work depends on batch mates.
        name: shown in reports.
        device: where to run.
        source: makes the data to audit on from the user's ``--data-dir``; Parquet images if None.

    Raises:
        UsageError: if the module does not fit, or the cap leaves fewer than 2 steps.
        MeterError: if an operator's FLOPs cannot be counted.
    """

    family = OdeFamily()
    mechanism = "adaptive ODE solver"
    space: ImageSpace
    samples: int | None = 64

    def __init__(
        self,
        module: OdeModule,
        *,
        input_shape: tuple[int, int, int],
        controller: Controller | None = None,
        name: str = "ode",
        device: str | torch.device = "cpu",
        source: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        self.name, self.source, self.device = name, source, torch.device(device)
        self.space = ImageSpace(input_shape)
        self.controller = controller or Controller(DOPRI5)
        if self.controller.max_steps < LEAST_STEPS:
            raise UsageError(f"expected a cap of {LEAST_STEPS} steps or more, got {self.controller.max_steps}")
        parts = copy.deepcopy((module.stem, module.slope, module.head))  # at once: they may share layers
        self.stem, self.slope, self.head = (
            part.double().to(self.device).eval().requires_grad_(False) for part in parts
        )
        with torch.no_grad():
            state = self.stem(torch.zeros(2, *input_shape, dtype=torch.float64, device=self.device))
            self._check_slope(state)
            logits = self.head(state[:1])
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise UsageError(f"expected a head that scores 2 classes or more, got shape {list(logits.shape)}")
        self.classes = logits.shape[1]
        image = torch.zeros(1, *input_shape, dtype=torch.float64, device=self.device)
        time = state.new_zeros(1, *[1] * (state.ndim - 1))
        ends = count_flops(self.stem, image) + count_flops(self.head, state[:1])
        self.units = units(ends, count_flops(self.slope, time, state[:1]))

    def _check_slope(self, state: Tensor) -> None:
        """Refuse a right-hand side that does not take a time for each sample, or whose samples see each other."""
        state = state + torch.linspace(0, 1, state.numel(), dtype=state.dtype, device=state.device).view_as(state)
        times = state.new_tensor([0.25, 0.75]).view(2, *[1] * (state.ndim - 1))
        try:
            alone = torch.cat([self.slope(times[row].flatten()[0], state[row : row + 1]) for row in range(2)])
            fits = torch.allclose(self.slope(times, state), alone, rtol=1e-9, atol=1e-9)
        except RuntimeError:
            fits = False
        if not fits:
            raise UsageError(
                "expected a right-hand side that takes a time for each sample, [B, 1, ...], as it takes one for all, "
                "and computes samples for themselves, got other slopes; write its time as t * torch.ones_like(y[:, :1])"
            )

    @torch.no_grad()
    def run(self, inputs: Tensor) -> Outcome:
        """Return the scores at the end of each sample's solution, and its work.

        Raises:
            UsageError: if states or step sizes leave the range of their numbers.
        """
        found = self._solved(self.space.check(inputs))
        logits = self.head(found.states)
        if not (logits.isfinite().all() and found.attempts[-1].following.isfinite().all()):
            raise UsageError(
                f"expected finite states and step sizes of {self.name}, got NaN or infinity; check its right-hand side"
            )
        return Outcome(logits.float(), self._work(found))

    def _solved(self, inputs: Tensor) -> Solution:
        return solve(self.slope, self.stem(inputs.to(self.device).double()), self.controller)

    def _work(self, found: Solution) -> Work:
        steps = found.steps.cpu()
        evaluations = START_EVALUATIONS + self.controller.tableau.evaluations * steps
        return Work(torch.stack([torch.ones_like(steps), evaluations, steps, found.rejected.cpu()], 1))

    def max_work(self, inputs: Tensor) -> Work:
        """Return the work of as many steps as the cap allows, all of them rejected."""
        most = self.controller.max_steps
        evaluations = START_EVALUATIONS + self.controller.tableau.evaluations * most
        return Work(torch.tensor([[1, evaluations, most, most]]).expand(len(inputs), -1).clone())

    def signals(self, inputs: Tensor) -> SolverSignals:
        """Solve differentiably, step sizes included.

        Gate ``k`` is how far the time reached after ``k + 1`` attempted steps is past the end, as a share of it: past
        the end, it saves step ``k + 2``. After the last step, times go on by the controller's last proposal. What is
        expected is the number of steps, with the part of the last one that was needed.
        """
        found, controller = self._solved(inputs), self.controller
        time, size = torch.zeros_like(found.first), found.first
        expected, sizes, times = torch.zeros_like(time), [size], []
        for number in range(controller.max_steps):
            time = time + size
            if number < len(found.attempts):
                step = found.attempts[number]
                time, size = time.index_copy(0, step.rows, step.reached), size.index_copy(0, step.rows, step.following)
                needed = number + 1 - (step.reached - controller.end) / step.size
                expected = expected.index_copy(0, step.rows, needed)
            times.append(time)
            sizes.append(size)
        capped = time < controller.end
        expected = torch.where(capped, controller.max_steps + (controller.end - time) / size, expected)
        margins = torch.stack(times[:-1], 1) / controller.end - 1
        return SolverSignals(None, margins, self._work(found), expected=expected, sizes=torch.stack(sizes, 1))

    def steps(self, work: Work) -> dict[str, Tensor]:
        """Return evaluations, attempted and rejected steps, int64 ``[B]``, whatever else a defense counts."""
        return dict(zip(COUNTED, work.counts[:, 1 : 1 + len(COUNTED)].unbind(1), strict=True))

    def features(self, inputs: Tensor) -> Tensor:
        """Return the state in which each solution begins, ``[B, F]``."""
        state: Tensor = self.stem(inputs.to(self.device).double())
        return state.flatten(1).float()

    def details(self) -> dict[str, Any]:
        """Return the solver and its settings; see :meth:`Target.details`."""
        settings = self.controller
        own = {"solver": settings.tableau.name, "rtol": settings.rtol, "atol": settings.atol}
        return {**super().details(), **own, "max_steps": settings.max_steps, "shared_steps": settings.shared}

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls of the network's ends, of an evaluation, of a step, and of a whole solution."""
        tableau = self.controller.tableau
        images = inputs.to(self.device).double()
        with torch.no_grad():
            state = self.stem(images)
            time = state.new_zeros(len(state), *[1] * (state.ndim - 1))
            now = self.slope(time, state)
            size = first_size(self.slope, state, now, self.controller)

        def step() -> object:
            return stages(self.slope, time, state, now, size, tableau)

        yield Work(torch.tensor([[1, 0, 0, 0]])), torch.no_grad()(lambda: self.head(self.stem(images)))
        yield Work(torch.tensor([[0, 1, 0, 0]])), torch.no_grad()(lambda: self.slope(time, state))
        yield Work(torch.tensor([[0, tableau.evaluations, 1, 1]])), torch.no_grad()(step)
        yield self.run(inputs).work, lambda: self.run(inputs)

    def to(self, device: torch.device) -> Self:
        """Move the network and return this target."""
        self.device = device
        self.stem, self.slope, self.head = (part.to(device) for part in (self.stem, self.slope, self.head))
        return self

    def with_controller(self, **changes: Any) -> Self:  # noqa: ANN401 - of the controller's fields
        """Return a target that shares this one's network but is solved otherwise.

        Args:
            **changes: fields of :class:`~torpor.targets.ode.solver.Controller`; ``tableau`` may be a name.

        Raises:
            UsageError: if there is no such solver.
        """
        if isinstance(name := changes.get("tableau"), str):
            if name not in TABLEAUS:
                raise UsageError(f"expected one of {', '.join(TABLEAUS)}, got the solver {name!r}")
            changes["tableau"] = TABLEAUS[name]
        other = copy.copy(self)
        other.controller = replace(self.controller, **changes)
        return other

    def rungs(self) -> int:
        """See :meth:`Capped.rungs`: each rung halves the cap on steps."""
        return self.controller.max_steps.bit_length() - 1

    def at_rung(self, rung: int) -> Self:
        """See :meth:`Capped.at_rung`."""
        return self.with_controller(max_steps=self.controller.max_steps >> rung)

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the controller and all weights count."""
        return digest(f"{super().fingerprint()} {self.controller}", (self.stem, self.slope, self.head))
