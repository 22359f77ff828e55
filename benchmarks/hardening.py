"""(o) What do hardening and calibration buy at equal accuracy? ``python -m benchmarks.hardening``: costs, no timing.

Five networks: ``sdn-digits`` as trained, calibrated, hardened, hardened by distillation between exits too, and trained
as long as these from the same weights by the same recipe, but on no attacked image. Each leaves by the cheapest
threshold that has the wanted accuracy on validation data; accuracy and cost are those of the test split.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torpor.attacks.registry import load_attack
from torpor.data.images import Digits, ImageSet
from torpor.defenses.registry import load_defense
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.thresholds import threshold_table
from torpor.training.early_exit import train
from torpor.training.early_exit_card import all_logits
from torpor.training.hardening import HARDENERS, ExitHardener

NAME = "sdn-digits"
WANTED = (0.96, 0.98)
ATTACKS = (("deepsloth", "8/255", None), ("deepsloth", "16/255", None), ("standard", "16/255", 100))
"""Attack, radius in Linf, and test images that are attacked at most."""


@dataclass(frozen=True)
class Point:
    """How one network does at one threshold.

    Attributes:
        network: its name.
        threshold: confidence at which images leave.
        accuracy: on clean test images.
        clean: mean cost of clean test images, as a share of the whole network's.
        attacked: the same under each attack.
    """

    network: str
    threshold: float
    accuracy: float
    clean: float
    attacked: tuple[float, ...]


def plainly_trained(hardener: ExitHardener, data: ImageSet, epochs: int) -> EarlyExitTarget:
    """Train as ``hardener`` does, on clean images only."""
    recipe = replace(hardener.recipe, epochs=epochs)
    with tempfile.TemporaryDirectory() as folder:
        model = train(hardener.start, data.load("train"), recipe, Path(folder) / "checkpoint.safetensors")
    return EarlyExitTarget(model, Confidence(1.0), input_shape=hardener.entry.input_shape, name="as long, unattacked")


def networks(data: ImageSet, epochs: int | None = None) -> list[EarlyExitTarget]:
    """Return the five networks; that without attacks is trained for ``epochs``, the recipe's if None."""
    hardener = HARDENERS[f"{NAME}-hardened"]
    assert isinstance(hardener, ExitHardener)
    base = hardener.base.load()
    names = ("calibrated", "hardened", "neo-kd")
    defended = [load_defense(name).prepared(base, data, [], 0).defend(base) for name in names]
    found = [base, plainly_trained(hardener, data, epochs or hardener.recipe.epochs)]
    return found + [target for target in defended if isinstance(target, EarlyExitTarget)]


def at_accuracy(target: EarlyExitTarget, data: ImageSet, wanted: float, limit: int | None = None) -> Point:
    """Judge ``target`` at the cheapest threshold with the ``wanted`` accuracy on validation data."""
    table = threshold_table(*all_logits(target, data, "validation"), target.exit_costs)
    chosen = min((row for row in table if row.accuracy >= wanted), key=lambda row: row.mean_cost)
    ruled = target.with_rule(f"confidence:{chosen.threshold}")
    batch = data.load("test", limit)
    inputs, whole = ruled.read(batch.inputs), float(ruled.prices.cost(ruled.static_work()))
    outcome = ruled.run(inputs)
    attacked = []
    for name, eps, most in ATTACKS:
        result = load_attack(name, norm="Linf", eps=eps)(ruled, inputs[:most], references=batch.references[:most])
        attacked.append(float(ruled.prices.cost(result.attacked.work).mean()) / whole)
    accuracy = float(ruled.utility(outcome.outputs, batch.references).mean())
    clean = float(ruled.prices.cost(outcome.work).mean()) / whole
    return Point(target.name, chosen.threshold, accuracy, clean, tuple(attacked))


def main(words: Sequence[str] | None = None) -> None:
    """Print one line for each network and wanted accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, help="test images at most")
    options = parser.parse_args(words)
    data = Digits()
    for target in networks(data):
        for wanted in WANTED:
            point = at_accuracy(target, data, wanted, options.limit)
            under = ", ".join(
                f"{name} {eps} {cost:.1%}" for (name, eps, _), cost in zip(ATTACKS, point.attacked, strict=True)
            )
            print(
                f"{wanted:.0%} {point.network}: threshold {point.threshold:g}, accuracy {point.accuracy:.1%}, clean "
                f"{point.clean:.1%}, {under}",
                flush=True,
            )


if __name__ == "__main__":
    main()
