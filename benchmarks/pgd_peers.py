"""(e) Our PGD step beside torchattacks' and foolbox's on the same network: ``python -m benchmarks.pgd_peers``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from benchmarks.common import Always, Options, Row, busy, command, images, interleave, network
from torpor.attacks.early_exit.pgd import PGD
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget

EPS, STEPS, STEP = 8 / 255, 20, 1 / 255

Attack = Callable[[int], object]
"""Run PGD with so many steps."""


class Silent(nn.Module):
    """A head that costs nothing and says nothing."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, features: Tensor) -> Tensor:
        """Return zeros ``[B, C]``."""
        return features.new_zeros(len(features), self.classes)


def final_exit(target: EarlyExitTarget) -> nn.Sequential:
    """Return the network of the last exit alone."""
    return nn.Sequential(*(stage for stage, _ in target.blocks), target.blocks[-1][1]).eval()


def ours(network: nn.Module, shape: tuple[int, int, int], classes: int, inputs: Tensor, labels: Tensor) -> Attack:
    """Return our PGD on a plain classifier, to us a network with one silent exit before it."""
    module = ShallowDeepNetwork([nn.Identity(), network], [Silent(classes), nn.Identity()])
    target = EarlyExitTarget(module, Always(), input_shape=shape)
    # steps=0 is not an attack: the start of a search costs one forward pass, as its last step does
    return lambda steps: PGD(eps=EPS, steps=steps).search(target, inputs, labels, seed=0)


def torchattacks(network: nn.Module, inputs: Tensor, labels: Tensor) -> Attack:
    """Return torchattacks' PGD."""
    package: Any = import_module("torchattacks")
    return lambda steps: package.PGD(network, eps=EPS, alpha=STEP, steps=steps)(inputs, labels)


def foolbox(network: nn.Module, inputs: Tensor, labels: Tensor) -> Attack:
    """Return foolbox's PGD."""
    package: Any = import_module("foolbox")
    model = package.PyTorchModel(network, bounds=(0, 1), device="cpu")
    return lambda steps: package.attacks.LinfPGD(steps=steps, abs_stepsize=STEP)(model, inputs, labels, epsilons=[EPS])


def pgd_peers(
    target: EarlyExitTarget, inputs: Tensor, labels: Tensor, options: Options, *, steps: int = STEPS, rounds: int = 3
) -> list[Row]:
    """Compare the time of one step, from attacks of ``steps`` steps and of 1."""
    if options.peers is not None:
        sys.path.insert(0, str(options.peers))
    network = final_exit(target)
    mine = ours(network, target.space.shape, target.classes, inputs, labels)
    rows = []
    for name, build in (("torchattacks", torchattacks), ("foolbox", foolbox)):
        title = f"(e) our PGD step / {name}'s"
        try:
            peer = build(network, inputs, labels)
        except ImportError as error:
            rows.append(Row(title, None, note=f"{name} is not there: {error}"))
            continue
        rows.append(_compare(title, mine, peer, options, steps, rounds))
    return rows


def _compare(title: str, mine: Attack, peer: Attack, options: Options, steps: int, rounds: int) -> Row:
    calls = {
        "mine": lambda: mine(steps),
        "mine 1": lambda: mine(1),
        "peer": lambda: peer(steps),
        "peer 1": lambda: peer(1),
    }
    times = interleave(calls, options, rounds=rounds, warmup=1)
    value, ci95 = times.estimate(
        lambda median: (median["mine"] - median["mine 1"]) / (median["peer"] - median["peer 1"])
    )
    step = (times.seconds["mine"] - times.seconds["mine 1"]).mean() / (steps - 1)
    return Row(title, value, ci95, note=f"ours {1e3 * step:.0f} ms{busy(times)}")


def run(options: Options) -> list[Row]:
    """Compare at batch 64."""
    target = network()
    inputs, labels = images(target, 64, options)
    return pgd_peers(target, inputs, labels, options)


if __name__ == "__main__":
    command(run)
