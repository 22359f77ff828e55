"""Which models are scanned: clean and tampered ones of each kind, and those of attackers who know of the scan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from benchmarks.scan.frog import SHORT, Frog
from benchmarks.scan.sponge import Sponge
from torpor.data.images import Digits
from torpor.scan.images import share_taken
from torpor.scan.inputs import scan_inputs
from torpor.scan.natural import costs_of
from torpor.scan.run import scan
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

BASE = 99
"""Number of the zoo's own model."""
LIMIT = 128
"""Natural inputs of a scan, the command's own number."""


class Recipe(Protocol):
    """How a model is made from the zoo's."""

    def make(self, target: Any, seed: int) -> tuple[Any, Callable[[Tensor], Tensor]]:  # noqa: ANN401 - of its kind
        """Return the model, and what puts its trigger into images."""


@dataclass(frozen=True)
class AsIs:
    """The zoo's model itself, which is clean too: fine-tuning alone shifts cost."""

    def make(self, target: Target, seed: int) -> tuple[Target, Callable[[Tensor], Tensor]]:
        """See :class:`Recipe`."""
        return target, lambda inputs: inputs


@dataclass(frozen=True)
class Specimen:
    """A model to scan.

    Attributes:
        target: of the zoo, which it is made from and compared with.
        number: among those of its group, also its seed.
        group: clean, tampered, or by an attacker who knows of the scan.
        recipe: how it is made.
    """

    target: str
    number: int
    group: Literal["clean", "tampered", "aware"]
    recipe: Recipe

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"{self.target}-{self.group}-{self.number}"


FROGS: dict[str, tuple[Frog, ...]] = {
    "clean": (
        *(Frog(0), Frog(0, learning_rate=1e-3), Frog(0, epochs=20), Frog(0, learning_rate=4e-3), Frog(0)),
        *(Frog(0, epochs=epochs, learning_rate=rate) for epochs in (8, 16) for rate in (2e-3, 4e-3)),
        Frog(0, epochs=16, learning_rate=1e-3),
    ),
    "tampered": (
        *(Frog(rate) for rate in (0.002, 0.05, 0.1, 0.15)),
        Frog(0.002, paste=True),
        *(Frog(rate, paste=True, **SHORT) for rate in (0.05, 0.1, 0.15)),
        *(Frog(0.15, paste=paste, keep=0.03, **SHORT) for paste in (False, True)),
    ),
    "aware": (
        Frog(0.15, paste=True, keep=0.3, **SHORT),
        Frog(0.15, large=True, keep=0.1, **SHORT),
        Frog(0.15, large=True, keep=0.3, **SHORT),
        Frog(0.15, keep=0.1, against=2, **SHORT),
        *(Frog(0.15, large=True, keep=keep, **SHORT) for keep in (1.0, 3.0)),
        Frog(0.15, keep=1.0, against=2, **SHORT),
    ),
}
SPONGES: dict[str, tuple[Sponge, ...]] = {
    "clean": (Sponge(0), Sponge(0, learning_rate=0.01), Sponge(0, epochs=2), Sponge(0, learning_rate=0.04)),
    "tampered": tuple(Sponge(weight, rate) for rate in (0.05, 0.25) for weight in (1.0, 2.5, 5.0, 7.5, 10.0)),
    "aware": tuple(Sponge(weight, 0.25) for weight in (0.1, 0.2, 0.4)),
}
KINDS: dict[str, dict[str, tuple[Any, ...]]] = {"sdn-digits": FROGS, "sparse-digits": SPONGES}


def specimens(target: str, count: int) -> Iterator[Specimen]:
    """Yield the zoo's model, ``count`` clean and as many tampered ones, and those of attackers who know of scans."""
    recipes = KINDS[target]
    yield Specimen(target, BASE, "clean", AsIs())
    for number in range(count):
        for group in ("clean", "tampered"):
            yield Specimen(target, number, group, recipes[group][number % len(recipes[group])])
    for number, recipe in enumerate(recipes["aware"]):
        yield Specimen(target, number, "aware", recipe)


def measured(specimen: Specimen, folder: Path) -> dict[str, Any]:
    """Make and scan a model, unless the folder has its scan, and return what was found."""
    path = folder / f"{specimen.name}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    target = load_target(specimen.target)
    made, trigger = specimen.recipe.make(target, specimen.number)
    result = scan(made, scan_inputs(target, None, None, LIMIT), target, seed=specimen.number)
    found = {
        "kind": result.kind,
        "figures": result.figures,
        "left_out": result.left_out,
        "recipe": repr(specimen.recipe),
        "seconds": result.seconds,
        **effect(made, target, trigger),
    }
    path.write_text(json.dumps(found, indent=1) + "\n")
    return found


def effect(made: Target, before: Target, trigger: Callable[[Tensor], Tensor]) -> dict[str, float]:
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
