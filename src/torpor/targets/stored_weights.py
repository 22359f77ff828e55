"""Weights in files: every one that a model has, no other, all numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from torpor.core.errors import DataError

Model = TypeVar("Model", bound=nn.Module)
FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_weights(model: Model, path: Path) -> Model:
    """Return ``model`` with the state dict in a safetensors file: every weight, no other, all numbers.

    Args:
        model: of the same architecture, changed in place.
        path: of the file.

    Raises:
        DataError: if the file is missing, damaged or special, or its weights are not those of the model.
    """
    if not path.is_file():
        raise DataError(f"expected the weights of this model in {path}, got no file; check the path")
    try:
        found = load_file(path)
    except (OSError, SafetensorError, MemoryError) as error:
        raise DataError(f"expected the weights of this model in {path}, got: {_line(error)}; check the file") from error
    wanted: dict[str, Tensor] = model.state_dict()
    for name, value in found.items():
        floating = name in wanted and wanted[name].is_floating_point()
        if floating and not (value.dtype in FLOATING and bool(value.isfinite().all())):
            kind = value.dtype if value.dtype not in FLOATING else "NaN or infinity"
            raise DataError(f"expected finite floating-point weights in {path}, got {kind} in {name}; save them again")
    try:
        model.load_state_dict(found)
    except RuntimeError as error:
        raise DataError(f"expected the weights of this model in {path}, got others: {_line(error)}") from error
    return model


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
