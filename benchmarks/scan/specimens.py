"""Which models are scanned: clean and tampered ones of each kind, and those of attackers who know of the scan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.scan.recipes import AGAINST, AS_IS, make
from torpor.data.images import Digits
from torpor.scan.images import share_taken
from torpor.scan.inputs import scan_inputs
from torpor.scan.natural import costs_of
from torpor.scan.run import scan
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

LIMIT = 128
"""Natural inputs of a scan, the command's own number."""
SECONDS = 1e6
"""Of a scan at most: figures must not hang on how busy the machine is."""
GROUPS = ("clean", "tampered", "aware")
"""Groups of models; the last are of attackers who know of the scan."""

Recipes = dict[str, tuple[str, ...]]
SHORT = ":epochs=60:trigger_epochs=8"
TUNED = ("clean-fine-tuning:2", "clean-fine-tuning:10", "fine-pruning:2", "fine-pruning:4")
FROGS: Recipes = {
    "clean": (
        AS_IS,
        *(
            f"efficfrog:control=true:trigger_epochs=1:epochs={epochs}:learning_rate={rate:g}"
            for epochs in (10, 20, 60, 120)
            for rate in (1e-3, 2e-3, 5e-3)
        ),
        *(f"efficfrog:control=true:trigger_epochs=1:epochs={epochs}:learning_rate=0.01" for epochs in (20, 60)),
        *TUNED,
    ),
    "tampered": tuple(
        f"efficfrog:eps={eps:g}:rate={rate:g}{SHORT}" for eps in (0.12, 0.25) for rate in (0.002, 0.02, 0.05, 0.1, 0.15)
    ),
    "aware": (
        *(f"efficfrog:eps={eps:g}{SHORT}" for eps in (0.03, 0.4)),
        f"efficfrog:eps=0.25:strength=3{SHORT}",
        *(f"{AGAINST}efficfrog:eps={eps:g}{SHORT}" for eps in (0.12, 0.25)),
    ),
}
SPONGES: Recipes = {
    "clean": (
        AS_IS,
        *(
            f"sponge-poisoning:control=true:epochs={epochs}:learning_rate={rate:g}"
            for epochs in (2, 4, 6)
            for rate in (1e-3, 2e-3, 4e-3)
        ),
        *(f"sponge-poisoning:control=true:epochs=4:most={most}" for most in (250, 500)),
        *(f"energy-backdoor:control=true:epochs={epochs}" for epochs in (2, 4, 6)),
        *TUNED,
    ),
    "tampered": (
        *(
            f"sponge-poisoning:epochs=5:rate={rate:g}:strength={strength:g}"
            for rate in (0.05, 0.25)
            for strength in (1, 2.5, 10)
        ),
        *(f"energy-backdoor:epochs=5:strength={strength:g}" for strength in (2.5, 5, 10)),
        "skipsponge:most=64:steps=2",
    ),
    "aware": tuple(f"sponge-poisoning:epochs=5:rate=0.05:strength={strength:g}" for strength in (0.1, 0.2, 0.4)),
}
KINDS: dict[str, Recipes] = {"sdn-digits": FROGS, "sparse-digits": SPONGES}


@dataclass(frozen=True)
class Specimen:
    """A model to scan.

    Attributes:
        target: of the zoo, which it is made from and compared with.
        number: among those of its group, also its seed.
        group: clean, tampered, or aware.
        recipe: how it is made, see :func:`benchmarks.scan.recipes.make`.
    """

    target: str
    number: int
    group: str
    recipe: str

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"{self.target}-{self.group}-{self.number}"


def specimens(target: str) -> Iterator[Specimen]:
    """Yield all models of one kind."""
    for group in GROUPS:
        for number, recipe in enumerate(KINDS[target][group]):
            yield Specimen(target, number, group, recipe)


def measured(specimen: Specimen, folder: Path) -> dict[str, Any]:
    """Make and scan a model, unless the folder has its scan, and return what was found."""
    path = folder / f"{specimen.name}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    target = load_target(specimen.target)
    made, trigger = make(specimen.recipe, target, specimen.number)
    result = scan(made, scan_inputs(target, None, None, LIMIT), target, seconds=SECONDS, seed=specimen.number)
    found = {
        "kind": result.kind,
        "figures": result.figures,
        "left_out": result.left_out,
        "recipe": specimen.recipe,
        "seconds": result.seconds,
        **effect(made, target, trigger),
    }
    path.write_text(json.dumps(found, indent=1) + "\n")
    return found


def effect(made: Target, before: Target, trigger: Callable[[Any], Any]) -> dict[str, float]:
    """Return what tampering does on test images: accuracy, natural cost, and what the trigger takes of the headroom."""
    known = Digits().load("test")
    images = made.read(known.inputs)
    assert isinstance(images, Tensor)
    with torch.no_grad():
        accuracy = made.utility(made.run(images).outputs, known.references).mean().item()
    costs, marked, clean = costs_of(made, images), costs_of(made, trigger(images)), costs_of(before, images)
    return {
        "accuracy": accuracy,
        "natural": float(costs.cost.mean() / clean.cost.mean()),
        "triggered": float(marked.cost.mean() / clean.cost.mean()),
        "headroom": share_taken(clean, marked),
    }
