"""Targets that continue texts: decoder-only language models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.targets.decoder.generation.fed import Decoded, Fed
from torpor.targets.decoder.generation.forcing import force_continuation, looked_up, takes
from torpor.targets.decoder.generation.layouts import PromptLayout
from torpor.targets.decoder.generation.library import cache_in, cache_name, empty_cache
from torpor.targets.decoder.generation.prefixes import alike
from torpor.targets.decoder.generation.texts import UNLIMITED, TextGenerationTarget

SHORTEST_PREFIX = 4
"""Tokens that candidates must share before it pays to compute them once."""


WORDS = ("a", "the", "The", "1")
"""Texts that join with white space before them into one token, where a tokenizer has such tokens."""
SAME = 1e-2
"""How far scores of embeddings may be from those of tokens, as a share of the largest; rounding is far less."""


class PromptTarget(TextGenerationTarget):
    """A decoder that continues texts, such as GPT-2 and Llama."""

    decoder_only = True
    left = _reads_prompts = True
    _relaxes = False

    farthest = PromptLayout.farthest

    def _layout(self) -> PromptLayout:
        return PromptLayout(windows=self._outgrown())

    def _reach(self) -> int:
        return self._longest() + self.cap - 1

    def _possible(self, length: int, steps: int) -> bool:
        limits = [size for size in (self.positions, self.config.max_length) if size is not None]
        return 0 < length <= self.farthest and length + steps - 1 <= min(limits, default=length + steps)

    def _longest(self) -> int:
        most = self.config.max_length or 2**31
        if most <= self._shortest():
            raise UsageError(
                f"expected a max_length above the shortest prompt of {self._shortest()} tokens, got {most}; raise it "
                "in the generation config"
            )
        named = min(self._model_limit(), self.positions or 2**31)
        return min(UNLIMITED if named == 2**31 else named, most - 1)

    def _example(self, length: int, *, varied: bool = False) -> Fed:
        return super()._example(min(length, self._longest()), varied=varied)

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
    @override
    def embedding(self) -> torch.nn.Embedding:
        return self.model.get_input_embeddings()  # type: ignore[no-any-return]

    def _forced(
        self, ids: Tensor, embeddings: Tensor, mask: Tensor, decoded: Sequence[Decoded]
    ) -> tuple[Tensor, Tensor]:
        if self.decoder.pads:
            return force_continuation(self.model, ids, embeddings, mask, decoded)
        alone = []
        for row, own in enumerate(mask.bool()):
            one = ids[row : row + 1, own], embeddings[row : row + 1, own], mask[row : row + 1, own]
            logits, hidden = force_continuation(self.model, *one, decoded[row : row + 1])
            alone.append((logits[0], hidden[0]))
        logits, hidden = (pad_sequence(list(parts), batch_first=True) for parts in zip(*alone, strict=True))
        return logits, hidden

    @override
    def soft_logits(self, embeddings: Tensor) -> Tensor:
        return self.soft_continuation(embeddings, embeddings[:, :0])

    def soft_continuation(self, embeddings: Tensor, continuation: Tensor) -> Tensor:
        """See :meth:`TextTarget.soft_continuation`.

        Raises:
            UsageError: if the model scores embeddings otherwise than the tokens that they belong to.
        """
        if not self._relaxes:
            self._check_relaxed()
            self._relaxes = True
        return self._relaxed(embeddings, continuation)

    def _relaxed(self, embeddings: Tensor, continuation: Tensor) -> Tensor:
        """Score embedded prompts and answers, all tokens of which are told to be the same one."""
        head, tail = self._frame()
        count, length = embeddings.shape[:2]
        last = len(head) + length + len(tail)
        ids = torch.full((count, last + continuation.shape[1]), self.codec.ordinary, device=self.device)
        ids[:, : len(head)] = torch.tensor(head, dtype=torch.int64)
        ids[:, len(head) + length : last] = torch.tensor(tail, dtype=torch.int64)
        vectors = self.embedding(ids).detach()
        before, after = vectors[:, : len(head)], vectors[:, len(head) + length : last]
        mixed = torch.cat([before, embeddings.to(vectors), after, continuation.to(vectors)], 1)
        logits: Tensor = self._scores(ids, mixed)
        own = logits[:, len(head) : len(head) + length - 1]
        return torch.cat([own, logits[:, last - 1 :]], 1)

    def _scores(self, ids: Tensor, vectors: Tensor | None = None) -> Tensor:
        """Return all scores of rows without padding, placed as ``generate`` does."""
        arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if takes(self.model, "position_ids"):
            arguments["position_ids"] = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        with nullcontext() if vectors is None else looked_up(self.embedding, vectors):
            logits: Tensor = self.model(**arguments, use_cache=False, return_dict=True).logits
        return logits

    def _frame(self) -> tuple[list[int], list[int]]:
        """Return the tokens that every prompt begins and ends with.

        Raises:
            UsageError: if others are put into the text, or reach into it.
        """
        ids, own = self.codec.wrapped("a")
        places = [place for place, mine in enumerate(own) if mine]
        whole = places == list(range(min(places, default=0), max(places, default=-2) + 1))
        if not whole or any(self._reaches_into(word) for word in WORDS):
            raise UsageError(
                f"expected a tokenizer that puts tokens before and after a text, got one of {self.name} that puts "
                "some into it; attack it with texts"
            )
        return ids[: places[0]], ids[places[-1] + 1 :]

    def _reaches_into(self, text: str) -> bool:
        """Tell whether tokens of what stands around a text are partly made of it."""
        ids, own = self.codec.wrapped(text)
        return [number for number, mine in zip(ids, own, strict=True) if mine] != list(self.codec.encode(text))

    @torch.no_grad()
    def _check_relaxed(self) -> None:
        """Compare the scores of two different tokens with those of their embeddings."""
        head, tail = self._frame()
        two = [number for number in range(self.codec.size) if number not in self.codec.special][:2]
        ids = torch.tensor([[*head, *two, *tail]], device=self.device)
        wanted = self._scores(ids)[0, -1]
        vectors = self.embedding(torch.tensor([two], device=self.device))
        found = self._relaxed(vectors, vectors[:, :0])[0, -1]
        if not torch.allclose(found, wanted, atol=SAME * float(wanted.abs().max())):
            raise UsageError(
                f"expected the same scores of embeddings as of their tokens from {self.name}, got other ones; attack "
                "it with texts"
            )

    @override
    def _groups(self, rows: list[list[int]]) -> list[list[int]]:
        cheap = self.device.type == "cpu"  # elsewhere a large batch takes no longer than a small one
        return alike(rows) if cheap and self._shares else super()._groups(rows)

    @property
    def _shares(self) -> bool:
        """Whether what prompts begin with may be computed once."""
        return self.decoder.together and not self.decoder.rowwise and takes(self.model, "position_ids")

    def _candidates(self, rows: list[list[int]]) -> Callable[[list[int]], Fed]:
        """Compute what all prompts begin with once, and lend each batch a copy of its keys and values."""
        same = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
        hole = min(len(list(same)), min((len(row) for row in rows), default=0) - 1)
        cache = self._prefix(rows[0][:hole]) if self._shares and len(rows) > 1 and hole >= SHORTEST_PREFIX else None
        if cache is None:
            return super()._candidates(rows)

        def feed(chunk: list[int]) -> Fed:
            if len(chunk) == 1:
                return self._fed([rows[chunk[0]]])
            fed, own = self._fed([rows[number] for number in chunk], hole), copy.deepcopy(cache)
            own.batch_repeat_interleave(len(chunk))
            fed.arguments[cache_name()] = own
            return fed

        return feed

    @torch.no_grad()
    def _prefix(self, row: list[int]) -> Any:  # noqa: ANN401 - a cache of transformers
        """Return the keys and values of a prompt's first tokens; None where padding after them would count."""
        cache = empty_cache(self.model)
        if any(cache.is_sliding) or not cache.is_croppable:
            return None
        ids = torch.tensor([row], device=self.device)
        return cache_in(self.model(ids, **{cache_name(): cache}, use_cache=True))
