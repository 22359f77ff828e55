"""(n) Does a guard keep its promise? ``python -m benchmarks.guards [--count 10000]``: no timing, only counts.

Each guard is fitted on calm inputs and then sent random ones, of any mean and contrast, and attacked ones, crafted
through the guard. An input breaks the promise if any unit runs more often than the guarded static bound says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from torpor.attacks.registry import load_attack
from torpor.core.batches import Samples
from torpor.core.space import DenseSpace
from torpor.core.text import TextSpace
from torpor.core.work import Work
from torpor.defenses.guards.base import Guard
from torpor.defenses.registry import load_defense
from torpor.targets.base import Target
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import CHARACTERS, ToyText
from torpor.targets.detector.nms import NMS
from torpor.targets.detector.toy_boxes import LampTarget
from torpor.targets.detector.track_work import SORT, ByteTrack, Tracking
from torpor.targets.detector.tracking import TrackerTarget
from torpor.targets.early_exit.toys import needle, tug
from torpor.targets.resolve import load_target

COUNT = 10_000
CHUNK = 250
"""Inputs at once."""


@dataclass(frozen=True)
class Case:
    """A guard in front of a target, and who attacks it.

    Attributes:
        guard: its name.
        target: makes the target.
        attack: its name.
        options: of the attack.
        share: of all inputs that are attacked; few where attacks are slow.
    """

    guard: str
    target: Callable[[], Target]
    attack: str
    options: tuple[tuple[str, Any], ...] = (("eps", 0.2), ("steps", 6))
    share: float = 0.5


@dataclass(frozen=True)
class Found:
    """What became of a case.

    Attributes:
        random: inputs that were sent.
        attacked: likewise.
        exceeding: inputs that broke the promise.
        reached: inputs that cost the static bound.
        cut: inputs that would have cost more without the guard.
        bound: guarded static bound, as a share of the unguarded one.
        most: FLOPs of the costliest input, as a share of the guarded static bound.
    """

    random: int
    attacked: int
    exceeding: int
    reached: int
    cut: int
    bound: float
    most: float


def lights() -> LampTarget:
    """Build a detector of bright cells."""
    return LampTarget(nms=NMS(conf=0.5))


def lamps(tracker: Tracking) -> TrackerTarget:
    """Build a tracker of bright cells whose caps no input reaches."""
    return TrackerTarget(LampTarget(8, 12, NMS(conf=0.5)), tracker, frames=8)


NICG = "nicg-slowdown"
TEXT = (("eps", 2), ("norm", "chars"))
BOXES = (("eps", 0.3), ("steps", 4))
CASES = (
    *(Case(guard, needle, "deepsloth") for guard in ("deadline", "deadline:3")),
    Case("deadline:2", tug, "deepsloth"),
    Case("deadline", partial(load_target, "sdn-digits"), "deepsloth"),
    *(Case(guard, PeakTarget, NICG) for guard in ("steps", "steps:9", "loop-stop", "hazard", "hazard:25")),
    *(Case(guard, ToyText, "llmeffichecker-char", TEXT, 0.02) for guard in ("steps", "steps:9", "loop-stop", "hazard")),
    *(Case(guard, lights, "overload", BOXES, 0.2) for guard in ("boxes", "boxes:7")),
    *(Case(guard, partial(lamps, ByteTrack(buffer=3)), "overload", BOXES, 0.05) for guard in ("boxes:3", "tracks")),
    Case("tracks:2", partial(lamps, SORT(buffer=2, confirm=1)), "overload", BOXES, 0.05),
    *(
        Case(guard, partial(load_target, "captioner-scenes-gru"), NICG, (("eps", 0.1), ("steps", 3)), 0.01)
        for guard in ("steps:12", "loop-stop:12", "hazard:12")
    ),
)


def inputs_of(target: Target, count: int, seed: int, *, calm: bool = False) -> Samples:
    """Return random inputs; ``calm`` ones are dark images, short texts."""
    rng = torch.Generator().manual_seed(seed)
    space = target.space
    if isinstance(space, TextSpace):
        lengths = torch.randint(1, 8 if calm else 40, (count,), generator=rng).tolist()
        rows = [torch.randint(len(CHARACTERS) - 1, (length,), generator=rng).tolist() for length in lengths]
        return tuple("".join(CHARACTERS[place] for place in row) for row in rows)
    assert isinstance(space, DenseSpace)
    cells = [*space.shape[:-2], *(-(-side // 4) for side in space.shape[-2:])]
    means, spread = torch.rand(2, count, *[1] * len(cells), generator=rng) * (0.4 if calm else 1.0)
    coarse = means + spread * (torch.rand(count, *cells, generator=rng) - 0.5)  # a cell of toys is 4 pixels wide
    whole = coarse.repeat_interleave(4, -1).repeat_interleave(4, -2)[..., : space.shape[-2], : space.shape[-1]]
    found: Tensor = space.snap(whole + 0.1 * (torch.rand(whole.shape, generator=rng) - 0.5))
    return found


def works(case: Case, guarded: Target, count: int) -> Iterator[tuple[bool, Samples, Work]]:
    """Yield batches of inputs, whether they are attacked, and the work that they cost."""
    attack = load_attack(case.attack, **dict(case.options))
    attacked = round(case.share * count)
    chunk = max(1, min(CHUNK, attacked))
    for start in range(0, count, chunk):
        here = min(chunk, count - start)
        inputs = inputs_of(guarded, here, seed=1 + start)
        if start < attacked:
            inputs = attack(guarded, inputs, references=("",) * here if case.attack == NICG else None).inputs
        yield start < attacked, inputs, guarded.run(inputs).work


def judge(case: Case, count: int = COUNT) -> Found:
    """Send ``count`` inputs to a guarded target."""
    free = case.target()
    guard = load_defense(case.guard)
    assert isinstance(guard, Guard)
    guarded = guard.fit(free, inputs_of(free, CHUNK, seed=0, calm=True)).defend(free)
    static = guarded.static_work()
    limit = guarded.prices.cost(static).item()
    tally = torch.zeros(5, dtype=torch.int64)
    most = 0.0
    for attacked, inputs, work in works(case, guarded, count):
        bound, costs = guarded.max_work(inputs), guarded.prices.cost(work)
        over = (work.counts > bound.counts).any(1) | (work.counts > static.counts).any(1)
        full = guarded.prices.cost(work) == guarded.prices.cost(bound)
        less = free.prices.cost(free.run(inputs).work) > costs
        sent = [0, len(inputs)] if attacked else [len(inputs), 0]
        tally += torch.tensor([*sent, int(over.sum()), int(full.sum()), int(less.sum())])
        most = max(most, costs.max().item())
    whole = free.prices.cost(free.static_work()).item()
    random, forced, exceeding, reached, cut = tally.tolist()
    return Found(random, forced, exceeding, reached, cut, limit / whole, most / limit)


def main() -> int:
    """Judge all cases and print them; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="inputs for each guard")
    parser.add_argument("--only", default="", help="part of a target's name")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'guard':<14}{'target':<24}random attacked exceeding at bound  cut   bound/unguarded  costliest/bound")
    broken = 0
    for case in CASES:
        name = case.target().name
        if options.only not in name:
            continue
        found = judge(case, options.count)
        broken += found.exceeding
        print(
            f"{case.guard:<14}{name:<24}{found.random:6} {found.attacked:8} {found.exceeding:9} {found.reached:8} "
            f"{found.cut:5}   {found.bound:15.3f}  {found.most:15.3f}",
            flush=True,
        )
    print(f"{broken} of all inputs exceed a guarded static bound")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
