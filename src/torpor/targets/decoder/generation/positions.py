"""How many tokens a model of transformers has positions for, and the cap on what it generates."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any, Self

from torpor.targets.decoder.contract import StepTarget
from torpor.targets.decoder.generation.decoding import Decoder
from torpor.targets.decoder.generation.deployment import clipped, with_new_tokens


class PositionedTarget(StepTarget):
    """A model of transformers whose cap is that of its generation config, as far as it has positions.

    Attributes:
        model: one of transformers' models.
        config: how it is decoded.
        decoder: the same, ready to run.
    """

    model: Any
    config: Any
    decoder: Decoder
    _windows: tuple[int, ...]
    _limit: int | None

    @cached_property
    def text_config(self) -> Any:  # noqa: ANN401 - transformers' own classes
        """The decoder's part of the model's configuration; to find it, transformers copies all of it."""
        return self.model.config.get_text_config(decoder=True)

    @property
    def positions(self) -> int | None:
        """How many tokens the decoder can tell apart by their position; None without a limit."""
        config = self.text_config
        found = getattr(config, "max_position_embeddings", None) or getattr(config, "max_target_positions", None)
        # windows that are not outgrown as deployed, and those that are too large to look beyond, never are
        return min((int(limit) for limit in (found, self._limit) if limit is not None), default=None)

    @property
    def most(self) -> int:
        """The largest cap that the model has positions for."""
        # the last token that is generated is not read any more
        return 2**31 if self.positions is None else self.positions + 1 - self._least_start()

    def _least_start(self) -> int:
        """Return how many tokens the decoder has at least before its first step."""
        return self.decoder.start

    def _first_cap(self) -> int:
        if self.config.max_new_tokens is None:
            return min(self.decoder.limit, self.most)
        return clipped(self.config.max_new_tokens, self.most)

    def cap_of(self, length: int) -> int:
        """Return how many tokens are generated at most for an input of ``length`` tokens."""
        return self.cap

    def with_cap(self, cap: int) -> Self:
        """Return a target that shares this one's model but generates up to ``cap`` tokens.

        Where the model has no positions for that many, the cap is clipped, with a warning.

        Raises:
            UsageError: if the cap is below 1.
        """
        other = copy.copy(self)
        other.cap = clipped(cap, self.most)
        other.config = with_new_tokens(self.config, other.cap)
        other.decoder = self.decoder.with_config(other.config)
        return other

    def _reach(self) -> int:
        """Return how many tokens the decoder sees at most, as deployed."""
        return self.decoder.start + self.cap - 1

    def _outgrown(self) -> tuple[int, ...]:
        """Return the windows of the decoder's layers that can be outgrown; see :class:`Layout`."""
        return tuple(size for size in self._windows if self.positions is None or size < self.positions)
