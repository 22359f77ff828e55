"""Weights on disk: kernels and matrices in half precision, everything else as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save_file
from torch import nn

from torpor.core.errors import DataError, UsageError
from torpor.targets.stored_weights import load_weights

Model = TypeVar("Model", bound=nn.Module)


def save_card(path: Path, card: dict[str, Any]) -> Path:
    """Write a model card, whole or not at all, and return ``path``: where a card lies, the model is whole."""
    partial = Path(f"{path}.partial")
    try:
        partial.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def save_half(model: nn.Module, path: Path) -> None:
    """Write the weights of ``model`` to ``path``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file({name: value.half() if value.ndim > 1 else value for name, value in state.items()}, f"{path}.partial")
    os.replace(f"{path}.partial", path)


def load_half(model: Model, path: Path, name: str) -> Model:
    """Return ``model`` with the weights in ``path``, in evaluation mode.

    Args:
        model: of the same architecture, changed in place.
        path: of what :func:`save_half` wrote.
        name: of the target, for errors.

    Raises:
        UsageError: if the file is missing or does not fit.
    """
    try:
        return load_weights(model, path).eval()
    except DataError as error:
        raise UsageError(
            f"expected weights of {name} in {path}, got a file that does not fit ({error}); train it again"
        ) from error
