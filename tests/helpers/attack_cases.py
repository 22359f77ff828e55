"""Targets, images and attacks that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.controls.dense import Shuffled
from torpor.attacks.early_exit.climbs import AutoGates
from torpor.attacks.early_exit.square import PersistentSquare
from torpor.attacks.early_exit.standard import Member, Standard
from torpor.attacks.registry import ATTACKS
from torpor.attacks.search.balls import ball_of
from torpor.core.budget import Budget
from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.work import Outcome, Work
from torpor.data.images import Digits, to_unit
from torpor.data.sets import DataSet
from torpor.targets.early_exit.exit_rules import Confidence, ExitRule
from torpor.targets.early_exit.family import GateTarget
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.toys import needle, tug
from torpor.zoo.registry import sdn_digits

PATCHES = {"patch": 0.3, "patch-center": 0.3}
EPS = {"toy": {"Linf": 0.1, "L2": 0.4, "L1": 1.6, **PATCHES}, "net": {**Attack.radii, **PATCHES}}
FEW: dict[str, dict[str, int]] = {
    "deepsloth": {"steps": 40},
    "square": {"queries": 40},
    "ilfo": {"steps": 20},
    "gradauto": {"steps": 20},
    "gradmdm": {"steps": 20},
    "deepperform": {"steps": 10},
    "ereba": {"rounds": 3, "steps": 10},
}


def random_net(
    exits: int, shape: tuple[int, int, int], *, classes: int = 4, seed: int = 0, rule: ExitRule | None = None
) -> EarlyExitTarget:
    """Build an untrained convolutional net whose heads are sure enough to let some images leave at each exit."""
    torch.manual_seed(seed)
    stages: list[nn.Module] = []
    heads: list[nn.Module] = []
    channels = shape[0]
    for _ in range(exits):
        stages.append(nn.Sequential(nn.Conv2d(channels, 5, 3, padding=1), nn.Tanh()))
        linear = nn.Linear(5 * shape[1] * shape[2], classes)
        with torch.no_grad():
            linear.weight *= 16
        heads.append(nn.Sequential(nn.Flatten(), linear))
        channels = 5
    net = ShallowDeepNetwork(stages, heads)
    return EarlyExitTarget(net, rule or Confidence(0.6), input_shape=shape, name=f"random-{exits}")


TARGETS: dict[str, Callable[[], EarlyExitTarget]] = {
    "needle": needle,
    "tug": tug,
    "digits": sdn_digits,
    "wide": lambda: random_net(2, (3, 6, 10)),
    "tall": lambda: random_net(5, (1, 11, 7), seed=1),
}


def images(target: GateTarget, count: int, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Return test images and classes for any of :data:`TARGETS`: digits, else random ones around random means."""
    if target.name == "sdn-digits":
        batch = Digits().load("test", count)
        return to_unit(batch.inputs), batch.references
    rng = torch.Generator().manual_seed(seed)
    mean = torch.rand(count, 1, 1, 1, generator=rng)
    noise = 0.3 * (torch.rand(count, *target.space.shape, generator=rng) - 0.5)
    return target.space.snap(mean + noise), torch.arange(count) % 2


def build(name: str, norm: str, target: GateTarget, count: int) -> Attack:
    """Build attack ``name``, with few iterations, for ``count`` images, and fit it on images that no test attacks."""
    eps = EPS["toy" if target.name.startswith("toy") else "net"][norm]
    known, classes = images(target, 12, seed=99)
    if name == Shuffled.id:
        return Shuffled(norm=norm, eps=eps, perturbation=noise(norm, eps, known[:count]))
    options: dict[str, Any] = FEW.get(name, {})
    return ATTACKS.find(name)(norm=norm, eps=eps, **options).fit(target, known[8:], references=classes[8:])


def noise(norm: str, eps: float, like: Tensor) -> Tensor:
    """Return random perturbations on the edge of the ball."""
    ball = ball_of(Budget(norm, eps), ImageSpace((like.shape[1], like.shape[2], like.shape[3])))
    return ball.random([torch.Generator().manual_seed(i) for i in range(len(like))], eps, like)


def attack_rows(attack: Attack, target: GateTarget, inputs: Tensor, labels: Tensor, rows: slice) -> AttackResult:
    """Attack some rows; a control with one perturbation per row gets those of the rows."""
    if isinstance(attack, Shuffled):
        attack = Shuffled(norm=attack.norm, eps=attack.eps, perturbation=attack.perturbation[rows])
    return attack(target, inputs[rows], references=labels[rows], seed=3)


def few_members(self: Standard) -> tuple[Member, ...]:
    """Return the ensemble's members with few iterations."""
    return (
        AutoGates(norm=self.norm, eps=self.eps, steps=40),
        AutoGates(norm=self.norm, eps=self.eps, steps=20, decay=0.5),
        AutoGates(norm=self.norm, eps=self.eps, steps=20, decay=0.0, resumes=True),
        PersistentSquare(norm=self.norm, eps=self.eps, queries=40),
    )


@dataclass
class Counting(GateTarget):
    """A target that notes how many rows every call had, and how many went through a backward pass."""

    inner: EarlyExitTarget
    runs: list[int] = field(default_factory=list)
    forwards: list[int] = field(default_factory=list)
    backwards: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name, self.units, self.space = self.inner.name, self.inner.units, self.inner.space
        self.mechanism, self.device = self.inner.mechanism, self.inner.device

    def run(self, inputs: Tensor) -> Outcome:
        self.runs.append(len(inputs))
        return self.inner.run(inputs)

    def signals(self, inputs: Tensor) -> GateSignals:
        self.forwards.append(len(inputs))
        signals = self.inner.signals(inputs)
        if signals.exit_logits.requires_grad:
            signals.exit_logits.register_hook(lambda gradient: self.backwards.append(len(gradient)))
        return signals

    def max_work(self, inputs: Tensor) -> Work:
        return self.inner.max_work(inputs)

    def exits(self, work: Work) -> Tensor:
        return self.inner.exits(work)

    def labels(self, outputs: Tensor, references: Tensor | None) -> Tensor:
        return self.inner.labels(outputs, references)

    def utility(self, outputs: Tensor, references: Tensor) -> Tensor:
        return self.inner.utility(outputs, references)

    def agreement(self, outputs: Tensor, clean: Tensor) -> Tensor:
        return self.inner.agreement(outputs, clean)

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        return self.inner.probes(inputs)

    def to(self, device: torch.device) -> Counting:
        return self

    def data(self, folder: Path | None) -> DataSet:
        return self.inner.data(folder)
