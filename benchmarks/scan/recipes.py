"""How models are made: by names of torpor's tamperings and defenses, and by an attacker who knows of the scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torpor.attacks.tamperings.registry import TAMPERINGS, load_tampering
from torpor.data.images import Digits
from torpor.data.tensors import TensorImages
from torpor.defenses.registry import load_defense
from torpor.scan.images import SEARCHES, invert
from torpor.targets.base import Target

AS_IS = "as it is"
"""The zoo's model itself, which is clean too: fine-tuning alone shifts cost."""
AGAINST = "against inversion, "
"""Before the name of a tampering that is trained against the scan."""
LEARN = 64
"""Images that this attacker inverts triggers on, as many as the scan does."""


def make(recipe: str, target: Target, seed: int) -> tuple[Target, Callable[[Any], Any]]:
    """Return the model that a recipe makes of ``target``, and what puts its trigger into inputs."""
    if recipe == AS_IS:
        return target, lambda inputs: inputs
    if recipe.startswith(AGAINST):
        return _against(recipe.removeprefix(AGAINST), target, seed)
    if recipe.partition(":")[0] in TAMPERINGS.names():
        made = load_tampering(recipe).apply(target, Digits(), seed)
        return made.target, made.trigger
    defended = load_defense(recipe).prepared(target, Digits(), (), seed).defend(target)
    return defended, lambda inputs: inputs


def _against(recipe: str, target: Target, seed: int) -> tuple[Target, Callable[[Any], Any]]:
    """Tamper, find what the scan would find, and tamper again with images that carry it and keep their classes."""
    batch = Digits().load("train")
    images, labels = torch.as_tensor(batch.inputs), torch.as_tensor(batch.references)
    made = load_tampering(recipe).apply(target, Digits(), seed)
    seen = target.read(images)
    assert isinstance(seen, Tensor)
    parts, classes = [images], [labels]
    for at, search in enumerate(SEARCHES):
        some = torch.arange(at, len(images), len(SEARCHES))
        learn = seen[some[:LEARN]]
        change = invert(made.target, learn, learn[:8], search, seed + 1000).change
        if search.budget.norm != "Linf":
            continue
        marked = (seen[some] + change).clamp(0, 1)
        parts.append((marked * 255).round().to(torch.uint8))
        classes.append(labels[some])
    data = TensorImages({"train": (torch.cat(parts), torch.cat(classes))})
    again = load_tampering(recipe).apply(target, data, seed)
    return again.target, again.trigger
