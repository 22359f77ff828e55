"""What all benchmarks share: targets and inputs, interleaved timing, ratios with intervals, and the table."""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from torpor.audits.run.identity import environment
from torpor.data.images import to_unit
from torpor.meters import WallClock
from torpor.meters.clock import BUSY_LIMIT, Clock, timed
from torpor.targets.decoder.captioner import CaptionerTarget
from torpor.targets.decoder.generation.texts import SourceTarget
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.early_exit.exit_rules import Confidence, ExitRule
from torpor.targets.early_exit.family import GatedClassifier
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.resolve import load_target
from torpor.zoo.early_exits import EARLY_EXITS

NETWORK = "sdn-resnet56-cifar10"
CAPTIONER = "captioner-scenes-lstm"
DETECTOR = "detector-scenes"
SPELLER, TRANSLATOR = "speller", "translator-multi30k"
RESAMPLES = 2000

Call = Callable[[], object]
Medians = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Options:
    """What the command line chose.

    Attributes:
        data_dir: folder of CIFAR-10, or one with subfolders ``cifar10`` and ``multi30k``; random images if None.
        rounds: timed rounds; each benchmark's own number if None.
        cpu_time: whether to read the process's processor time instead of the wall clock.
        peers: folder to import peers from, besides the environment's own.
    """

    data_dir: Path | None = None
    rounds: int | None = None
    cpu_time: bool = False
    peers: Path | None = None

    @property
    def clock(self) -> Clock:
        """What tells the time."""
        return CpuClock() if self.cpu_time else WallClock()


class CpuClock:
    """Processor time of this process: a guide on a busy machine, as long as there is one thread."""

    def now(self) -> float:
        """Return seconds."""
        return time.process_time()


@dataclass(frozen=True)
class Never(ExitRule):
    """Do the work of a confidence rule but never leave."""

    def margin(self, logits: Tensor) -> Tensor:
        """See :meth:`ExitRule.margin`; below 0 whatever the logits."""
        return Confidence(1.0).margin(logits) - 1

    @override
    def describe(self) -> str:
        return "never"


@dataclass(frozen=True)
class Always(ExitRule):
    """Do the work of a confidence rule but leave at once: to an attack, a sample that is never finished."""

    def margin(self, logits: Tensor) -> Tensor:
        """See :meth:`ExitRule.margin`; above 0 whatever the logits."""
        return Confidence(1.0).margin(logits) + 2

    @override
    def describe(self) -> str:
        return "always"


def with_rule(target: EarlyExitTarget, rule: ExitRule) -> EarlyExitTarget:
    """Return a target that shares the network but leaves by another rule."""
    other = copy.copy(target)
    other.rule = rule
    return other


def every_exit(target: EarlyExitTarget, images: Tensor) -> Tensor:
    """Return the logits of every exit ``[B, K, C]`` by the network alone, without torpor."""
    features, logits = images, []
    for stage, head in target.blocks:
        features = stage(features)
        logits.append(head(features))
    return torch.stack(logits, dim=1)


def network() -> EarlyExitTarget:
    """Load the zoo's trained network that all timings use."""
    return EARLY_EXITS[NETWORK].load()


def images(target: GatedClassifier, count: int, options: Options) -> tuple[Tensor, Tensor]:
    """Return test images in [0, 1] and their classes; random ones if the user named no data."""
    if options.data_dir is not None:
        batch = target.data(options.data_dir).load("test", count)
        return to_unit(batch.inputs), batch.references
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *target.space.shape), generator=generator, dtype=torch.uint8)
    return to_unit(pixels), torch.randint(0, target.classes, (count,), generator=generator)


def captioner(count: int) -> tuple[CaptionerTarget, Tensor]:
    """Load the zoo's captioner, and test images in [0, 1]; they are generated."""
    target = load_target(CAPTIONER)
    assert isinstance(target, CaptionerTarget)
    return target, target.space.from_bytes(target.data(None).load("test", count).inputs)


def detector(count: int) -> tuple[DetectorTarget, Tensor]:
    """Load the zoo's detector, and test images in [0, 1]; they are generated."""
    target = load_target(DETECTOR)
    assert isinstance(target, DetectorTarget)
    return target, target.space.from_bytes(target.data(None).load("test", count).inputs)


def translators(count: int, options: Options) -> list[tuple[SourceTarget, tuple[str, ...]]]:
    """Load the zoo's speller and, if the data folder holds Multi30k, its translator; with test texts for each."""
    multi30k = options.data_dir is not None and (options.data_dir / "multi30k").is_dir()
    found = []
    for name in (SPELLER, TRANSLATOR) if multi30k else (SPELLER,):
        target = load_target(name)
        assert isinstance(target, SourceTarget)
        found.append((target, target.data(options.data_dir).load("test", count).inputs))
    return found


def caption_steps(target: CaptionerTarget, inputs: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield at each step the rows that still run, what they say and its scores, by the network alone."""
    network = target.network
    features = network.encode(inputs)
    state = network.start(features)
    rows = torch.arange(len(inputs))
    tokens = torch.full_like(rows, network.vocabulary.start)
    for _ in range(target.cap):
        scores, state = network.step(features, tokens, state)
        tokens = scores.detach().argmax(-1)
        yield rows, tokens, scores
        stays = tokens != network.vocabulary.end
        if not stays.any():
            return
        if not stays.all():
            rows, tokens, features = rows[stays], tokens[stays], features[stays]
            state = tuple(part[stays] for part in state)


@dataclass(frozen=True)
class Times:
    """Seconds per call, in rounds that time every call once.

    Attributes:
        seconds: name of a call to its seconds in each round.
        waited: median wait for a processor, as a share of a call's time.
    """

    seconds: Mapping[str, NDArray[np.float64]]
    waited: float

    def estimate(self, statistic: Callable[[Medians], NDArray[np.float64]]) -> tuple[float, tuple[float, float]]:
        """Return a statistic of the calls' medians, and its 95 % bootstrap interval over rounds."""
        rounds = len(next(iter(self.seconds.values())))
        picks = np.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))
        value = statistic({name: np.median(times, keepdims=True) for name, times in self.seconds.items()})
        many = statistic({name: np.median(times[picks], axis=1) for name, times in self.seconds.items()})
        low, high = np.quantile(many, [0.025, 0.975])
        return float(value[0]), (float(low), float(high))


def interleave(calls: Mapping[str, Call], options: Options, *, rounds: int, warmup: int = 2) -> Times:
    """Time the calls in turns in this process, so that drift of the machine meets all alike.

    Args:
        calls: what to time.
        options: ``options.rounds``, if given, replaces ``rounds``.
        rounds: timed calls of each; every other round runs backward.
        warmup: untimed rounds before.
    """
    for _ in range(warmup):
        for call in calls.values():
            call()
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    waits = []
    for turn in range(options.rounds or rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            took, waited = timed(calls[name], options.clock)
            seconds[name].append(took)
            waits.append(waited)
    return Times({name: np.array(times) for name, times in seconds.items()}, float(np.median(waits)))


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is compared.
        value: the ratio; None if it could not be measured.
        ci95: its 95 % bootstrap interval over rounds, where it is a timing.
        goal: the ratio wanted, if any.
        at_least: whether the goal is a lower bound rather than an upper one.
        note: circumstances, or why there is no value.
    """

    name: str
    value: float | None
    ci95: tuple[float, float] | None = None
    goal: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the goal is met, in words."""
        if self.value is None:
            return "skipped"
        if self.goal is None:
            return "no goal"
        met = self.value >= self.goal if self.at_least else self.value <= self.goal
        return "met" if met else "not met"

    def cells(self) -> list[str]:
        """Return the texts of the table's columns."""
        value = "none" if self.value is None else f"{self.value:.3f}"
        interval = f"{self.ci95[0]:.3f} to {self.ci95[1]:.3f}" if self.ci95 else ""
        goal = "" if self.goal is None else f"{'>=' if self.at_least else '<='} {self.goal:.2f}"
        return [self.name, value, interval, goal, self.verdict, self.note]


COLUMNS = ("what", "ratio", "95 % interval", "goal", "verdict", "note")


def busy(times: Times) -> str:
    """Return a warning for the note of a row if the machine was not free, else nothing."""
    return f"; BUSY, waited {times.waited:.0%}" if times.waited > BUSY_LIMIT else ""


def table(rows: Sequence[Row], options: Options, *, markdown: bool) -> str:
    """Return the rows and where they were measured as text."""
    about: dict[str, Any] = environment(torch.device("cpu"))
    where = f"{about['processor']}, {about['threads']} threads, torch {about['torch']}, torpor {about['torpor']}"
    data = "test data" if options.data_dir else "test data, but random images for CIFAR-10 (no --data-dir)"
    clock = "processor time" if options.cpu_time else "wall-clock"
    lines = [list(COLUMNS), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    text = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    rule = ["-" * width for width in widths]
    bar = [
        "| " + " | ".join(line) + " |" if markdown else "  ".join(line).rstrip() for line in (text[0], rule, *text[1:])
    ]
    return "\n".join([*bar, "", f"{where}; {data}; {clock}."])


def command(benchmark: Callable[[Options], list[Row]]) -> None:
    """Run one benchmark as a command."""
    parser = argparse.ArgumentParser(description=benchmark.__doc__)
    where = "folder of CIFAR-10, or with subfolders cifar10 and multi30k; random images and no translator without"
    parser.add_argument("--data-dir", type=Path, help=where)
    parser.add_argument("--rounds", type=int, help="timed rounds instead of each benchmark's own number")
    parser.add_argument("--cpu-time", action="store_true", help="read processor time; use with OMP_NUM_THREADS=1")
    parser.add_argument("--peers", type=Path, help="folder that holds torchattacks, if it is not installed")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    given = parser.parse_args()
    options = Options(given.data_dir, given.rounds, given.cpu_time, given.peers)
    print(table(benchmark(options), options, markdown=given.markdown))
