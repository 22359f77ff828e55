from __future__ import annotations

import pytest
import torch
from ode_targets import noisy, random_ode
from torch import Tensor, nn

from torpor.targets.ode.solver import Controller, solve
from torpor.targets.ode.tableaus import ADAPTIVE_HEUN, DOPRI5, Tableau

torchdiffeq = pytest.importorskip("torchdiffeq", reason="needs torchdiffeq: pip install 'torpor[ode]'")


class Watched(nn.Module):
    """A right-hand side that notes what torchdiffeq asks of it, and which steps it takes."""

    def __init__(self, slope: nn.Module) -> None:
        super().__init__()
        self.slope, self.evaluations = slope, 0
        self.sizes: list[float] = []
        self.rejected = 0

    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        self.evaluations += 1
        slope: Tensor = self.slope(time, state)
        return slope

    def callback_step(self, time: Tensor, state: Tensor, size: Tensor) -> None:
        self.sizes.append(size.item())

    def callback_reject_step(self, time: Tensor, state: Tensor, size: Tensor) -> None:
        self.rejected += 1


def by_torchdiffeq(slope: nn.Module, start: Tensor, controller: Controller) -> tuple[Watched, Tensor]:
    watched = Watched(slope)
    times = torch.tensor([0.0, controller.end], dtype=start.dtype)
    settings = {"rtol": controller.rtol, "atol": controller.atol, "method": controller.tableau.name}
    return watched, torchdiffeq.odeint(watched, start, times, **settings)[-1]


@pytest.mark.parametrize("tableau", [DOPRI5, ADAPTIVE_HEUN])
@pytest.mark.parametrize("seed", range(3))
def test_each_sample_takes_the_steps_that_torchdiffeq_takes_for_it_alone(tableau: Tableau, seed: int) -> None:
    target = random_ode(tableau, seed, max_steps=400)
    start = target.stem(noisy(12, seed).double())
    found = solve(target.slope, start, target.controller)
    sizes = [step.size[step.rows == row].item() for row in range(12) for step in found.attempts if row in step.rows]
    known = [by_torchdiffeq(target.slope, start[row : row + 1], target.controller) for row in range(12)]
    assert found.steps.tolist() == [len(watched.sizes) for watched, _ in known]
    assert found.rejected.tolist() == [watched.rejected for watched, _ in known]
    assert (2 + tableau.evaluations * found.steps).tolist() == [watched.evaluations for watched, _ in known]
    assert sizes == pytest.approx([size for watched, _ in known for size in watched.sizes], rel=1e-6)
    assert torch.allclose(found.states, torch.cat([state for _, state in known]), rtol=1e-7, atol=1e-8)
    assert len(set(found.steps.tolist())) > 1


def test_rejected_steps_are_those_of_torchdiffeq() -> None:
    target = random_ode(ADAPTIVE_HEUN, 1, max_steps=400)
    start = target.stem(noisy(12, 1).double())
    assert solve(target.slope, start, target.controller).rejected.max() > 1


@pytest.mark.parametrize("tableau", [DOPRI5, ADAPTIVE_HEUN])
def test_shared_steps_are_those_of_torchdiffeq_on_the_batch(tableau: Tableau) -> None:
    target = random_ode(tableau, 2, max_steps=400, shared=True)
    start = target.stem(noisy(12, 2).double())
    found = solve(target.slope, start, target.controller)
    watched, states = by_torchdiffeq(target.slope, start, target.controller)
    assert found.steps.tolist() == [len(watched.sizes)] * 12
    assert found.rejected.tolist() == [watched.rejected] * 12
    assert torch.allclose(found.states, states, rtol=1e-7, atol=1e-8)


def test_images_as_states_are_solved_alike() -> None:
    class Rotation(nn.Module):
        def forward(self, time: Tensor, state: Tensor) -> Tensor:
            return torch.cat([-state[:, 1:], state[:, :1]], 1) * (5 + time)

    start = noisy(4, 3).double().expand(-1, 2, -1, -1).contiguous()
    found = solve(Rotation(), start, Controller(DOPRI5))
    for row in range(4):
        watched, state = by_torchdiffeq(Rotation(), start[row : row + 1], Controller(DOPRI5))
        assert found.steps[row] == len(watched.sizes)
        assert torch.allclose(found.states[row], state[0], rtol=1e-7, atol=1e-8)


def test_a_state_that_stays_takes_the_steps_of_torchdiffeq() -> None:
    class Still(nn.Module):
        def forward(self, time: Tensor, state: Tensor) -> Tensor:
            return torch.zeros_like(state) * time

    start = torch.ones(2, 3, dtype=torch.float64)
    found = solve(Still(), start, Controller(DOPRI5))
    watched, _ = by_torchdiffeq(Still(), start[:1], Controller(DOPRI5))
    assert found.steps.tolist() == [len(watched.sizes)] * 2
    assert found.states.equal(start)
