"""Transformers' own beam search, with a count of its steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from torpor.targets.decoder.generation.fed import Decoded
from torpor.targets.decoder.generation.library import beam_search


class BeamSearch:
    """A decoding method for ``generate(custom_generate=...)``: beam search of one sample.

    Args:
        plain: ignore all processors, to make a known number of steps.

    Attributes:
        found: what became of the sample.
    """

    found: Decoded

    def __init__(self, *, plain: bool) -> None:
        self.plain = plain

    def __call__(
        self,
        model: Any,  # noqa: ANN401 - any of transformers' models
        input_ids: Tensor,
        logits_processor: list[object],
        stopping_criteria: object,
        generation_config: object,
        **model_kwargs: object,
    ) -> Tensor:
        """Search, and return what transformers returns."""
        count = _Count()
        processors = type(logits_processor)([count] if self.plain else [*logits_processor, count])
        ids = beam_search(model, input_ids, processors, stopping_criteria, generation_config, model_kwargs)
        start, made = ids[0, : input_ids.shape[1]].tolist(), ids[0, input_ids.shape[1] :].tolist()
        self.found = Decoded(tuple(start), tuple(made), count.calls)
        return ids


class _Count:
    """A logits processor that changes nothing."""

    calls = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.calls += 1
        return scores
