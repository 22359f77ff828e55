"""What a model's configuration may say: no kernels or codes from elsewhere, no absurd sizes, no misspelled names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torpor.core.errors import DataError, UsageError

ATTENTION = frozenset({None, "eager", "sdpa"})
EXPERTS = frozenset({None, "eager", "batched_mm", "grouped_mm"})
QUANTIZED = ("quantization_config", "compression_config", "sparsity_config", "quantization")
REPLACED = ("fusion_config", "kernel_config", "use_kernels", "use_pretrained_backbone")
"""Settings that put other code or other weights in the place of the model's own."""
DTYPES = frozenset({None, "auto", "float16", "bfloat16", "float32", "float64"})
LAYERS = re.compile(r"(layers?|blocks?|depths?|stages?)$")
LABELS = re.compile(r"num_labels$")
POSITIONS = re.compile(r"(position_embeddings|positions)$")
MOST_LAYERS, MOST_LABELS, MOST_POSITIONS = 4096, 2**20, 2**28
"""Counts up to which transformers may be let to build lists; no known model has as many."""
SPELLED = 5
"""Letters of the shortest name that is looked at for misspelling."""


def check_config(raw: Mapping[str, Any], tensors: int | None = None) -> None:
    """Refuse what makes a configuration absurd, or the work of its model unknown.

    Args:
        raw: the configuration as its file has it.
        tensors: stored in the model's files; None if unknown.

    Raises:
        UsageError: if it asks for quantized weights, kernels or backbones.
        DataError: if a value cannot be what it says.
    """
    architectures = raw.get("architectures")
    if architectures is not None and not (
        isinstance(architectures, list) and all(isinstance(name, str) for name in architectures)
    ):
        raise DataError(
            f"expected a list of names as architectures in config.json, got {architectures!r:.60}; correct it"
        )
    most = max(MOST_LAYERS, tensors or 0)
    for path, value in _entries(raw):
        key = path.rpartition(".")[2]
        _check_code(path, key.lstrip("_").removesuffix("_internal"), value)
        if LAYERS.search(key) and (number := _largest(value)) > most:
            raise DataError(
                f"expected up to {most} layers, as there are tensors for, got {path} = {number:.3g}; correct it"
            )
        for limited, largest in ((LABELS, MOST_LABELS), (POSITIONS, MOST_POSITIONS)):
            if limited.search(key) and (number := _largest(value)) > largest:
                raise DataError(f"expected {path} to be up to {largest} in config.json, got {number:.3g}; correct it")


def _check_code(path: str, key: str, value: object) -> None:
    if key in QUANTIZED and value:
        method = value.get("quant_method") if isinstance(value, dict) else None
        raise UsageError(
            f"expected a model that is not quantized, got {path} ({method or 'no quant_method'!s:.40}), whose work is "
            "not known; save the model in float32 or bfloat16"
        )
    if key in REPLACED and value:
        raise UsageError(f"expected a model that runs by its own code and weights, got {path}; leave it out")
    for name, known in (("attn_implementation", ATTENTION), ("experts_implementation", EXPERTS)):
        asked = list(value.values()) if isinstance(value, dict) else [value]
        if key == name and any(not isinstance(one, str | None) or one not in known for one in asked):
            counted = " or ".join(sorted(one for one in known if one))
            raise UsageError(
                f"expected {name} to be {counted}, whose work torpor can count, got {value!r:.60}; set it to eager"
            )
    if key in ("dtype", "torch_dtype") and (not isinstance(value, str | None) or value not in DTYPES):
        raise UsageError(
            f"expected weights in float32, float16 or bfloat16, got {path} = {value!r:.40}; set one of these"
        )


def _entries(raw: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _entries(value, f"{prefix}{key}.")


def _largest(value: object) -> float:
    if isinstance(value, list):
        return max((_largest(one) for one in value), default=0)
    return min(value, 1e300) if isinstance(value, int | float) else 0  # whole numbers may be too large for a float


def check_names(raw: Mapping[str, Any], config: Any) -> None:  # noqa: ANN401 - one of transformers' configurations
    """Refuse names in a configuration that are one slip away from a setting that it lacks.

    Args:
        raw: the configuration as its file has it.
        config: what transformers made of it.

    Raises:
        DataError: if there is such a name.
    """
    if not dataclasses.is_dataclass(config):
        return
    aliases: dict[str, str] = dict(getattr(type(config), "attribute_map", {}))
    settings = {field.name for field in dataclasses.fields(config) if not field.name.startswith("_")} | set(aliases)
    given = {aliases.get(name, name) for name in raw}
    lacking = [name for name in settings if aliases.get(name, name) not in given]
    known = settings | set(dir(type(config)))
    refuse_misspelled(raw, known, lacking, "config.json")
    for name in getattr(type(config), "sub_configs", {}):
        if isinstance(raw.get(name), dict):
            check_names(raw[name], getattr(config, name))


def refuse_misspelled(given: Iterable[str], known: Iterable[str], lacking: Iterable[str], file: str) -> None:
    """Refuse an unknown name that is one typing error away from one that is not given.

    Args:
        given: names in a file.
        known: names that mean something.
        lacking: those of them that the file does not give.
        file: the file's name, for the error.

    Raises:
        DataError: if there is such a name.

    >>> refuse_misspelled(["hidden_size"], ["hidden_size"], [], "config.json")
    """
    known, lacking = set(known), sorted(lacking)
    for name in given:
        if name in known or len(name) < SPELLED or name.startswith("_"):
            continue
        meant = next((other for other in lacking if len(other) >= SPELLED and is_slip(name, other)), None)
        if meant is not None:
            raise DataError(
                f"expected settings that exist in {file}, got {name!r:.60}; did you mean {meant}? rename it"
            )


def is_slip(first: str, second: str) -> bool:
    """Tell whether two names differ by one letter that is wrong, missing, extra or swapped, but for case and ``_``.

    >>> is_slip("max_lenght", "max_length"), is_slip("maxNewTokens", "max_new_tokens"), is_slip("top_p", "top_k")
    (True, True, True)
    >>> is_slip("encoder_layers", "decoder_layers")
    False
    """
    one, other = (re.sub("[^a-z0-9]", "", name.lower()) for name in (first, second))
    if abs(len(one) - len(other)) > 1:
        return False
    start = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if start is None:
        return True
    one, other = one[start:], other[start:]
    swapped = one[1::-1] + one[2:]
    return other in (swapped, one[1:]) or other[1:] in (one, one[1:])
