"""Targets that describe images or write down speech."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torpor.core.batches import sample_generators, take
from torpor.core.signals import StepSignals, single
from torpor.core.stopwatch import OutOfTime, Stopwatch
from torpor.data.sets import DataSet
from torpor.targets.decoder.generation.codec import HuggingFaceCodec
from torpor.targets.decoder.generation.fed import Decoded, Fed
from torpor.targets.decoder.generation.forcing import SharedEncoder, force_decoder, padded_ids, step_mask
from torpor.targets.decoder.generation.layouts import FixedLayout
from torpor.targets.decoder.generation.readers import DenseReader, ImageReader
from torpor.targets.decoder.generation.target import GenerationTarget


class DenseGenerationTarget(GenerationTarget):
    """An encoder of images or sounds of one size, and a decoder of texts.

    Args:
        model: one of transformers' models.
        codec: the tokenizer of what is generated.
        reader: what turns inputs into the model's arguments.
        name: shown in reports.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None).
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers' own classes
        codec: HuggingFaceCodec,
        reader: DenseReader,
        *,
        name: str,
        data: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        self.reader, self.space = reader, reader.space
        super().__init__(model, codec, name=name, data=data)

    def _reading(self) -> dict[str, Any]:
        return self.reader.settings()

    farthest = FixedLayout.farthest

    def _layout(self) -> FixedLayout:
        return FixedLayout(self.decoder.start, windows=self._outgrown())

    def _possible(self, length: int, steps: int) -> bool:
        return steps <= self.most

    def _example(self, length: int, *, varied: bool = False) -> Fed:
        values = torch.zeros(1, *self.reader.space.shape)
        return self._fed(torch.linspace(0, 1, values.numel()).view_as(values) if varied else values)

    def _varied(self, numbers: list[int]) -> Fed:
        shape, space = self.reader.space.shape, self.reader.space
        rows = [torch.rand(shape, generator=torch.Generator().manual_seed(number)) for number in numbers]
        return self._fed(torch.stack(rows) * (space.high - space.low) + space.low)

    def _fed(self, inputs: Tensor) -> Fed:
        return Fed(self._read(inputs.detach()))

    def _read(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the model's arguments; those of each row by itself, so that half precision rounds them alike."""
        rows = [self.reader(row) for row in inputs.to(self.device).split(1)]
        return self._as_model({name: torch.cat([row[name] for row in rows]) for name in rows[0]})

    def _as_model(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return arguments whose floats are of the model's type."""
        return {name: one.to(self.model.dtype) if one.is_floating_point() else one for name, one in given.items()}

    @property
    def most(self) -> int:
        """See :attr:`GenerationTarget.most`; Whisper's own ``generate`` keeps one position free."""
        return super().most - (not isinstance(self.reader, ImageReader))

    def _lengths(self, inputs: Tensor) -> list[int]:
        return [0] * len(inputs)

    def _shortest(self) -> int:
        return 0

    def _longest(self) -> int:
        return 0

    def _decode(self, inputs: Tensor) -> tuple[list[Decoded], list[int]]:
        def draws(rows: list[int]) -> list[torch.Generator]:
            return sample_generators(take(inputs, torch.tensor(rows)), self.seed, "generate")

        watch = self.stopwatch
        try:
            decoded = self.decoder.decode(
                lambda rows: self._fed(take(inputs, torch.tensor(rows))),
                [rows.tolist() for rows in torch.arange(len(inputs)).split(self.rows_at_once(0))],
                [self.cap] * len(inputs),
                draws if self.decoder.samples else None,
            )
        except OutOfTime as over:
            if watch is not None:
                self._saw(watch, inputs, over.ran)
                watch.missed(len(inputs) - len(over.ran))
            raise
        if watch is not None:
            self._saw(watch, inputs, {number: one.steps for number, one in enumerate(decoded)})
        return decoded, self._lengths(inputs)

    def _saw(self, watch: Stopwatch, inputs: Tensor, ran: Mapping[int, int]) -> None:
        for number, steps in ran.items():
            one = inputs[number : number + 1].clone()
            work = self.known_work(one, [steps])
            watch.saw(one, steps, None if work is None else self.prices.cost(work).item())

    def signals(self, inputs: Tensor) -> StepSignals:
        """See :meth:`StepTarget.signals`; gradients reach ``inputs``."""
        reads_once = bool(self.model.config.is_encoder_decoder)
        shared = SharedEncoder(self.model, self._read(inputs)) if reads_once else None
        with nullcontext() if shared is None else shared.watching():
            decoded, lengths = self._decode(inputs.detach())
        if self.stopwatch is not None and inputs.requires_grad:
            self.stopwatch.backwards += len(inputs)
        if shared is None:
            logits, hidden, norms = self._forced(inputs, decoded)
        else:
            logits, hidden, norms = force_decoder(self.model, shared.arguments, decoded)
        return StepSignals(
            logits=single(logits),  # in half precision objectives would tie, and there is no SVD
            ids=padded_ids(decoded, self.device),
            mask=step_mask(decoded, self.device),
            eos=self.eos,
            work=self._work(lengths, [one.steps for one in decoded]),
            hidden=single(hidden),
            norms=norms,
        )

    def _forced(self, inputs: Tensor, decoded: Sequence[Decoded]) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, hidden states and their norms, averaged over layers, of every step."""
        return force_decoder(self.model, self._read(inputs), decoded)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the mean of the encoder's last hidden states over positions, ``[B, D]``."""
        given = {name: value.to(self.model.dtype) for name, value in self.reader(inputs.to(self.device)).items()}
        found: Tensor = self.model.get_encoder()(**given, return_dict=True).last_hidden_state.mean(1)
        return found

    def _probe_lengths(self, inputs: Tensor) -> Iterable[int]:
        return (0,)

    def _probe(self, inputs: Tensor, length: int) -> Fed:
        return self._fed(inputs)
