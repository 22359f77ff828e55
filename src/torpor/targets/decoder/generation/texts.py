"""Targets that read texts, and those of them that have an encoder, such as translators."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import sample_generators
from torpor.core.conversation import Conversation
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.stopwatch import OutOfTime, Stopwatch
from torpor.core.text import TextSpace
from torpor.core.work import Work
from torpor.data.sets import DataSet
from torpor.targets.decoder.contract import TextTarget
from torpor.targets.decoder.generation.chat import ChatCodec
from torpor.targets.decoder.generation.codec import HuggingFaceCodec
from torpor.targets.decoder.generation.fed import Decoded, Fed
from torpor.targets.decoder.generation.forcing import force_decoder, looked_up, padded_ids, step_mask
from torpor.targets.decoder.generation.layouts import SourceLayout
from torpor.targets.decoder.generation.neighbors import STEPS
from torpor.targets.decoder.generation.readers import TextReader
from torpor.targets.decoder.generation.room import alike
from torpor.targets.decoder.generation.target import GenerationTarget

STEP = 2 * 10**7
"""Multiply-adds that take as long as Python takes for one layer of a decoder step, as an estimate."""
UNLIMITED = 4096
"""Tokens that a model reads at most where neither it nor its tokenizer names a limit."""


class TextGenerationTarget(GenerationTarget, TextTarget):
    """A model that reads texts.

    Args:
        model: one of transformers' models.
        codec: the tokenizer of what is read and generated.
        name: shown in reports.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None).
    """

    space: TextSpace
    left: bool
    """Whether rows are padded on the left."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers' own classes
        codec: HuggingFaceCodec,
        *,
        name: str,
        data: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        self.reader = TextReader(codec, left=self.left)
        self._bounds = dict[tuple[int, int, int], Work]()
        super().__init__(model, codec, name=name, data=data)
        known = self.embedding.weight.shape[0]
        if codec.size > known:
            raise UsageError(f"expected a tokenizer of up to {known} ids, got {codec.size}; load the model's own")
        if codec.overhead >= self._longest():
            raise UsageError(
                f"expected a chat template of fewer than the {self._longest()} tokens that {name} reads, got "
                f"{codec.overhead}; leave it out with --raw"
            )
        self.space = codec.space(self._longest())

    @property
    def in_conversation(self) -> Callable[[Conversation | None], Self] | None:
        """Gives the target of texts in a conversation; None where there is no chat template."""
        return self._within if isinstance(self.codec, ChatCodec) else None

    def _within(self, conversation: Conversation | None) -> Self:
        assert isinstance(self.codec, ChatCodec)
        other = copy.copy(self)
        other.codec = self.codec.within(conversation)
        other.reader = TextReader(other.codec, left=self.left)
        other.space = other.codec.space(self._longest())
        return other

    @override
    def details(self) -> dict[str, Any]:
        return {**super().details(), "chat_template": self.codec.template}

    @property
    @abstractmethod
    def embedding(self) -> torch.nn.Embedding:
        """What turns the ids of a text into vectors."""

    @abstractmethod
    def _forced(
        self, ids: Tensor, embeddings: Tensor, mask: Tensor, decoded: Sequence[Decoded]
    ) -> tuple[Tensor, Tensor]:
        """Return logits and hidden states of every step."""

    @torch.no_grad()
    def embedding_matrix(self) -> Tensor:
        """See :meth:`TextTarget.embedding_matrix`; models may know more ids than their tokenizer."""
        count = self.embedding.weight.shape[0]
        vectors: Tensor = self.embedding(torch.arange(count, device=self.device))
        return vectors

    def _example(self, length: int, *, varied: bool = False) -> Fed:
        ids = [self.codec.ordinary]
        if varied:
            ids = [number for number in range(self.codec.size) if number not in self.codec.tokenizer.all_special_ids]
        return self._fed([[ids[place % len(ids)] for place in range(length)]])

    def _varied(self, numbers: list[int]) -> Fed:
        draw = torch.Generator().manual_seed(0)
        count = min(self.codec.size, self.embedding.weight.shape[0])
        known = torch.tensor([number for number in range(count) if number not in self.codec.special])
        longest = max(1, min(9, self._longest() - STEPS))
        lengths = [longest, max(1, longest // 3), max(1, longest * 2 // 3)]
        rows = [known[torch.randint(len(known), (length,), generator=draw)].tolist() for length in lengths]
        return self._fed([rows[number] for number in numbers])

    def _fed(self, rows: Sequence[Sequence[int]], hole: int = 0) -> Fed:
        ids, mask = (part.to(self.device) for part in self.reader.pad(rows, hole))
        padding = (ids.shape[1] - mask.sum(1)).tolist() if self.left else ()
        return Fed({"input_ids": ids, "attention_mask": mask}, padding, hole)

    def _lengths(self, inputs: Sequence[str]) -> list[int]:
        return [len(row) for row in self.reader.rows(inputs)]

    def _shortest(self) -> int:
        return 1 + self.codec.least

    def _decode(self, inputs: Sequence[str]) -> tuple[list[Decoded], list[int]]:
        rows = self.reader.rows(inputs)
        decoded = self._decode_rows(inputs, rows, lambda chunk: self._fed([rows[number] for number in chunk]))
        return decoded, [len(row) for row in rows]

    def _decode_rows(
        self, inputs: Sequence[str], rows: list[list[int]], feed: Callable[[list[int]], Fed]
    ) -> list[Decoded]:
        if self.stopwatch is None:
            return self._decode_all(inputs, rows, feed)
        keys = [(text, tuple(row), self.cap, self.seed, self.stop) for text, row in zip(inputs, rows, strict=True)]
        known = self.stopwatch.known
        new = [place for place, key in enumerate(keys) if key not in known]
        if new:
            texts, fresh = [inputs[place] for place in new], [rows[place] for place in new]
            try:
                found = self._decode_all(texts, fresh, lambda chunk: feed([new[number] for number in chunk]))
            except OutOfTime as over:
                for number, steps in over.ran.items():
                    self._saw(self.stopwatch, texts[number], len(fresh[number]), steps)
                self.stopwatch.missed(len(inputs) - len(over.ran))
                raise
            known.update(zip((keys[place] for place in new), found, strict=True))
        for text, row, key in zip(inputs, rows, keys, strict=True):
            self._saw(self.stopwatch, text, len(row), known[key].steps)
        return [known[key] for key in keys]

    def _saw(self, watch: Stopwatch, text: str, length: int, steps: int) -> None:
        if watch.searches:
            watch.saw(text, steps, self.prices.cost(self._work([length], [steps])).item())

    def _decode_all(
        self, inputs: Sequence[str], rows: list[list[int]], feed: Callable[[list[int]], Fed]
    ) -> list[Decoded]:
        def draws(chunk: list[int]) -> list[torch.Generator]:
            return sample_generators(tuple(inputs[number] for number in chunk), self.seed, "generate")

        order, worth = sorted(range(len(rows)), key=lambda number: len(rows[number]), reverse=True), self._worth()
        chunks = []
        while order:
            count = min(self.rows_at_once(len(rows[order[0]])), alike([len(rows[number]) for number in order], worth))
            chunks.append(order[:count])
            order = order[count:]
        caps = [self.cap_of(len(row)) for row in rows]
        return self.decoder.decode(feed, chunks, caps, draws if self.decoder.samples else None)

    def _worth(self) -> float:
        """Return how many tokens of padding cost as much as the decoder steps of another batch."""
        if self.device.type != "cpu" or self.decoder.rowwise:  # which computes no padding
            return math.inf
        layers = self.text_config.num_hidden_layers
        reads = self.model.get_encoder() or self.model
        weights = sum(part.weight.numel() for part in reads.modules() if isinstance(part, torch.nn.Linear))
        return float(self.cap * layers * STEP / max(1, weights))

    def score(self, texts: Sequence[str]) -> Tensor:
        """See :meth:`TextTarget.score`; equal texts are decoded once."""
        each = [(text, tuple(row)) for text, row in zip(texts, self.reader.rows(texts), strict=True)]
        different = tuple(dict.fromkeys(each))  # equal texts may be turns of different conversations
        steps: dict[tuple[str, tuple[int, ...]], int] = {}
        for group in self._groups([list(row) for _, row in different]):
            alike = [different[number] for number in group]
            rows = [list(row) for _, row in alike]
            decoded = self._decode_rows([text for text, _ in alike], rows, self._candidates(rows))
            steps |= {one: found.steps for one, found in zip(alike, decoded, strict=True)}
        return torch.tensor([steps[one] for one in each], dtype=torch.int64)

    def _groups(self, rows: list[list[int]]) -> list[list[int]]:
        """Return the numbers of the texts that are decoded together."""
        return [list(range(len(rows)))] if rows else []

    def _candidates(self, rows: list[list[int]]) -> Callable[[list[int]], Fed]:
        """Return what feeds texts that resemble each other."""
        return lambda chunk: self._fed([rows[number] for number in chunk])

    def signals(self, inputs: Sequence[str]) -> StepSignals:
        """See :meth:`StepTarget.signals`; gradients reach the embeddings of the texts."""
        decoded, lengths = self._decode(inputs)
        if self.stopwatch is not None:
            self.stopwatch.backwards += len(inputs)
        rows = self.reader.rows(inputs)
        ids, mask = (part.to(self.device) for part in self.reader.pad(rows))
        embeddings = self.embedding(ids).detach().requires_grad_()
        logits, hidden = self._forced(ids, embeddings, mask, decoded)
        return StepSignals(
            logits=logits,
            ids=padded_ids(decoded, self.device),
            mask=step_mask(decoded, self.device),
            eos=self.eos,
            work=self._work(lengths, [one.steps for one in decoded]),
            hidden=hidden,
            embeddings=embeddings,
            input_ids=ids,
            input_mask=self.reader.own(inputs).to(self.device),
        )

    def static_work(self) -> Work:
        """See :meth:`Target.static_work`: of each unit the most that any length allows."""
        key = self.cap, self._shortest(), self._longest()
        if key not in self._bounds:
            lengths = range(key[1], key[2] + 1)
            every = self._work(lengths, [self.cap_of(length) for length in lengths])
            self._bounds[key] = Work(every.counts.amax(0, keepdim=True))
        return self._bounds[key]

    def _probe_lengths(self, inputs: Sequence[str]) -> Iterable[int]:
        length = min(max(8, *self._lengths(inputs)), self._longest())
        outgrown = {min(size, self._longest()) for size in self.layout.windows}
        return sorted({max(1, length // 4), max(1, length // 2), length, *outgrown})

    def _probe(self, inputs: Sequence[str], length: int) -> Fed:
        row = self.reader.rows(inputs)[0]
        return self._fed([(row * length)[:length]])

    def _model_limit(self) -> int:
        """Return how many tokens the tokenizer says that the model reads."""
        return min(int(self.codec.tokenizer.model_max_length), 2**31)


class SourceTarget(TextGenerationTarget):
    """An encoder and a decoder of texts, such as Marian and T5."""

    left = False

    farthest = SourceLayout.farthest

    def _layout(self) -> SourceLayout:
        return SourceLayout(windows=self._outgrown())

    def _possible(self, length: int, steps: int) -> bool:
        return 0 < length <= self._longest() and steps <= self.most

    def _longest(self) -> int:
        named = min(self._model_limit(), getattr(self.model.config, "max_position_embeddings", None) or 2**31)
        return UNLIMITED if named == 2**31 else named

    @property
    @override
    def embedding(self) -> torch.nn.Embedding:
        return self.model.get_encoder().get_input_embeddings()  # type: ignore[no-any-return]

    def _forced(
        self, ids: Tensor, embeddings: Tensor, mask: Tensor, decoded: Sequence[Decoded]
    ) -> tuple[Tensor, Tensor]:
        with looked_up(self.embedding, embeddings):
            seen = self.model.get_encoder()(input_ids=ids, attention_mask=mask, return_dict=True)
        return force_decoder(self.model, {"encoder_outputs": seen, "attention_mask": mask}, decoded)[:2]
