"""Whether the settings of tokenizers and processors can be what they say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torpor.core.errors import DataError
from torpor.targets.decoder.generation.configs import refuse_misspelled

TOKENIZER = "tokenizer_config.json"
SWITCHES = (
    "add_bos_token", "add_eos_token", "add_prefix_space", "clean_up_tokenization_spaces", "do_lower_case",
    "split_special_tokens",
)  # fmt: skip
TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token", "mask_token")
SIDES = ("padding_side", "truncation_side")
READER = (
    "model_max_length", "tokenizer_class", "chat_template", "added_tokens_decoder", "additional_special_tokens",
    *SWITCHES, *TOKENS, *SIDES,
)  # fmt: skip
"""Settings of tokenizers that decide what a model reads."""
LARGEST = 1e9  # of means, deviations and factors
SIZES = {"sampling_rate": 2**20, "n_fft": 2**16, "hop_length": 2**20, "chunk_length": 2**12, "feature_size": 2**12}
"""Settings of feature extractors that tables are as large as, and the most that torpor lets them be."""


def check_reading(files: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse settings of tokenizers and processors that cannot be what they say.

    Args:
        files: settings by the name of their file.

    Raises:
        DataError: if one is misspelled, of a wrong kind, or out of range.

    >>> check_reading({"tokenizer_config.json": {"model_max_length": 512}})
    """
    given = files.get(TOKENIZER, {})
    refuse_misspelled(given, READER, set(READER) - set(given), TOKENIZER)
    _refuse(given, TOKENIZER, _wrong_tokenizer(given))
    nested = files.get("processor_config.json", {})
    for file, part in (
        ("preprocessor_config.json", files.get("preprocessor_config.json", {})),
        *(("processor_config.json", nested.get(name)) for name in ("image_processor", "feature_extractor")),
    ):
        if isinstance(part, Mapping):
            _refuse(part, file, _wrong_processor(part))


def _refuse(given: Mapping[str, Any], file: str, wrong: Iterator[tuple[str, str]]) -> None:
    for name, wanted in wrong:
        raise DataError(f"expected {name} in {file} to be {wanted}, got {given[name]!r:.40}; correct it")


def _wrong_tokenizer(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield settings that cannot be, and what they should be."""
    for name, value in given.items():
        if value is None:
            continue
        if name == "model_max_length" and not (type(value) in (int, float) and value >= 1):
            yield name, "a number of tokens"
        if name in SWITCHES and type(value) is not bool:
            yield name, "true or false"
        if name in SIDES and value not in ("left", "right"):
            yield name, "left or right"
        if name in TOKENS and not (
            value.get("content") if isinstance(value, dict) else isinstance(value, str) and value
        ):
            yield name, "a token"
        if name == "tokenizer_class" and not isinstance(value, str):
            yield name, "the name of a class"
        names = name == "model_input_names"
        if names and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            yield name, "a list of names"


def _wrong_processor(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if name in SIZES and not (type(value) is int and 1 <= value <= SIZES[name]):
            yield name, f"an integer from 1 to {SIZES[name]}"
        if value is None:
            continue
        if name in ("do_rescale", "do_normalize", "do_resize", "do_center_crop", "do_convert_rgb"):
            if type(value) is not bool:
                yield name, "true or false"
        elif name in ("size", "crop_size"):
            sides = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
            if not all(side is None or (type(side) is int and side >= 1) for side in sides):
                yield name, "sides in pixels"
        elif name in ("rescale_factor", "image_mean", "image_std", "dither", "padding_value"):
            numbers = value if isinstance(value, list) else [value]
            positive = name in ("rescale_factor", "image_std")
            if not all(type(one) in (int, float) and math.isfinite(one) and abs(one) <= LARGEST for one in numbers) or (
                positive and min(numbers, default=1) <= 0
            ):
                yield name, f"finite {'positive ' if positive else ''}numbers"
