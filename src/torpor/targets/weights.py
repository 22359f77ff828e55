"""Weights: read from files, and digested with all else that decides a target's outputs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from torpor.core.errors import DataError
from torpor.targets.user_code import from_user

_DEPTH = 4
_ADDRESS = re.compile("0x[0-9a-fA-F]{6,}")
_NN = ("training",)
"""Attributes of every network that do not affect what it computes here."""

Model = TypeVar("Model", bound=nn.Module)
FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def digest(settings: str, modules: Iterable[nn.Module]) -> str:
    """Return a digest of ``settings``, of all parameters and buffers, and of every layer's settings.

    >>> digest("a", [nn.Dropout(0.1)]) == digest("a", [nn.Dropout(0.1)]) != digest("a", [nn.Dropout(0.2)])
    True
    """
    found = hashlib.blake2b(settings.encode(), digest_size=16)
    for module in modules:
        for name, layer in module.named_modules():
            found.update(f"{name} {type(layer).__qualname__} {_own_words(layer)}".encode())
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            found.update(name.encode() + _raw(value))
    return found.hexdigest()


def plain_state(modules: Iterable[nn.Module]) -> str:
    """Return text that changes when a plain attribute of a layer of the user's own does: numbers, texts, functions.

    >>> plain_state([nn.Identity()])
    ''
    """
    layers = [pair for module in modules for pair in module.named_modules() if from_user(type(pair[1]))]
    return "; ".join(f"{name} {described(_plain(layer))}" for name, layer in layers)


def modules_in(holder: object) -> list[nn.Module]:
    """Return the networks that an object holds, in lists, mappings and other objects of the user's or torpor's, too.

    >>> class Holder:
    ...     def __init__(self) -> None:
    ...         self.parts = [nn.Identity()]
    >>> modules_in(Holder())
    [Identity()]
    """
    return list({id(module): module for module in _modules(holder, _DEPTH, set())}.values())


def described(value: object, depth: int = _DEPTH) -> str:
    """Return text that changes when a plain value does; of other objects only the name of the class.

    >>> described({"scale": 2.0}), described(object())
    ("{'scale': 2.0}", 'object')
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device):
        return repr(value)
    if isinstance(value, Tensor | np.ndarray):
        return hashlib.blake2b(_raw(torch.as_tensor(value)), digest_size=16).hexdigest()
    if isinstance(value, nn.Module) or depth == 0:
        return type(value).__qualname__
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {described(each, depth - 1)}' for key, each in value.items())}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(described(each, depth - 1) for each in value))}}}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(described(each, depth - 1) for each in value)}]"
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _full(cell)]
        code = hashlib.blake2b(value.__code__.co_code, digest_size=8).hexdigest()
        return f"{value.__qualname__} {code} {described((value.__defaults__, *cells), depth - 1)}"
    if from_user(type(value)) and hasattr(value, "__dict__"):
        return f"{type(value).__qualname__} {described(_plain(value), depth - 1)}"
    return type(value).__qualname__


def _own_words(layer: nn.Module) -> str:
    """Return a layer's settings as text."""
    said = ""
    with suppress(Exception):  # a repr by others may fail
        said = _ADDRESS.sub("", layer.extra_repr())
    if isinstance(layer, torch.jit.ScriptModule):
        with suppress(Exception):  # a layer without a forward of its own has no code
            said += str(layer.code)
    return said


def _plain(value: object) -> dict[str, Any]:
    """Return the attributes that no library keeps for itself."""
    own = {name: each for name, each in vars(value).items() if not name.startswith("_") and name not in _NN}
    return dict(sorted(own.items()))


def _modules(holder: object, depth: int, seen: set[int]) -> Iterator[nn.Module]:
    if id(holder) in seen or depth < 0:
        return
    seen.add(id(holder))
    if isinstance(holder, nn.Module):
        yield holder
        return
    inner: Iterable[object] = ()
    if isinstance(holder, dict):
        inner = holder.values()
    elif isinstance(holder, tuple | list):
        inner = holder
    elif type(holder).__module__.startswith("torpor.") or from_user(type(holder)):
        inner = getattr(holder, "__dict__", {}).values()
    for each in list(inner):
        if not isinstance(each, str | bytes | int | float | Tensor | type):
            yield from _modules(each, depth - 1, seen)


def _full(cell: Any) -> bool:  # noqa: ANN401 - CellType
    try:
        return cell.cell_contents is not None or True
    except ValueError:
        return False


def _raw(value: Tensor) -> bytes:
    """Return the bytes of a tensor of any kind that can be stored."""
    plain = value.detach()
    if plain.is_quantized:
        plain = plain.int_repr()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    head = f"{value.dtype} {tuple(value.shape)}".encode()
    return head + plain.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


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
