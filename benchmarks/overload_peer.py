"""(l) Our Overload beside that of the Adversarial Robustness Toolbox: ``python -m benchmarks.overload_peer``.

Both attack the same detector and images within the same Linf radius: the Toolbox's with the settings of its notebook,
and with five times as many iterations, since ten of its steps cannot use up the radius. It is shown the same network in
the layout of YOLOv5 that it wants. Candidates are counted in 8-bit images, by the hard target.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import Options, Row, busy, command, detector, interleave
from torpor.attacks.detector.overload import Overload
from torpor.targets.detector.detection import DetectorTarget

GOAL = 0.5
EPS, GRID = 16 / 255, 10
ITERATIONS = (10, 50)
LADDER = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50)

Peer = Callable[[int], Tensor]
"""Return attacked images after so many iterations."""


class Layout(nn.Module):
    """The detector as YOLOv5 answers: middle, width and height, objectness, and a probability for each class."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[B, N, 5 + L]``."""
        boxes, objectness, classes, _ = self.network.propose(images)  # type: ignore[operator]
        corner, other = boxes.split(2, -1)
        found = [(corner + other) / 2, other - corner, objectness.sigmoid().unsqueeze(-1), classes.sigmoid()]
        return torch.cat(found, -1)


def toolbox(target: DetectorTarget, inputs: Tensor) -> Peer:
    """Return the Toolbox's attack."""
    package: Any = import_module("art.attacks.evasion")
    estimator = SimpleNamespace(model=SimpleNamespace(model=Layout(target.network)), device=target.device)

    def attack(iterations: int) -> Tensor:
        settings = {"max_iter": iterations, "num_grid": GRID, "batch_size": len(inputs)}
        peer = package.OverloadPyTorch(estimator, eps=EPS, threshold=target.nms.conf, **settings)
        return torch.from_numpy(peer.generate(inputs.numpy()))

    return attack


def candidates(target: DetectorTarget, inputs: Tensor) -> float:
    """Return the mean number of candidates per image."""
    return target.run(target.space.snap(inputs)).work.counts[:, 1].double().mean().item()


def ours(target: DetectorTarget, inputs: Tensor, steps: int) -> float:
    """Return the candidates of our attack, which verifies them itself."""
    result = Overload(eps=EPS, steps=steps)(target, inputs)
    return result.attacked.work.counts[:, 1].double().mean().item()


def overload_peer(
    target: DetectorTarget, inputs: Tensor, peer: Peer, iterations: int, options: Options, *, rounds: int = 3
) -> list[Row]:
    """Compare candidates after as many iterations, and the time to as many candidates.

    Ours takes the fewest steps of ``LADDER`` that reach as many candidates. Its time includes the verification on the
    hard target, the peer's does not.
    """
    wanted, same = candidates(target, peer(iterations)), ours(target, inputs, iterations)
    clean = candidates(target, inputs)
    reached = {}
    for steps in LADDER:
        reached[steps] = ours(target, inputs, steps)
        if reached[steps] >= wanted:
            break
    steps, got = max(reached.items(), key=lambda item: item[1])
    note = f"candidates: {clean:.0f} clean, {wanted:.0f} ART's"
    first = Row(
        f"(l) Overload, candidates / ART's after {iterations} iterations",
        same / wanted if wanted else None,
        goal=1.0,
        at_least=True,
        note=f"{note}, {same:.0f} ours",
    )
    name = f"(l) Overload, time to ART's candidates / its {iterations} iterations"
    if got < wanted:
        return [first, Row(name, None, goal=GOAL, note=f"{note}, {got:.0f} ours at most")]
    calls = {"ART": lambda: peer(iterations), "ours": lambda: ours(target, inputs, steps)}
    times = interleave(calls, options, rounds=rounds, warmup=1)
    value, ci95 = times.estimate(lambda median: median["ours"] / median["ART"])
    return [first, Row(name, value, ci95, GOAL, note=f"{got:.0f} candidates after {steps} steps{busy(times)}")]


def run(options: Options) -> list[Row]:
    """Compare on 16 test images."""
    if options.peers is not None:
        sys.path.insert(0, str(options.peers))
    target, inputs = detector(16)
    try:
        peer = toolbox(target, inputs)
    except ImportError as error:
        return [Row("(l) Overload / ART's", None, goal=GOAL, note=f"ART does not import: {error}")]
    return [row for iterations in ITERATIONS for row in overload_peer(target, inputs, peer, iterations, options)]


if __name__ == "__main__":
    command(run)
