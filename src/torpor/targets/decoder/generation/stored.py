"""What weights a folder holds, read from the headers of its safetensors files alone."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torpor.core.errors import DataError
from torpor.targets.decoder.generation.folder import INDEX, LARGEST_TABLE, parse_object, read_object

SINGLE = "model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8,
    "F16": 2, "BF16": 2, "F32": 4, "F64": 8,
}  # fmt: skip
"""Types that torpor knows the work of, and the size of one number."""
LARGEST_HEADER = 100_000_000  # bytes, as in safetensors itself
POINTER = b"version https://git-lfs"
SHARDS = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
"""Files of torch's distributed checkpoints, which transformers would read first."""


@dataclass(frozen=True)
class Stored:
    """One tensor in a file.

    Attributes:
        dtype: as safetensors names it.
        shape: of the tensor.

    >>> Stored("F32", (2, 3)).size
    6
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def stored_tensors(folder: Path, explicit: str | None = None) -> dict[str, Stored]:
    """Return the tensors of a saved model by name.

    Args:
        folder: that holds ``model.safetensors``, or its index and all shards.
        explicit: file to read instead, as ``transformers_weights`` in a configuration names it.

    Raises:
        DataError: if files are missing, cut, or contradict each other.
    """
    if shard := next((path for path in sorted(folder.glob("shard-*")) if SHARDS.fullmatch(path.name)), None):
        raise DataError(f"expected {SINGLE} or its index in {folder}, got {shard.name}; save the whole model again")
    name = explicit or (SINGLE if (folder / SINGLE).is_file() else f"model{INDEX}")
    if Path(name).name != name or not name.endswith((".safetensors", INDEX)):
        raise DataError(f"expected transformers_weights to name a safetensors file in {folder}, got {name!r:.60}")
    if not (folder / name).is_file():
        raise DataError(f"expected weights as safetensors in {folder}, got {_instead(folder)}; save the model again")
    other = folder / f"model{INDEX}"
    if name == SINGLE and other.is_file() and set(_weight_map(other).values()) != {SINGLE}:
        raise DataError(f"expected one set of weights in {folder}, got {SINGLE} and {other.name}; delete the stale one")
    return _indexed(folder / name) if name.endswith(INDEX) else _header(folder / name)


def _instead(folder: Path) -> str:
    safe = sorted(path.name for path in folder.glob("*.safetensors"))
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if safe:
        return f"{safe[0]} without {SINGLE} or an index"
    return f"only {pickles[0]}, which may run code when it is read" if pickles else "no weights"


def _weight_map(index: Path) -> dict[str, str]:
    found: Any = read_object(index, LARGEST_TABLE).get("weight_map")
    files = list(found.values()) if isinstance(found, dict) else []
    right = all(isinstance(file, str) and Path(file).name == file and file.endswith(".safetensors") for file in files)
    if not files or not right:
        raise DataError(f"expected a weight_map of files beside {index}, got {found!r:.60}; save the model again")
    return dict(found)


def _indexed(index: Path) -> dict[str, Stored]:
    places = _weight_map(index)
    found: dict[str, Stored] = {}
    for shard in sorted(set(places.values())):
        if not (index.parent / shard).is_file():
            raise DataError(f"expected {shard}, which {index} names, got no such file; save the model again")
        held = _header(index.parent / shard)
        named = {name for name, file in places.items() if file == shard}
        if odd := sorted(named ^ set(held)):
            raise DataError(f"expected {shard} to hold what {index} says, got {listed(odd)}; save the model again")
        found |= held
    return found


def _header(path: Path) -> dict[str, Stored]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if start + file.read(len(POINTER) - 8) == POINTER:
            raise DataError(f"expected weights in {path}, got a pointer of git-LFS; fetch the file with git lfs pull")
        file.seek(8)
        if len(start) < 8 or length > min(size - 8, LARGEST_HEADER):
            raise DataError(f"expected weights in {path}, got {size:,} bytes that are none; save the model again")
        try:
            header = parse_object(file.read(length).decode("utf-8"), path)
        except UnicodeDecodeError as error:
            raise DataError(f"expected weights in {path}, got a damaged header; save the model again") from error
    header.pop("__metadata__", None)
    found, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(path, *item)):
        tensor, (begin, stop) = _tensor(path, name, entry), _offsets(path, name, entry)
        if begin != end or stop - begin != tensor.size * BYTES[tensor.dtype]:
            raise DataError(f"expected weights in {path}, got {name} of a wrong size; save the model again")
        found[name], end = tensor, stop
    if 8 + length + end != size or not found:
        raise DataError(f"expected {8 + length + end:,} bytes of weights in {path}, got {size:,}; save the model again")
    return found


def _offsets(path: Path, name: str, entry: Any) -> tuple[int, int]:  # noqa: ANN401 - whatever the file says
    found = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(found, list) or [type(part) for part in found] != [int, int]:
        raise DataError(f"expected weights in {path}, got {name!r:.60} without a place; save the model again")
    return found[0], found[1]


def _tensor(path: Path, name: str, entry: dict[str, Any]) -> Stored:
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in BYTES:
        raise DataError(
            f"expected weights in float32, float16 or bfloat16, got {dtype!r:.20} ({name:.60} in {path}), whose work "
            "is not known; save the model in one of these"
        )
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise DataError(f"expected weights in {path}, got {name!r:.60} of shape {shape!r:.60}; save the model again")
    return Stored(str(dtype), tuple(shape))


def listed(names: list[str], most: int = 3) -> str:
    """Name the first few, then say how many more there are.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    shown, more = ", ".join(f"{name:.80}" for name in names[:most]), len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown
