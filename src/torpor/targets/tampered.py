"""Tampered targets as folders: the target that they are made from, by its name, and other weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from torpor.core.errors import DataError, UsageError
from torpor.targets.base import Target
from torpor.targets.weights import modules_in

MARK = "tampered:"
CARD, WEIGHTS, TRIGGER = "tampering.json", "weights.safetensors", "trigger.safetensors"
KEYS = ("base", "tampering", "seed")


def save_tampered(
    target: Target, folder: Path, *, base: str, seed: int, trigger: Mapping[str, Tensor] | None = None
) -> Path:
    """Write a tampered target, so that ``tampered:FOLDER`` loads it; the card comes last.

    Args:
        target: the tampered one.
        folder: to be made; must not hold another one.
        base: name of the target that it was made from.
        seed: that it was made with.
        trigger: what was learned to set it off.

    Returns:
        The folder.

    Raises:
        UsageError: if it cannot be written, or one is there.
    """
    if (folder / CARD).exists():
        raise UsageError(f"expected a folder without a tampered model, got {folder}; name another one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(_state(target), folder / WEIGHTS)
        save_file({name: each.cpu().contiguous() for name, each in (trigger or {}).items()}, folder / TRIGGER)
        card = {"base": base, "tampering": target.tampering, "seed": seed}
        partial = folder / f"{CARD}.partial"
        partial.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, folder / CARD)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"expected a folder that can be written, got {folder}: {error}") from error
    return folder


def load_tampered(name: str) -> Target:
    """Load what :func:`save_tampered` wrote.

    Args:
        name: the folder.

    Raises:
        UsageError: if it is none, or its target cannot be loaded.
        DataError: if the files are damaged, or the weights are not those of its target.
    """
    from torpor.targets.resolve import load_target

    folder = Path(name)
    if not (folder / CARD).is_file():
        raise UsageError(f"expected a folder that 'torpor tamper' wrote, with {CARD}, got {name!r}; check the path")
    card = _card(folder / CARD)
    loaded: Any = load_target(card["base"])
    try:
        state, learned = load_file(folder / WEIGHTS), load_file(folder / TRIGGER)
    except (OSError, SafetensorError) as error:
        raise DataError(f"expected weights in {folder}, got: {error}; get the folder again") from error
    modules = modules_in(loaded)
    wanted = {f"{at}.{key}": each for at, module in enumerate(modules) for key, each in module.state_dict().items()}
    odd = [key for key, each in state.items() if key not in wanted or each.shape != wanted[key].shape]
    if odd or set(state) != set(wanted):
        raise DataError(
            f"expected the weights of {card['base']} in {folder / WEIGHTS}, got others"
            f"{f' ({odd[0]})' if odd else ''}; get the folder again"
        )
    if bad := [key for key, each in state.items() if each.is_floating_point() and not each.isfinite().all()]:
        raise DataError(f"expected finite weights in {folder / WEIGHTS}, got NaN or infinity in {bad[0]}")
    for at, module in enumerate(modules):
        prefix = f"{at}."
        module.load_state_dict(
            {key.removeprefix(prefix): each for key, each in state.items() if key.startswith(prefix)}
        )
    loaded.tampering, loaded.trigger_state, loaded.base = card["tampering"], learned, card["base"]
    target: Target = loaded
    return target


def _state(target: Target) -> dict[str, Tensor]:
    """Return the weights of all networks of a target, by the number of the network and their name."""
    return {
        f"{at}.{key}": each.detach().cpu().contiguous().clone()
        for at, module in enumerate(modules_in(target))
        for key, each in module.state_dict().items()
    }


def _card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"expected a card in {path}, got: {error}; get the folder again") from error
    if not isinstance(card, dict) or not all(isinstance(card.get(key), str) for key in KEYS[:2]):
        raise DataError(f"expected {' and '.join(KEYS[:2])} in {path}, got others; get the folder again")
    if card["base"].startswith(MARK) or not isinstance(card.get("seed"), int):
        raise DataError(f"expected the name of a clean target and a seed in {path}, got others; get the folder again")
    return card
