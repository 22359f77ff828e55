"""Whether the settings of generation can be what they say: kinds, ranges, names, and ids within the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from torpor.core.errors import DataError

LARGEST = 2**31 - 1
COUNTS = {
    "max_length": (1, LARGEST), "max_new_tokens": (1, LARGEST), "min_length": (0, LARGEST),
    "min_new_tokens": (0, LARGEST), "num_beams": (1, 1024), "num_beam_groups": (1, 1024),
    "num_return_sequences": (1, 1024), "no_repeat_ngram_size": (0, LARGEST),
    "encoder_no_repeat_ngram_size": (0, LARGEST), "top_k": (0, LARGEST),
}  # fmt: skip
"""Settings that are integers, with the least and the largest of each."""
NUMBERS = {
    "temperature": (0, math.inf), "top_p": (0, 1), "min_p": (0, 1), "top_h": (0, 1), "typical_p": (0, 1),
    "epsilon_cutoff": (0, 1), "eta_cutoff": (0, 1), "repetition_penalty": (0, math.inf),
    "encoder_repetition_penalty": (0, math.inf), "length_penalty": (-math.inf, math.inf),
    "diversity_penalty": (-math.inf, math.inf), "guidance_scale": (-math.inf, math.inf),
    "penalty_alpha": (-math.inf, math.inf), "max_time": (0, math.inf),
}  # fmt: skip
"""Settings that are finite numbers."""
SWITCHES = (
    "do_sample", "use_cache", "renormalize_logits", "remove_invalid_values", "output_attentions",
    "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate", "token_healing",
)  # fmt: skip
IDS = ("bos_token_id", "forced_bos_token_id")
MANY_IDS = ("eos_token_id", "decoder_start_token_id", "forced_eos_token_id")


def check_generation(given: Mapping[str, Any], file: str, vocabulary: int | None) -> None:
    """Refuse settings of generation that cannot be what they say, or that contradict each other.

    Args:
        given: settings by name; others than those of generation are passed over.
        file: that they are from, for errors.
        vocabulary: ids that the model knows, if it is known how many.

    Raises:
        DataError: if one is of a wrong kind or out of range.
    """
    for name, value in given.items():
        if value is not None and (wanted := _wanted(name, value, vocabulary)):
            raise DataError(f"expected {name} in {file} to be {wanted}, got {value!r:.40}; correct it")
    for least, most in (("min_length", "max_length"), ("min_new_tokens", "max_new_tokens")):
        if (given.get(least) or 0) > (given.get(most) or LARGEST):
            raise DataError(
                f"expected {least} up to {most} in {file}, got {given[least]} and {given[most]}; correct one of them"
            )


def _wanted(name: str, value: Any, vocabulary: int | None) -> str | None:  # noqa: ANN401 - whatever JSON can hold
    """Return what a setting should be, or None if it is."""
    if name in COUNTS:
        least, most = COUNTS[name]
        return None if type(value) is int and least <= value <= most else f"an integer from {least} to {most}"
    if name in NUMBERS:
        low, high = NUMBERS[name]
        right = type(value) in (int, float) and math.isfinite(value) and low <= value <= high
        return None if right else "a finite number" if math.isinf(low) else f"a finite number from {low} to {high}"
    if name in SWITCHES:
        return None if type(value) is bool else "true or false"
    if name == "early_stopping":
        return None if type(value) is bool or value == "never" else "true, false or never"
    known = vocabulary or LARGEST
    if name == "stop_strings":
        texts = value if isinstance(value, list) else [value]
        return None if texts and all(isinstance(one, str) and one for one in texts) else "a text, or a list of texts"
    if name in IDS or name == "pad_token_id":  # -1 says in older configurations that there is no padding
        least = -1 if name == "pad_token_id" else 0
        return None if type(value) is int and least <= value < known else f"an id from 0 to {known - 1}"
    if name in MANY_IDS:
        ids = value if isinstance(value, list) else [value]
        right = ids != [] and all(type(one) is int and 0 <= one < known for one in ids)
        return None if right else f"an id, or a list of ids, from 0 to {known - 1}"
    return None


def check_generation_names(given: Mapping[str, Any], known: Collection[str], mentioned: str) -> None:
    """Refuse settings of generation that nothing reads.

    Args:
        given: what ``generation_config.json`` says.
        known: names that transformers knows.
        mentioned: source code of the model, which may read further ones.

    Raises:
        DataError: if there is such a setting.

    >>> check_generation_names({"max_length": 3}, ["max_length"], "")
    """
    for name, value in given.items():
        if value is None or name in known or name.startswith("_") or name in mentioned:
            continue
        near = get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise DataError(
            f"expected settings that transformers knows in generation_config.json, got {name!r:.60}; {meant}"
            "rename it or leave it out"
        )
