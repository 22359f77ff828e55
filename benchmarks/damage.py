"""Random damage to files: bytes, JSON, headers of safetensors, and other things in their place."""

from __future__ import annotations

import contextlib
import json
import os
import random
import struct
from pathlib import Path
from typing import Any

WORDS: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, 10**30, 10**400, "", "x", "\x1b[31m", "\u202e", "\ud800", "NaN",
    "true", [], [None], [[]], {}, {"": 0}, "../../etc/passwd", "a" * 5000, float("nan"), float("inf"), "8/255",
)  # fmt: skip
"""What is written where something else was."""


def damage(folder: Path, rng: random.Random) -> str:
    """Damage one file below ``folder``, or more, and return how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = rng.choice(files)
        done.append(f"{path.relative_to(folder)}: {damage_file(path, rng)}")
    return "; ".join(done)


def damage_file(path: Path, rng: random.Random) -> str:
    """Damage one file and return how."""
    if not path.is_file():
        return "gone already"
    if rng.random() < 0.1:
        return _replace(path, rng)
    if path.suffix == ".json" and rng.random() < 0.7:
        with contextlib.suppress(ValueError, OSError, RecursionError):
            return _damage_json(path, rng)
    content = bytearray(path.read_bytes())
    if path.suffix == ".safetensors" and len(content) > 8 and rng.random() < 0.5:
        return _damage_header(path, content, rng)
    return _damage_bytes(path, content, rng)


def _damage_bytes(path: Path, content: bytearray, rng: random.Random) -> str:
    """Change some bytes, without a thought for what they mean."""
    kind = rng.choice(("flip", "flip", "cut", "remove", "repeat", "zero", "noise", "magic"))
    at, length = rng.randrange(len(content) + 1), rng.choice((1, 2, 4, 16, 256, 4096))
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 8, 64)) if content else 0):
            content[rng.randrange(min(len(content), rng.choice((64, 1024, 1 << 30))))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[at:]
    elif kind == "remove":
        del content[at : at + length]
    elif kind == "repeat":
        content[at:at] = content[at : at + length]
    elif kind == "zero":
        content[at : at + length] = bytes(len(content[at : at + length]))
    elif kind == "noise":
        content[at : at + length] = rng.randbytes(length)
    else:
        number = rng.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF))
        at = rng.randrange(min(len(content), 128) + 1)
        content[at : at + 4] = struct.pack("<I", number)
    path.write_bytes(content)
    return kind


def _replace(path: Path, rng: random.Random) -> str:
    """Put something else where a file was."""
    kind = rng.choice(("nothing", "empty", "folder", "fifo", "dangling link", "loop", "pointer", "unreadable nesting"))
    path.unlink(missing_ok=True)
    if kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind in ("dangling link", "loop"):
        path.symlink_to(path.name if kind == "loop" else "nowhere")
    elif kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    elif kind == "unreadable nesting":
        path.write_text("[" * 100_000)
    return kind


def _damage_json(path: Path, rng: random.Random) -> str:
    """Change a value, a key, or the kind of something in a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    places: list[tuple[Any, Any]] = []

    def walk(value: object) -> None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in list(pairs)[:50]:
            places.append((value, key))
            walk(each)

    walk(content)
    if not places:
        return "nothing to change"
    holder, key = rng.choice(places)
    kind = rng.choice(("value", "value", "value", "delete", "rename", "scale"))
    if kind == "delete":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        holder[rng.choice(("", "flags", "n", key + "x"))] = holder.pop(key)
    elif kind == "scale" and isinstance(holder[key], int | float) and holder[key] not in (True, False):
        holder[key] *= rng.choice((-1, 0, 2, 1000, 10**9, 0.5))
    else:
        holder[key] = rng.choice(WORDS)
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"{kind} of {key!r}"


def _damage_header(path: Path, content: bytearray, rng: random.Random) -> str:
    """Change the header of a safetensors file, its length kept right."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(bytes(content[8 : 8 + length]))
    except ValueError:
        return "damaged already"
    name = rng.choice([key for key in header if key != "__metadata__"] or ["none"])
    entry = header.get(name)
    kind = rng.choice(("drop", "rename", "prefix", "shape", "dtype", "offsets"))
    if kind == "drop":
        header.pop(name, None)
    elif kind == "rename":
        header[name + "x"] = header.pop(name, None)
    elif kind == "prefix":
        header = {key if key == "__metadata__" else f"_orig_mod.{key}": value for key, value in header.items()}
    elif isinstance(entry, dict):
        field = {"shape": "shape", "dtype": "dtype", "offsets": "data_offsets"}[kind]
        entry[field] = rng.choice(([], [0], [10**12], [1, 2, 3], [-1, 5], "I8", "F64", "BF16", "X9", None, [0, 4]))
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + bytes(content[8 + length :]))
    return f"{kind} of {name!r}"
