"""Targets that continue texts: decoder-only language models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.core.text import WIDTH
from torpor.targets.generation.decoding import Decoded, Fed
from torpor.targets.generation.forcing import force_continuation, takes
from torpor.targets.generation.layouts import PromptLayout
from torpor.targets.generation.texts import TextGenerationTarget

SHORTEST_PREFIX = 4
"""Tokens that candidates must share before it pays to compute them once."""


class PromptTarget(TextGenerationTarget):
    """A decoder that continues texts, such as GPT-2 and Llama."""

    decoder_only = True
    left = True

    def _layout(self) -> PromptLayout:
        return PromptLayout()

    def _longest(self) -> int:
        most = self.config.max_length or WIDTH + 1
        if most <= self._shortest():
            raise UsageError(
                f"expected a max_length above the shortest prompt of {self._shortest()} tokens, got {most}; raise it "
                "in the generation config"
            )
        return min(self._model_limit(), self.positions or WIDTH, most - 1)

    def _example(self, length: int) -> Fed:
        return super()._example(min(length, self._longest()))

    def _least_start(self) -> int:
        return self._shortest()

    def _first_cap(self) -> int:
        if self.config.max_new_tokens is None:
            return min(int(self.config.max_length) - self._least_start(), self.most)
        return super()._first_cap()

    def cap_of(self, length: int) -> int:
        """See :meth:`GenerationTarget.cap_of`; prompt and output share the positions."""
        limits = [self.cap]
        if self.positions is not None:
            limits.append(self.positions + 1 - length)
        if self.config.max_length is not None:
            limits.append(int(self.config.max_length) - length)
        return min(limits)

    @property
    def embedding(self) -> torch.nn.Embedding:
        """See :attr:`TextGenerationTarget.embedding`."""
        return self.model.get_input_embeddings()  # type: ignore[no-any-return]

    def _forced(self, embeddings: Tensor, mask: Tensor, decoded: Sequence[Decoded]) -> tuple[Tensor, Tensor]:
        return force_continuation(self.model, embeddings, mask, decoded)

    def soft_logits(self, embeddings: Tensor) -> Tensor:
        """See :meth:`TextTarget.soft_logits`."""
        ids, own = self.codec.wrapped("a")
        head = ids[: own.index(True)]
        before = self.embedding(torch.tensor([head], dtype=torch.int64, device=self.device)).detach()
        fed = torch.cat([before.expand(len(embeddings), -1, -1), embeddings.to(before)], 1)
        logits: Tensor = self.model(inputs_embeds=fed, use_cache=False, return_dict=True).logits
        return logits[:, len(head) :]

    def _candidates(self, rows: list[list[int]]) -> Callable[[list[int]], Fed]:
        """Compute what all prompts begin with once, and lend each batch a copy of its keys and values."""
        same = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
        hole = min(len(list(same)), min((len(row) for row in rows), default=0) - 1)
        able = self.decoder.together and takes(self.model, "position_ids")
        cache = self._prefix(rows[0][:hole]) if able and len(rows) > 1 and hole >= SHORTEST_PREFIX else None
        if cache is None:
            return super()._candidates(rows)

        def feed(chunk: list[int]) -> Fed:
            if len(chunk) == 1:
                return self._fed([rows[chunk[0]]])
            fed, own = self._fed([rows[number] for number in chunk], hole), copy.deepcopy(cache)
            own.batch_repeat_interleave(len(chunk))
            fed.arguments["past_key_values"] = own
            return fed

        return feed

    @torch.no_grad()
    def _prefix(self, row: list[int]) -> Any:  # noqa: ANN401 - a cache of transformers
        """Return the keys and values of a prompt's first tokens; None where padding behind them would count."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config.get_text_config(decoder=True))
        if any(cache.is_sliding) or not cache.is_croppable:
            return None
        return self.model(
            torch.tensor([row], device=self.device), past_key_values=cache, use_cache=True
        ).past_key_values
