"""Does anything beat ``standard`` on images and sounds that a decoder reads? ``python -m benchmarks.strength_dense``.

Each attack of a paper, and random noise, may spend at least as many passes on a sample as ``standard``, forward and
backward together. Captioners are asked about images behind those that anything was tuned on; the speech recognizers
join where ``--data-dir`` names the Free Spoken Digit Dataset.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.strength import SEED, Column, Strength, column, headroom, per_sample_attacks, rows, table
from torpor.attacks.base import Attack
from torpor.attacks.controls.dense import BestNoise
from torpor.attacks.decoder.standard import PASSES, StandardDecoder
from torpor.attacks.early_exit.square import Square
from torpor.attacks.iterative import IterativeAttack
from torpor.core.batches import take
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

TUNED = 400
"""Scenes at the beginning of the test split that tuning or training's own checks may have used."""
CAPTIONERS = (
    ("captioner-scenes-gru", (("L2", 1.0), ("L2", 3.0), ("Linf", 8 / 255))),
    ("captioner-scenes-lstm", (("L2", 3.0), ("Linf", 8 / 255), ("Linf", 16 / 255))),
)
SPEECH = (
    ("speech-digits", (("Linf", 0.002), ("Linf", 0.01), ("L2", 0.5))),
    ("speech-digits-features", (("Linf", 0.05), ("Linf", 0.25))),
)
Budgets = tuple[tuple[str, float], ...]


def strength_dense(
    name: str, budgets: Budgets, count: int, *, first: int = 0, folder: Path | None = None
) -> Iterator[Strength]:
    """Yield a row for each budget of one target, in headroom.

    Args:
        name: of a target in the zoo.
        budgets: norms and radii.
        count: samples.
        first: of them, in the test split.
        folder: with the target's data; None if it ships with them.
    """
    target = load_target(name)
    batch = target.data(folder).load("test", first + count)
    chosen = torch.arange(first, first + count)
    inputs, references = target.read(take(batch.inputs, chosen)), take(batch.references, chosen)
    for norm, eps in budgets:
        result = StandardDecoder(norm=norm, eps=eps)(target, inputs, references=references, seed=SEED)
        forwards = result.candidates.forwards.cpu()
        spent = forwards + result.candidates.backwards.cpu()
        standard = Column(StandardDecoder.id, headroom(target, result), forwards.double().mean().item())
        others = [column(each, target, inputs, references)[0] for each in rivals(target, norm, eps, spent)]
        yield Strength(name, f"{norm} {eps:.3g}", count, "headroom, %", standard, others)


def rivals(target: Target, norm: str, eps: float, spent: torch.Tensor) -> Iterator[Attack]:
    """Yield the attacks of papers with as many iterations as ``standard`` may have, and noise, ``spent`` times each."""
    for attack in per_sample_attacks(target, norm, eps):
        if isinstance(attack, IterativeAttack):
            yield replace(attack, steps=PASSES // 2)
        elif isinstance(attack, Square):
            yield replace(attack, queries=PASSES)
        else:
            yield attack
    yield BestNoise(norm=norm, eps=eps, queries=spent)


@rows("dense")
def dense(count: int) -> Iterator[Strength]:
    """Yield the rows of the captioners."""
    for name, budgets in CAPTIONERS:
        yield from strength_dense(name, budgets, count, first=TUNED)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20, help="samples per row (default: 20)")
    parser.add_argument("--data-dir", type=Path, help="folder with the Free Spoken Digit Dataset")
    given = parser.parse_args()
    found = list(dense(given.samples))
    for name, budgets in SPEECH if given.data_dir is not None else ():
        found += strength_dense(name, budgets, given.samples, folder=given.data_dir)
    print(table(found))


if __name__ == "__main__":
    main()
