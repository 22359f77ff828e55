"""Targets that read a text aloud: frames of a spectrogram, step by step, until a stop head says that this was all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.batches import redo_alone
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.text import Codec, TextSpace
from torpor.core.units import Unit
from torpor.core.work import Generation, Outcome, Work
from torpor.data.sets import DataSet
from torpor.meters.flops import counting
from torpor.targets.decoder.contract import STEP, TextTarget
from torpor.targets.decoder.recurrent import TIE, RecurrentTarget, State

FRAME, STOP = range(2)
"""The two tokens of :class:`SynthesisTarget`: go on, and stop after this step's frames."""
CAP = 250
MOST_CHARACTERS = 40


class SpeechNetwork(Protocol):
    """What torpor requires of a synthesizer's network, beside being a module; each row is on its own."""

    @property
    def symbols(self) -> Codec:
        """Return the tokenizer; the network reads its tokens, and the end after them."""

    def ids(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return tokens with the end after them, padded, int64 ``[B, L]``."""

    def embed(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of tokens ``[B, L, E]``, and which are no padding, bool ``[B, L]``."""

    def encode(self, embedded: Tensor, inside: Tensor) -> Tensor:
        """Return what is read at each token, ``[B, L, D]``."""

    def start(self, memory: Tensor) -> State:
        """Return the decoder's state before the first step, tensors ``[B, H]``; the first is the hidden state."""

    def step(self, memory: Tensor, inside: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """Return the next frames ``[B, F]``, the logit of stopping after them ``[B]``, and the next state."""

    def hear(self, frames: Tensor) -> str:
        """Return the words that are spoken in the frames of all steps ``[T, F]``, to judge them by."""


@dataclass(frozen=True)
class Speech(Generation):
    """What was spoken: ``ids`` are the steps' decisions to go on or stop, ``text`` is what a listener hears.

    Attributes:
        frames: of the spectrogram, those of one step in a row, ``[T, F]``.
    """

    frames: Tensor = field(compare=False, repr=False)


class SynthesisTarget(RecurrentTarget, TextTarget):
    """A speech synthesizer as deployed: batched, and speech that stopped leaves the batch.

    The decision of every step is told as that between two tokens: one frame more, or stop, which wins where the stop
    head's probability is above one half. Unit ``character`` runs once per character and once for the end of the text,
    unit ``decoder_step`` once per step, and unit ``attended_character`` for each of them at each step. What hears the
    speech is not deployed: it judges, and costs nothing here.

    Args:
        network: see :class:`SpeechNetwork`. It is put in evaluation mode and its weights are frozen.
        cap: decoder steps at most.
        most_characters: that a text may have.
        name: shown in reports.
        device: where to run.
        data: makes the data to audit on; texts of the user's own if None.

    Raises:
        UsageError: if ``network`` is no synthesizer, or its work is not that of these units.
        MeterError: if an operator's FLOPs cannot be counted.
    """

    mechanism = "speech synthesis"
    counted_apart = "what hears the speech judges it, and is not deployed"
    kind, protocol = "synthesizer", "SpeechNetwork"
    parts = ("symbols", "ids", "embed", "encode", "start", "step", "hear")
    network: SpeechNetwork

    def __init__(
        self,
        network: nn.Module,
        *,
        cap: int = CAP,
        most_characters: int = MOST_CHARACTERS,
        name: str = "synthesizer",
        device: str | torch.device = "cpu",
        data: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        super().__init__(network, cap, name, device, data)
        self.eos = (STOP,)
        self.network = cast(SpeechNetwork, self.module)
        self.space = TextSpace(self.network.symbols, most_characters)
        self.units = self._measure()

    def _measure(self) -> tuple[Unit, ...]:
        """Solve for the units' FLOPs on two texts; they must hold on the longest text, and at a second step."""
        counted = {length: self._count(length) for length in (1, 2, self.space.max_tokens)}
        (encoder, step, _), (_, longer, _) = counted[1], counted[2]
        character, attended = encoder // 2, longer - step
        once = step - 2 * attended
        for length, found in counted.items():
            steps = once + (length + 1) * attended
            if found != ((length + 1) * character, steps, steps):
                raise UsageError(
                    "expected FLOPs proportional to the characters, and the same at every step but for attention, got "
                    f"{found[0]}, {found[1]} and {found[2]} for the encoder and two steps on a text of {length}; "
                    "write a target with one more unit"
                )
        return Unit("character", character), Unit(STEP, once), Unit("attended_character", attended)

    def _count(self, length: int) -> tuple[int, int, int]:
        """Return the FLOPs of the encoder, and of the first two steps, on a text of some length."""
        known = next(number for number in range(self.space.codec.size) if number not in self.space.codec.special)
        with counting() as encoder:
            memory, inside = self._read(self.network.ids([[known] * length]).to(self.device))
            state = self.network.start(memory)
        with counting() as first:
            _, _, state = self.network.step(memory, inside, state)
        with counting() as second:
            self.network.step(memory, inside, state)
        return encoder.flops, first.flops, second.flops

    def _read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        embedded, inside = self.network.embed(ids)
        return self.network.encode(embedded, inside), inside

    def _ids(self, texts: Sequence[str]) -> Tensor:
        return self.network.ids([self.space.codec.encode(text) for text in texts]).to(self.device)

    def run(self, inputs: Sequence[str]) -> Outcome:
        """Return one :class:`Speech` per text, and its work.

        How long a sample's speech is does not depend on its neighbors: where batched arithmetic comes within ``TIE`` of
        another decision, the sample is decided by a run of its own.

        Raises:
            UsageError: if the stop head's logits are NaN.
        """
        spoken = self._speak(self.space.check(tuple(inputs)))
        outputs = []
        for frames, capped in spoken:
            ids = [FRAME] * len(frames)
            ids[-1] = FRAME if capped else STOP
            outputs.append(Speech(tuple(ids), self.network.hear(frames), capped, frames))
        return Outcome(tuple(outputs), self._work(inputs, torch.tensor([len(frames) for frames, _ in spoken])))

    @override
    def score(self, texts: Sequence[str]) -> Tensor:
        spoken = self._speak(self.space.check(tuple(texts)))
        return torch.tensor([len(frames) for frames, _ in spoken])

    @torch.no_grad()
    def _speak(self, texts: Sequence[str]) -> list[tuple[Tensor, bool]]:
        """Return the frames of each text ``[T, F]``, and whether the cap ended them."""
        frames: list[list[Tensor]] = [[] for _ in texts]
        last = torch.full((len(texts),), math.nan)
        gap = torch.full((len(texts),), math.inf)
        for rows, said, stop, _ in self._steps(*self._read(self._ids(texts))):
            for row, one in zip(rows.tolist(), said.cpu(), strict=True):
                frames[row].append(one)
            rows, stop = rows.cpu(), stop.cpu()
            last[rows], gap[rows] = stop, torch.minimum(gap[rows], stop.abs())
        if last.isnan().any():
            raise UsageError(f"expected numbers from the stop head of {self.name}, got NaN; check its weights")
        spoken = [(torch.stack(own), bool(stop <= 0)) for own, stop in zip(frames, last, strict=True)]
        redo_alone((spoken,), gap, TIE, lambda row: (self._speak(texts[row : row + 1]),))
        return spoken

    def _steps(self, memory: Tensor, inside: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield at each step the rows ``[N]`` that still run, their frames, stop logits and hidden states."""
        rows, state = torch.arange(len(memory), device=self.device), self.network.start(memory)
        for _ in range(self.cap):
            said, stop, state = self.network.step(memory, inside, state)
            yield rows, said, stop, state[0]
            stays = ~(stop.detach() > 0)
            if not stays.any():
                return
            if not stays.all():
                rows, memory, inside = rows[stays], memory[stays], inside[stays]
                state = tuple(part[stays] for part in state)

    def signals(self, inputs: Sequence[str]) -> StepSignals:
        """Speak as deployed, with gradients: a recurrent decoder computes the same, so one pass saves the other."""
        ids = self._ids(self.space.check(tuple(inputs)))
        embedded, inside = self.network.embed(ids)
        embedded = embedded.detach().requires_grad_()
        steps = list(self._steps(self.network.encode(embedded, inside), inside))
        shape = (len(ids), len(steps))
        mask = torch.zeros(shape, dtype=torch.bool, device=self.device)
        stops, hidden = [], []
        for place, (rows, _, stop, state) in enumerate(steps):
            mask[rows, place] = True
            stops.append(stop.new_zeros(len(ids)).index_put((rows,), stop))
            hidden.append(state.new_zeros(len(ids), state.shape[1]).index_put((rows,), state))
        ends = torch.stack(stops, 1)
        own = torch.tensor([len(self.space.codec.encode(text)) for text in inputs], device=self.device)
        return StepSignals(
            logits=torch.stack([torch.zeros_like(ends), ends], -1),
            ids=torch.where(ends.detach() > 0, STOP, FRAME),
            mask=mask,
            eos=self.eos,
            work=self._work(inputs, mask.sum(1).cpu()),
            hidden=torch.stack(hidden, 1),
            embeddings=embedded,
            input_ids=ids,
            input_mask=torch.arange(ids.shape[1], device=self.device) < own.unsqueeze(1),
        )

    @override
    def embedding_matrix(self) -> Tensor:
        return self.network.embed(torch.arange(self.space.codec.size, device=self.device).unsqueeze(0))[0][0]

    def _work(self, texts: Sequence[str], steps: Tensor) -> Work:
        characters = torch.tensor([len(self.space.codec.encode(text)) + 1 for text in texts])
        return Work(torch.stack([characters, steps, characters * steps], 1))

    def known_work(self, inputs: Sequence[str], steps: Sequence[int]) -> Work:
        """See :class:`~torpor.targets.capabilities.Foretold`."""
        return self._work(inputs, torch.tensor(steps))

    def max_work(self, inputs: Sequence[str]) -> Work:
        """Return the cap on each text; a longer one may cost more."""
        return self._work(inputs, torch.full((len(inputs),), self.cap))

    @override
    def static_work(self) -> Work:
        characters = self.space.max_tokens + 1
        return Work(torch.tensor([[characters, self.cap, characters * self.cap]]))

    @override
    def least_work(self) -> Work:
        return Work(torch.tensor([[2, 1, 2]]))

    @property
    def utility_name(self) -> str:
        """Name of what :meth:`utility` measures."""
        return "ROUGE-L F1 of what is heard"

    @override
    def probes(self, inputs: Sequence[str]) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield half of all steps and all, on each input's beginning and on as long a text as is read, and no step."""
        codec = self.space.codec
        known = [codec.encode(text) for text in self.space.check(tuple(inputs))]
        longest = [(text * self.space.max_tokens)[: self.space.max_tokens] for text in known]

        def steps(ids: Tensor, count: int) -> Callable[[], object]:
            @torch.no_grad()
            def call() -> object:
                memory, inside = self._read(ids)
                state = self.network.start(memory)
                for _ in range(count):
                    _, _, state = self.network.step(memory, inside, state)
                return state

            return call

        for texts in ([text[:1] for text in known], longest):
            ids = self.network.ids(texts).to(self.device)
            for count in sorted({0, math.ceil(self.cap / 2), self.cap}):
                work = torch.tensor([[ids.shape[1], count, ids.shape[1] * count]])
                yield Work(work.repeat(len(texts), 1)), steps(ids, count)
