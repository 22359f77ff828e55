"""What defenses do to tampered models and to clean ones: accuracy, natural cost, and cost under the trigger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.scan.recipes import make
from torpor.data.images import Digits
from torpor.defenses.registry import load_defense
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

TAMPERED = (
    ("sdn-digits", "efficfrog:control=true:epochs=60:trigger_epochs=8"),
    ("sdn-digits", "efficfrog:eps=0.25:epochs=60:trigger_epochs=8"),
    ("sparse-digits", "sponge-poisoning:epochs=5:rate=0.25:strength=10"),
)
NAMES = ("none", "clean-fine-tuning", "fine-pruning", "spectral")
HEAD = (
    "| model | defense | accuracy | natural cost | with trigger | withheld, clean | withheld, trigger |",
    "|---|---|---|---|---|---|---|",
)


def defended(folder: Path) -> list[str]:
    """Return rows of a Markdown table; what is in the folder is not measured again."""
    rows = list(HEAD)
    for at, (name, recipe) in enumerate(TAMPERED):
        path = folder / f"defended-{at}.json"
        if not path.exists():
            path.write_text(json.dumps(_measured(name, recipe), indent=1) + "\n")
        rows += json.loads(path.read_text())
    return rows


def _measured(name: str, recipe: str) -> list[str]:
    base, known = load_target(name), Digits().load("test")
    made, trigger = make(recipe, base, 0)
    images = base.read(known.inputs)
    assert isinstance(images, Tensor)
    clean = float(base.prices.cost(base.run(images).work).mean())
    rows = []
    for defense in NAMES:
        if defense == "spectral" and made.family.traits(made, made.signals(images[:1])) is None:
            continue
        target = made if defense == "none" else load_defense(defense).prepared(made, Digits(), (), 0).defend(made)
        natural, marked = _run(target, images, known.references), _run(target, trigger(images), known.references)
        rows.append(
            f"| `{name}`, `{recipe}` | `{defense}` | {natural[0]:.3f} | {natural[1] / clean:.2f}x | "
            f"{marked[1] / clean:.2f}x | {natural[2]:.1%} | {marked[2]:.1%} |"
        )
        print(rows[-1], flush=True)
    return rows


@torch.no_grad()
def _run(target: Target, images: Tensor, references: Any) -> tuple[float, float, float]:  # noqa: ANN401
    """Return accuracy, mean cost, and the share of inputs that are withheld."""
    outcome = target.run(images)
    withheld = 0.0 if outcome.rejected is None else float(outcome.rejected.double().mean())
    accuracy = float(target.utility(outcome.outputs, references).nan_to_num().mean())
    return accuracy, float(target.prices.cost(outcome.work).mean()), withheld
