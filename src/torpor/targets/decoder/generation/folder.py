"""Read the files of a saved model's folder strictly: what is damaged is refused, never passed over."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torpor.core.errors import DataError

SETTINGS = (
    "config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json", "chat_template.json",
)  # fmt: skip
"""Files of settings that transformers may read; each holds one JSON object."""
TABLES = ("tokenizer.json", "vocab.json", "normalizer.json", "tekken.json")
"""Larger files of JSON objects that transformers may read."""
INDEX = ".safetensors.index.json"
READ = (".json", ".jinja", ".txt", ".model", ".spm", ".tiktoken", ".safetensors")
"""How the names of files end that transformers may open."""
TEMPLATES = ("additional_chat_templates", "chat_templates")
LARGEST_SETTINGS, LARGEST_TABLE = 2**24, 2**28  # bytes
QUANTIZED = "quantized weights, whose work is not known; save the model in float32 or bfloat16"
NOT_WHOLE = {
    "adapter_config.json": "an adapter, whose base model is somewhere else; merge it into its base model and save that",
    "quantize_config.json": QUANTIZED,
    "quant_config.json": QUANTIZED,
    "hf_quant_config.json": QUANTIZED,
    "custom_generate": "code to generate with, which torpor does not run; delete it to audit the model's own way",
}
"""Names of files that say that the folder holds something else than a model that transformers alone can run."""


def read_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the settings in a folder by the name of their file, after a look at every file that may be opened.

    Raises:
        DataError: if a file is damaged, special (a pipe, a socket, a link to nowhere), or says that this is no whole
            model.
    """
    try:
        found = sorted(folder.iterdir())
        templates = [
            path for name in TEMPLATES if (folder / name).is_dir() for path in sorted((folder / name).iterdir())
        ]
    except OSError as error:
        raise DataError(f"expected a folder that can be read, got {folder}: {error.strerror}; check it") from error
    settings = {}
    for path in (*found, *templates):
        if path.name in NOT_WHOLE and path.parent == folder:
            raise DataError(f"expected a whole model in {folder}, got {path.name}: {NOT_WHOLE[path.name]}")
        if not path.name.endswith(READ):
            continue
        strict = path.name in (*SETTINGS, *TABLES) or path.name.endswith((".safetensors", ".jinja", INDEX))
        if path.is_dir() and not strict:
            continue
        _check_regular(path)
        if path.name.endswith((".jinja", ".txt")):
            _text(path, LARGEST_TABLE)
        elif path.name in TABLES:
            read_object(path, LARGEST_TABLE)
        elif path.name in SETTINGS:
            settings[path.name] = read_object(path, LARGEST_SETTINGS)
    return settings


def read_object(path: Path, largest: int) -> dict[str, Any]:
    """Read a file that holds one JSON object, in UTF-8, in which no name occurs twice and no number is NaN.

    Args:
        path: of the file.
        largest: number of bytes to read.

    Raises:
        DataError: if it holds anything else.
    """
    return parse_object(_text(path, largest), path)


def parse_object(text: str, path: Path) -> dict[str, Any]:
    """Parse the one JSON object in ``text``; see :func:`read_object`.

    Args:
        text: to parse.
        path: that it is from, for errors.

    >>> parse_object('{"cap": 3}', Path("config.json"))
    {'cap': 3}
    """
    try:
        found = json.loads(text, object_pairs_hook=_named_once, parse_constant=_constant)
    except RecursionError:
        raise DataError(f"expected JSON in {path}, got brackets nested too deeply; save the model again") from None
    except ValueError as error:
        raise DataError(f"expected JSON in {path}, got a file that is none: {error}; save the model again") from error
    if not isinstance(found, dict):
        raise DataError(f"expected a JSON object in {path}, got {type(found).__name__}; save the model again")
    return found


def _check_regular(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        what = "a link that leads nowhere" if path.is_symlink() else str(error.strerror)
        raise DataError(f"expected a file in {path}, got {what}; save the model again") from error
    if not stat.S_ISREG(mode):
        raise DataError(f"expected a file in {path}, got {_kind(mode)}; save the model again")


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for matches, name in kinds if matches(mode)), "a device")


def _text(path: Path, largest: int) -> str:
    try:
        size = path.stat().st_size
        if size > largest:
            raise DataError(f"expected up to {largest:,} bytes in {path}, got {size:,}; save the model again")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"expected text in UTF-8 in {path}, got other bytes; save the model again") from error
    except OSError as error:
        raise DataError(f"expected a file that can be read, got {path}: {error.strerror}; check it") from error


def _named_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r:.60} occurs twice")
    return found


def _constant(name: str) -> float:
    if name == "NaN":
        raise ValueError("NaN is no number")
    return float(name.replace("Infinity", "inf"))
