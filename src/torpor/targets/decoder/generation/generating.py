"""Calls of ``generate``, which prepares everything and leaves the decoding to another method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.targets.decoder.generation.deployment import deployed
from torpor.targets.decoder.generation.fed import Fed


def generate_once(model: Any, fed: Fed, config: Any, method: Callable[..., Tensor]) -> None:  # noqa: ANN401
    """Have ``generate`` prepare a batch, and decode it by ``method`` in place of its own.

    Raises:
        UsageError: if it does not decode exactly once.
    """
    calls = 0

    def once(*args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        nonlocal calls
        calls += 1
        return method(*args, **kwargs)

    with deployed(model, config):
        model.generate(**fed.arguments, custom_generate=once)
    if calls != 1:
        raise UsageError(
            f"expected {type(model).__name__}.generate to decode once, got {calls} times; write a StepTarget for it"
        )


def prepared_by(model: Any, fed: Fed, config: Any) -> tuple[Tensor, Any, Any]:  # noqa: ANN401
    """Return the ids that the decoder starts from, the logits processors and the config that ``generate`` makes."""
    held: list[Any] = []

    def hold(
        model: object,
        input_ids: Tensor,
        logits_processor: object,
        stopping_criteria: object,
        generation_config: object,
        **model_kwargs: object,
    ) -> Tensor:
        held.extend((input_ids, logits_processor, generation_config))
        return torch.cat([input_ids, input_ids[:, -1:]], 1)[:1]  # some callers look at what is after the start

    generate_once(model, fed, config, hold)
    return held[0], held[1], held[2]
