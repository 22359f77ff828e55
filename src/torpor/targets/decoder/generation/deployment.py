"""How a model is deployed: its generation config, as far as runs can be repeated exactly."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torpor.core.errors import UsageError
from torpor.targets.decoder.generation.library import TALK, check_methods

MODES = ("greedy_search", "sample", "beam_search", "beam_sample")

REFUSED = {
    "max_time": "a stop by the clock is another one each time",
    "token_healing": "it changes the prompt",
    "cache_implementation": "rows that are done must be able to leave the cache",
    "prefill_chunk_size": "the prompt is read at once",
    "return_timestamps": "one sound would be decoded several times",
    "compression_ratio_threshold": "one sound would be decoded several times",
    "logprob_threshold": "one sound would be decoded several times",
    "no_speech_threshold": "one sound would be decoded several times",
}
"""Settings that cannot be repeated, and why."""

ROWWISE = frozenset(
    f"{name}LogitsProcessor"
    for name in (
        "ForcedBOSToken", "ForcedEOSToken", "MinLength", "MinNewTokensLength", "NoBadWords", "NoRepeatNGram",
        "RepetitionPenalty", "SequenceBias", "SuppressTokens", "SuppressTokensAtBegin",
    )
) | frozenset(
    f"{name}LogitsWarper" for name in ("Epsilon", "Eta", "MinP", "Temperature", "TopH", "TopK", "TopP", "Typical")
) | {"ExponentialDecayLengthPenalty", "InfNanRemoveLogitsProcessor", "LogitNormalization"}  # fmt: skip
"""Processors of transformers that treat each row alike and by itself; with any other, samples run one by one."""


def deployed_config(model: Any) -> Any:  # noqa: ANN401 - transformers' own classes
    """Return a copy of the model's generation config whose length limit is spelled out.

    Raises:
        UsageError: if the model cannot generate, or not in a way that can be repeated.
    """
    if not (hasattr(model, "generate") and model.can_generate()):
        raise UsageError(f"expected a model that generates, got {type(model).__name__}; load it with its language head")
    config = copy.deepcopy(model.generation_config)
    if config.max_new_tokens is None and config.max_length is None:
        config.max_new_tokens = 20  # the default of transformers
    if config.max_new_tokens is not None:
        config.max_length = None  # as new tokens take precedence there
    check_methods(model)
    check_mode(config)
    for name in ("return_dict_in_generate", "output_scores", "output_logits", "output_attentions"):
        setattr(config, name, None)  # what else generate would return decides no token
    if config.guidance_scale not in (None, 1):
        raise UsageError(
            "expected a generation config without guidance_scale (each step would run the model twice), got "
            f"{config.guidance_scale!r}; unset it"
        )
    for name, reason in REFUSED.items():
        if getattr(config, name, None):
            raise UsageError(
                f"expected a generation config without {name} ({reason}), got {getattr(config, name)!r}; unset it"
            )
    if config.use_cache is False or (config.num_return_sequences or 1) > 1:
        raise UsageError(
            "expected a generation config with use_cache and one output per input, got use_cache="
            f"{config.use_cache} and num_return_sequences={config.num_return_sequences}; change it"
        )
    if config.eos_token_id is None:
        raise UsageError("expected a generation config with an end token, got none; set its eos_token_id")
    return config


def check_mode(config: Any) -> None:  # noqa: ANN401
    """Refuse ways of decoding that are not one forward call per step.

    Raises:
        UsageError: if ``config`` asks for one, such as contrastive search or assisted generation.
    """
    mode = config.get_generation_mode()
    if mode not in MODES:
        raise UsageError(
            f"expected greedy search, sampling or beam search, got {mode.value}; change the generation config"
        )


def plain_config(config: Any, steps: int) -> Any:  # noqa: ANN401
    """Return ``config`` such that exactly ``steps`` tokens are generated, whatever they are; beams stay."""
    plain = with_new_tokens(config, steps)
    off = {
        "eos_token_id": None, "do_sample": False, "min_length": None, "min_new_tokens": None, "suppress_tokens": None,
        "begin_suppress_tokens": None, "forced_bos_token_id": None, "forced_eos_token_id": None, "sequence_bias": None,
        "bad_words_ids": None, "exponential_decay_length_penalty": None, "repetition_penalty": None,
        "no_repeat_ngram_size": None, "encoder_repetition_penalty": None, "encoder_no_repeat_ngram_size": None,
        "watermarking_config": None, "guidance_scale": None, "temperature": None, "top_h": None, "top_k": None,
        "top_p": None, "min_p": None, "typical_p": None, "epsilon_cutoff": None, "eta_cutoff": None,
    }  # fmt: skip
    for name, value in off.items():
        setattr(plain, name, value)
    return plain


def with_new_tokens(config: Any, cap: int) -> Any:  # noqa: ANN401
    """Return ``config`` with another limit of new tokens."""
    other = copy.deepcopy(config)
    other.max_new_tokens, other.max_length = cap, None
    return other


@contextmanager
def deployed(model: Any, config: Any) -> Iterator[None]:  # noqa: ANN401
    """Let ``model`` generate by ``config`` alone: ``generate`` fills gaps in what it is given from the model's own.

    What ``generate`` has to say of a config it would say at every call, so it is silenced.
    """
    before, silent = model.generation_config, TALK.disabled
    model.generation_config, TALK.disabled = config, True
    try:
        yield
    finally:
        model.generation_config, TALK.disabled = before, silent


def end_tokens(config: Any) -> tuple[int, ...]:  # noqa: ANN401
    """Return the ids that end an output."""
    eos: int | Sequence[int] = config.eos_token_id
    return (eos,) if isinstance(eos, int) else tuple(int(token) for token in eos)


def clipped(cap: int, most: int) -> int:
    """Return ``cap``, or with a warning ``most`` where the model has no further positions.

    Raises:
        UsageError: if no token is left.
    """
    if cap < 1 or most < 1:
        raise UsageError(f"expected a cap of 1 to {max(most, 1)} tokens, got {cap}; choose another")
    if cap > most:
        warnings.warn(f"expected a cap of up to {most} tokens, as the model has positions for, got {cap}", stacklevel=3)
    return min(cap, most)
