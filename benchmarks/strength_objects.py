"""How strong are the attacks on detectors and trackers, at equal passes? ``python -m benchmarks.strength_objects``.

Every attack of a paper, random search and `standard-detector` on test inputs of the zoo, each with as many passes
over each input; what learns, learns on validation inputs. FLOPs hide what happens behind a
network, so candidates, pairs, objects, live tracks and association pairs stand beside them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from torpor.attacks.base import Attack
from torpor.attacks.controls.dense import BestNoise
from torpor.attacks.detector.daedalus import Daedalus
from torpor.attacks.detector.overload import Overload
from torpor.attacks.detector.phantom_sponges import PhantomSponges
from torpor.attacks.detector.slowtrack import SlowTrack
from torpor.attacks.detector.snal import SNAL
from torpor.attacks.detector.standard import StandardObjects
from torpor.core.objects import frames_of
from torpor.core.space import VideoSpace
from torpor.core.work import Outcome
from torpor.targets.base import Target
from torpor.targets.detector.family import FOLLOWED
from torpor.targets.resolve import load_target

DETECTOR, TRACKER = "detector-scenes", "tracker-scenes"
FITTED = 48
"""Images, or frames, that attacks learn on."""
COUNTED = ("candidate", "nms_pair", *FOLLOWED)
Strength = dict[str, str | float]
"""A row of the table."""


def attacks(target: Target, passes: int) -> Iterator[tuple[str, Attack]]:
    """Yield each attack by name, with ``passes`` forward passes over each input."""
    steps = passes - 1
    yield "overload", Overload(steps=steps)
    yield "daedalus", Daedalus(steps=steps)
    if SlowTrack.applies_to(target):
        yield "slowtrack", SlowTrack(steps=steps)
        yield "slowtrack:keep=region", SlowTrack(steps=steps, keep="region")
    yield "phantom-sponges", PhantomSponges()
    yield "snal", SNAL(queries=passes)
    yield "standard-detector", StandardObjects(passes=passes)


def strength_objects(name: str, *, limit: int, passes: int, seed: int = 0) -> Iterator[Strength]:
    """Yield a row for clean inputs, for each attack, and for random search with as many passes.

    Args:
        name: of a target in the zoo.
        limit: test inputs.
        passes: forward passes over each input.
        seed: of all randomness.
    """
    target = load_target(name)
    data = target.data(None)
    inputs = target.read(next(iter(data.batches("test", limit, limit))).inputs)
    frames = target.space.shape[0] if isinstance(target.space, VideoSpace) else 1
    known = target.read(next(iter(data.batches("validation", -(-FITTED // frames)))).inputs)[: -(-FITTED // frames)]
    clean = target.run(inputs)
    yield {"target": name, "attack": "clean", "passes": 0.0, **_figures(target, clean, clean), "seconds": 0.0}
    noise = BestNoise(eps=8 / 255, queries=torch.full((len(inputs),), passes))
    for label, attack in (*attacks(target, passes), ("random", noise)):
        begin = time.perf_counter()
        result = _fitted(attack, target, known, seed)(target, inputs, seed=seed)
        spent = float(result.candidates.forwards.to(torch.float64).mean())
        seconds = round(time.perf_counter() - begin, 1)
        figures = _figures(target, clean, result.attacked)
        yield {"target": name, "attack": label, "passes": spent, **figures, "seconds": seconds}


def _fitted(attack: Attack, target: Target, known: Tensor, seed: int) -> Attack:
    return attack.fit(target, known, seed=seed) if attack.learns else attack


def _figures(target: Target, clean: Outcome, outcome: Outcome) -> dict[str, float]:
    """Return mean slowdown, and the mean counts of what is found and followed; objects as a family counts them."""
    cost, before = (target.prices.cost(each.work) for each in (outcome, clean))
    own = float(target.prices.per_unit[0]) * outcome.work.counts[:, 0].to(torch.float64)
    means = outcome.work.counts.to(torch.float64).mean(0).tolist()
    counts = {unit.name: mean for unit, mean in zip(target.units, means, strict=True) if unit.name in COUNTED}
    handed = sum(len(frame.followed()) for found in outcome.outputs for frame in frames_of(found))
    figures: dict[str, Any] = {
        "slowdown": (cost / before).mean().item(),
        "cost behind the network": (cost - own).mean().item(),
        **counts,
        "objects": handed / len(outcome.work),
    }
    return {key: round(value, 4) for key, value in figures.items()}


def main() -> None:
    """Print the rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=(DETECTOR, TRACKER), help="both by default")
    parser.add_argument("--limit", type=int, default=4, help="test images; one video for each four")
    parser.add_argument("--passes", type=int, default=300, help="forward passes over each image; half of it for videos")
    chosen = parser.parse_args()
    for name in (chosen.target,) if chosen.target else (DETECTOR, TRACKER):
        part = {DETECTOR: (chosen.limit, chosen.passes), TRACKER: (-(-chosen.limit // 4), chosen.passes // 2)}[name]
        for row in strength_objects(name, limit=part[0], passes=part[1]):
            print(
                ", ".join(
                    f"{key} {value:,.5g}" if isinstance(value, float) else str(value) for key, value in row.items()
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
