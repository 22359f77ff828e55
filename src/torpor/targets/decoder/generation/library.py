"""What torpor needs of transformers beyond what its documentation promises, and whether the installed version has it.

torpor repeats transformers' decoding such that rows that are done leave the batch. For that it calls methods that are
private or whose arguments change between versions. All of them are named here, and :func:`check_library` looks for them
before a model is used.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from torpor.core.errors import MeterError, UsageError

TESTED = ">=5.23,<5.25"
"""Versions of transformers that torpor's tests have passed with, as pyproject.toml has them.

None of 5.20.2, 5.21.0 and 5.22.0: RecurrentGemma fails there, in attention of its own.
"""
TALK = logging.getLogger("transformers.generation.utils")
"""Where ``generate`` says what it thinks of a configuration."""
ORIGIN = ("_name_or_path", "transformers_version")
"""Keys of a configuration's dict that say where it is from."""

CLASSES = ("GenerationMixin", "PreTrainedModel", "DynamicCache", "EncoderDecoderCache")
DECODING = ("_sample", "_beam_search")
"""The methods that decode: torpor repeats the first and calls the second."""
METHODS: Mapping[str, tuple[str, ...]] = {
    "generate": ("custom_generate",),
    "prepare_inputs_for_generation": ("input_ids", "next_sequence_length", "is_first_iteration"),
    "_update_model_kwargs_for_generation": ("outputs", "model_kwargs", "is_encoder_decoder"),
    **dict.fromkeys(DECODING, ("input_ids", "logits_processor", "stopping_criteria", "generation_config")),
}
"""Methods of ``GenerationMixin`` with the arguments that they must know; they must need no other."""
CACHE = ("layers", "is_sliding", "is_croppable", "get_seq_length", "reorder_cache", "batch_repeat_interleave")
"""What a cache must have."""
CACHE_NAMES = ("cache", "past_key_values")
"""What the argument with the cache is called: first since transformers 5.24, second before."""


def check_library(transformers: Any) -> None:  # noqa: ANN401 - the library
    """Refuse a version of transformers that lacks what torpor's decoding needs.

    Raises:
        UsageError: if something is missing, or takes other arguments.
    """
    if lacking := next(_lacking(transformers), None):
        raise UsageError(
            f"expected transformers {TESTED}, whose decoding torpor knows, got {transformers.__version__} {lacking}; "
            f"pip install 'transformers{TESTED}'"
        )


def _lacking(transformers: Any) -> Iterator[str]:  # noqa: ANN401
    if missing := [name for name in CLASSES if not hasattr(transformers, name)]:
        yield f"without {', '.join(missing)}"
        return
    mixin = transformers.GenerationMixin
    for name, needed in METHODS.items():
        if not callable(method := getattr(mixin, name, None)):
            yield f"without GenerationMixin.{name}"
            continue
        known = inspect.signature(method).parameters
        if unknown := [one for one in needed if one not in known]:
            yield f"whose GenerationMixin.{name} takes no {', '.join(unknown)}"
        if others := [one.name for one in list(known.values())[1:] if _is_needed(one) and one.name not in needed]:
            yield f"whose GenerationMixin.{name} needs {', '.join(others)}"
    if not set(CACHE_NAMES) & set(inspect.signature(mixin.prepare_inputs_for_generation).parameters):
        yield f"whose prepare_inputs_for_generation takes no {' or '.join(CACHE_NAMES)}"
    if mixin.__module__ != TALK.name:
        yield f"whose generate is in {mixin.__module__}, not in {TALK.name}"
    if not hasattr(transformers.PreTrainedModel, "_keys_to_ignore_on_load_missing"):
        yield "without PreTrainedModel._keys_to_ignore_on_load_missing"
    if "config" not in inspect.signature(transformers.DynamicCache).parameters:
        yield "whose DynamicCache takes no config"
    cache = transformers.DynamicCache()
    yield from (f"whose DynamicCache has no {name}" for name in CACHE if not hasattr(cache, name))
    both = transformers.EncoderDecoderCache(cache, transformers.DynamicCache())
    halves = ("self_attention_cache", "cross_attention_cache")
    yield from (f"whose EncoderDecoderCache has no {name}" for name in halves if not hasattr(both, name))


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def check_methods(model: Any) -> None:  # noqa: ANN401 - transformers' own classes
    """Refuse a model that decodes by methods of its own: what is audited would not be what is deployed.

    Raises:
        UsageError: if it does.
    """
    mixin: Any = importlib.import_module("transformers").GenerationMixin
    for name in DECODING:
        if getattr(getattr(model, name), "__func__", None) is not getattr(mixin, name):
            raise UsageError(
                f"expected a model that decodes as transformers does, got {type(model).__name__} with its own {name}; "
                "write a StepTarget for it"
            )
    taken = inspect.signature(model.generate).parameters.values()
    if not any(one.name == "custom_generate" or one.kind is one.VAR_KEYWORD for one in taken):
        raise UsageError(
            f"expected generate(custom_generate=...), as transformers has it, got a generate of {type(model).__name__} "
            "that does not take it; write a StepTarget for it"
        )


def beam_search(
    model: Any,  # noqa: ANN401
    input_ids: Tensor,
    logits_processor: object,
    stopping_criteria: object,
    generation_config: object,
    model_kwargs: Mapping[str, Any],
) -> Tensor:
    """Return the ids ``[B, P + T]`` that transformers' own beam search finds."""
    found: Tensor = model._beam_search(
        input_ids, logits_processor, stopping_criteria, generation_config=generation_config, **model_kwargs
    )
    return found


def next_inputs(
    model: Any,  # noqa: ANN401
    input_ids: Tensor,
    model_kwargs: Mapping[str, Any],
    *,
    count: int,
    first: bool,
) -> dict[str, Any]:
    """Return what the next forward pass is to be given.

    Args:
        model: one of transformers' models.
        input_ids: all tokens so far, ``[B, T]``.
        model_kwargs: as ``generate`` keeps them from step to step.
        count: tokens of a row that the cache does not hold yet.
        first: whether it is the first step.
    """
    found: dict[str, Any] = model.prepare_inputs_for_generation(
        input_ids, next_sequence_length=count, is_first_iteration=first, **model_kwargs
    )
    return found


def next_arguments(model: Any, outputs: Any, model_kwargs: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """Return the arguments of the step after the one that gave ``outputs``."""
    found: dict[str, Any] = model._update_model_kwargs_for_generation(
        outputs, model_kwargs, is_encoder_decoder=model.config.is_encoder_decoder
    )
    return found


def empty_cache(model: Any) -> Any:  # noqa: ANN401
    """Return a cache for the layers of a model's decoder."""
    from transformers import DynamicCache

    return DynamicCache(config=model.config.get_text_config(decoder=True))


def cache_in(given: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return the cache among arguments or outputs of a model; None if there is none.

    >>> cache_in({"input_ids": 0, "past_key_values": 1}), cache_in({"input_ids": 0})
    (1, None)
    """
    return next((given[name] for name in CACHE_NAMES if given.get(name) is not None), None)


def entered(model: Any) -> list[Any]:  # noqa: ANN401
    """Return the modules that ``generate`` calls: the model, its encoder, and what turns images into tokens."""
    base, decoder = model.base_model, model.get_decoder()
    seeing = base.children() if hasattr(base, "get_image_features") else ()
    parts = [model, model.get_encoder(), *(part for part in seeing if part is not decoder)]
    return list({id(part): part for part in parts if part is not None}.values())


def shares_positions(model: Any) -> bool:  # noqa: ANN401
    """Tell whether a model remembers positions of the whole batch, so that no row may leave it (Qwen2-VL)."""
    return hasattr(model.base_model, "rope_deltas")


def tokens_in(cache: Any) -> int:  # noqa: ANN401
    """Return how many tokens of each row a cache holds; 0 without one.

    Raises:
        MeterError: if it keeps no keys, but a state that tokens are merged into.
    """
    try:
        return 0 if cache is None else int(cache.get_seq_length())
    except ValueError as error:
        raise MeterError(
            f"expected a cache with keys, got a {type(cache).__name__} without; such a model needs a target of its own"
        ) from error


def cache_name() -> str:
    """Return what the argument with the cache is called in the installed version."""
    mixin: Any = importlib.import_module("transformers").GenerationMixin
    known = inspect.signature(mixin.prepare_inputs_for_generation).parameters
    return next(name for name in CACHE_NAMES if name in known)


def computed_weights(model: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Return patterns of the names of weights that a model computes, which no file of it need hold."""
    return tuple(model._keys_to_ignore_on_load_missing or ())
