"""Targets that describe an image word by word, until the end token."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from torpor.core.batches import Samples, redo_alone
from torpor.core.errors import DataError, UsageError
from torpor.core.signals import StepSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Generation, Outcome, Work
from torpor.data.sets import DataSet
from torpor.meters.flops import counting
from torpor.targets.decoder.contract import STEP
from torpor.targets.decoder.recurrent import TIE, RecurrentTarget, State
from torpor.targets.decoder.stops import Watch


class Words(Protocol):
    """The tokens that a captioner knows."""

    @property
    def start(self) -> int:
        """Return the token that is read before the first word."""

    @property
    def end(self) -> int:
        """Return the token that ends a caption."""

    def __len__(self) -> int: ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return tokens as text, special ones left out."""


class CaptionNetwork(Protocol):
    """What torpor requires of a captioner's network, beside being a module; each row is on its own."""

    @property
    def vocabulary(self) -> Words:
        """Return the tokens."""

    def encode(self, images: Tensor) -> Tensor:
        """Return the features of ``images``, ``[B, ...]``."""

    def start(self, features: Tensor) -> State:
        """Return the decoder's state before the first word, tensors ``[B, H]``; the first is the hidden state."""

    def step(self, features: Tensor, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token per row, int64 ``[B]``; return scores of the next, ``[B, V]``, and the next state."""


class CaptionerTarget(RecurrentTarget):
    """A captioner as deployed: greedy decoding, batched; a caption that ended leaves the batch.

    Unit ``encoder`` runs once per image, unit ``decoder_step`` once per token, the end token counted.

    Args:
        network: see :class:`CaptionNetwork`. It is put in evaluation mode and its weights are frozen.
        input_shape: ``(C, H, W)`` of one image.
        cap: tokens at most.
        name: shown in reports.
        device: where to run.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None); Parquet images if None.

    Raises:
        UsageError: if ``network`` is not a captioner, or its steps do not all cost the same.
        MeterError: if an operator's FLOPs cannot be counted.
    """

    mechanism = "captioning"
    stoppable = True
    kind, protocol, counted = "captioner", "CaptionNetwork", "token"
    parts = ("vocabulary", "encode", "start", "step")
    network: CaptionNetwork
    space: ImageSpace

    def __init__(
        self,
        network: nn.Module,
        *,
        input_shape: tuple[int, int, int],
        cap: int = 60,
        name: str = "captioner",
        device: str | torch.device = "cpu",
        data: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        super().__init__(network, cap, name, device, data)
        self.space = ImageSpace(input_shape)
        self.network = cast(CaptionNetwork, self.module)
        self.eos = (self.network.vocabulary.end,)
        self.units = self._measure()

    def _measure(self) -> tuple[Unit, ...]:
        """Count each unit's FLOPs on one blank image."""
        ids = torch.tensor([self.network.vocabulary.start], device=self.device)
        with counting() as encoder:
            features = self.network.encode(torch.zeros(1, *self.space.shape, device=self.device))
            state = self.network.start(features)
        with counting() as first:
            logits, state = self.network.step(features, ids, state)
        with counting() as second:
            self.network.step(features, ids, state)
        if tuple(logits.shape) != (1, len(self.network.vocabulary)):
            raise UsageError(
                f"expected scores of {len(self.network.vocabulary)} tokens per row, got shape {list(logits.shape)}"
            )
        if first.flops != second.flops:
            raise UsageError(
                f"expected decoder steps that all cost the same, got {first.flops} and {second.flops} FLOPs; write a "
                "target with one more unit"
            )
        return Unit("encoder", encoder.flops), Unit(STEP, first.flops)

    def run(self, inputs: Tensor) -> Outcome:
        """Return one :class:`Generation` per image, and its work.

        A sample's tokens do not depend on its neighbors: where batched arithmetic comes within ``TIE`` of choosing
        another token, the sample is decided by a run of its own.

        Raises:
            UsageError: if the scores are NaN.
        """
        said, gap = self._generate(self.space.check(inputs))
        redo_alone((said,), gap, TIE, lambda row: self._generate(inputs[row : row + 1])[:1])
        if gap.isnan().any():
            raise UsageError(f"expected numbers as scores of {self.name}, got NaN; check its weights")
        decode, end = self.network.vocabulary.decode, self.eos[0]
        outputs = tuple(Generation(tuple(ids), decode(ids), ids[-1] != end) for ids in said)
        return Outcome(outputs, self._work(torch.tensor([len(output.ids) for output in outputs])))

    @torch.no_grad()
    def _generate(self, inputs: Tensor) -> tuple[list[list[int]], Tensor]:
        """Decode one batch: each image's caption, and each sample's least gap ``[B]``."""
        steps = [
            (rows, tokens, torch.minimum(best[:, 0] - best[:, 1], past.abs().to(best)))
            for rows, tokens, scores, _, past in self._steps(inputs)
            for best in (scores.topk(2, -1).values,)
        ]
        rows, tokens, gaps = (torch.cat(parts) for parts in zip(*steps, strict=True))
        said: list[list[int]] = [[] for _ in inputs]
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            said[row].append(token)
        gap = torch.full((len(inputs),), torch.inf, device=self.device).to(gaps)
        return said, gap.scatter_reduce(0, rows, gaps, "amin")  # NaN stays NaN

    def _steps(self, inputs: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Yield at each step the rows ``[N]`` that still run.

        With them: what they say, their scores, their hidden states, and how far they are past a stop.
        """
        features = self.network.encode(inputs.to(self.device))
        state = self.network.start(features)
        rows = torch.arange(len(inputs), device=self.device)
        tokens, watch = torch.full_like(rows, self.network.vocabulary.start), Watch(self.stop, self.eos)
        for _ in range(self.cap):
            logits, state = self.network.step(features, tokens, state)
            tokens = logits.detach().argmax(-1)
            past = watch(tokens, logits)
            yield rows, tokens, logits, state[0], past
            stays = (tokens != self.eos[0]) & (past < 0)
            if not stays.any():
                return
            if not stays.all():
                watch.keep(stays)
                rows, tokens, features = rows[stays], tokens[stays], features[stays]
                state = tuple(part[stays] for part in state)

    def signals(self, inputs: Tensor) -> StepSignals:
        """Decode as deployed, with gradients: tokens are constants, so this *is* the teacher-forced pass.

        A recurrent decoder computes the same in both, so one pass saves the other.
        """
        rows, tokens, scores, states, _ = zip(*self._steps(self.space.check(inputs)), strict=True)
        places = torch.cat([torch.full_like(ran, place) for place, ran in enumerate(rows)])

        def table(values: tuple[Tensor, ...], fill: int = 0) -> Tensor:
            """Put values where their rows and steps are; all at once, since a call for each step is slow."""
            whole = values[0].new_full((len(inputs), len(rows), *values[0].shape[1:]), fill)
            return whole.index_put((torch.cat(rows), places), torch.cat(values))

        mask = table(tuple(torch.ones_like(ran, dtype=torch.bool) for ran in rows))
        return StepSignals(
            logits=table(scores),
            ids=table(tokens, self.eos[0]),
            mask=mask,
            eos=self.eos,
            work=self._work(mask.sum(1).cpu()),
            hidden=table(states),
        )

    def _work(self, steps: Tensor) -> Work:
        return Work(torch.stack([torch.ones_like(steps), steps], 1))

    def features(self, inputs: Tensor) -> Tensor:
        """Return the mean of the encoder's features over positions, ``[B, D]``."""
        return self.network.encode(inputs.to(self.device)).mean(1)

    def max_work(self, inputs: Tensor) -> Work:
        """Return one run of the encoder and ``cap`` decoder steps."""
        return self._work(torch.full((len(inputs),), self.cap))

    def labels(self, outputs: Samples, references: Samples | None) -> Samples:
        """Return the references; see :meth:`Target.labels`."""
        if references is not None and not all(isinstance(text, str) for text in references):
            raise DataError(f"expected captions as references of {self.name}, got {type(references[0]).__name__}")
        return super().labels(outputs, references)

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield the encoder alone, and with half of all steps and all, whatever the words are."""

        def steps(count: int) -> Callable[[], object]:
            @torch.no_grad()
            def call() -> object:
                features = self.network.encode(inputs.to(self.device))
                state = self.network.start(features)
                tokens = torch.full((len(inputs),), self.network.vocabulary.start, device=self.device)
                for _ in range(count):
                    logits, state = self.network.step(features, tokens, state)
                    tokens = logits.argmax(-1)
                return tokens

            return call

        for count in sorted({0, math.ceil(self.cap / 2), self.cap}):
            yield self._work(torch.full((len(inputs),), count)), steps(count)
