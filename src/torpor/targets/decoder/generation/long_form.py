"""Recordings that are longer than what Whisper reads at once: window after window, as transformers decodes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals, single
from torpor.core.stopwatch import OutOfTime
from torpor.core.work import Generation, Outcome, Work
from torpor.data.sets import DataSet
from torpor.targets.decoder.contract import generated_length
from torpor.targets.decoder.generation.codec import HuggingFaceCodec
from torpor.targets.decoder.generation.dense import DenseGenerationTarget
from torpor.targets.decoder.generation.deployment import deployed, deployed_config, with_new_tokens
from torpor.targets.decoder.generation.fed import Decoded, Fed
from torpor.targets.decoder.generation.forcing import force_decoder
from torpor.targets.decoder.generation.loop import DecodingLoop, DecodingPlan
from torpor.targets.decoder.generation.readers import LogMelReader

STRIDE = 2
"""Frames for each position of the encoder."""
LEAST = STRIDE
"""Frames that a window is ahead of the one before at least: the end of a segment is later than its start."""
REFUSED = {
    "condition_on_prev_tokens": "windows would begin with texts of different lengths",
    "do_sample": "transformers decodes recordings greedily",
}


@dataclass(frozen=True)
class Window:
    """One of the windows that a recording was decoded in.

    Attributes:
        first: frame.
        decoded: what was generated.
    """

    first: int
    decoded: Decoded


@dataclass(frozen=True)
class Transcript:
    """What became of one recording.

    Attributes:
        windows: in the order in which they were decoded; they may overlap.
        ids: that transformers returns; what follows the last complete segment of a window is left out.
    """

    windows: tuple[Window, ...]
    ids: tuple[int, ...]

    @property
    def steps(self) -> list[int]:
        """Decoder steps of each window."""
        return [window.decoded.steps for window in self.windows]


class LongFormTarget(DenseGenerationTarget):
    """Whisper on recordings of one length, longer than its window, by transformers' sequential long-form decoding.

    Each window runs the encoder once, and the decoder up to the cap. The next one begins where the last segment ended
    that is complete by its timestamps, so how many there are depends on the input, and the static bound is the one of
    windows that are ``LEAST`` frames apart. Recordings run one by one, and shorter ones are followed by silence.

    Args:
        model: Whisper.
        codec: its tokenizer.
        reader: of one window.
        seconds: that recordings take.
        name: shown in reports.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None).

    Raises:
        UsageError: if the recordings fit into one window, or the model is deployed in a way that cannot be counted.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers' own classes
        codec: HuggingFaceCodec,
        reader: LogMelReader,
        *,
        seconds: float,
        name: str,
        data: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        (self.bands, self.frames), longer = reader.shape, reader.lengthened(seconds)
        self.length = longer.shape[1]
        if self.length <= self.frames:
            raise UsageError(f"expected recordings of more than {reader.seconds:g} seconds, got {seconds:g}")
        super().__init__(model, codec, longer, name=name, data=data)
        self.stoppable = False
        self.times = int(self.config.no_timestamps_token_id) + 1

    @override
    def _deployed(self, model: Any) -> Any:
        config = deployed_config(model)
        for name, reason in REFUSED.items():
            if getattr(config, name, None):
                raise UsageError(
                    f"expected a generation config without {name} for recordings of several windows ({reason}), got "
                    f"{getattr(config, name)!r}; unset it"
                )
        if (config.num_beams or 1) > 1:
            raise UsageError(
                f"expected one beam for recordings of several windows, got {config.num_beams}; set num_beams to 1"
            )
        if getattr(config, "no_timestamps_token_id", None) is None:
            raise UsageError(
                "expected a generation config with no_timestamps_token_id, which long recordings need, got none; take "
                "the one that belongs to the model"
            )
        if getattr(config, "lang_to_id", None) is not None and getattr(config, "language", None) is None:
            raise UsageError(
                "expected a generation config that names a language for recordings of several windows, got none; set "
                "its language"
            )
        config.return_timestamps, config.force_unique_generate_call = True, True
        return config

    def _example(self, length: int, *, varied: bool = False) -> Fed:
        return self._window(torch.zeros(1, self.bands, self.frames), varied)

    def _varied(self, numbers: list[int]) -> Fed:
        draws = [torch.Generator().manual_seed(number) for number in numbers]
        return self._window(torch.stack([torch.rand(self.bands, self.frames, generator=one) for one in draws]))

    def _window(self, features: Tensor, varied: bool = False) -> Fed:
        if varied:
            features = torch.linspace(0, 1, features.numel()).view_as(features)
        return Fed(self._as_model({"input_features": features.to(self.device)}))

    @property
    def windows(self) -> tuple[int, int]:
        """How many windows a recording is decoded in, least and most."""
        return -(-self.length // self.frames), -(-self.length // LEAST)

    def run(self, inputs: Tensor) -> Outcome:
        """See :meth:`GenerationTarget.run`."""
        found = self._transcribe(self.space.check(inputs))
        return Outcome(tuple(self._text(one) for one in found), self._ran(found))

    def _text(self, found: Transcript) -> Generation:
        ids = tuple(number for window in found.windows for number in window.decoded.ids)
        capped = any(generated_length(window.decoded.ids, self.eos, self.cap)[1] for window in found.windows)
        return Generation(ids, self.codec.decode([one for one in found.ids if one < self.times]), capped)

    def _ran(self, found: Sequence[Transcript]) -> Work:
        return Work(torch.stack([self._work([0] * len(one.windows), one.steps).counts.sum(0) for one in found]))

    def _transcribe(self, inputs: Tensor) -> list[Transcript]:
        found, watch = list[Transcript](), self.stopwatch
        for number, row in enumerate(inputs.split(1)):
            try:
                found.append(self._decoded(self._read(row.detach())))
            except OutOfTime as over:
                over.ran = {place: sum(one.steps) for place, one in enumerate(found)} | {number: over.ran.get(0, 0)}
                if watch is not None:
                    self._saw(watch, inputs, over.ran)
                    watch.missed(len(inputs) - len(over.ran))
                raise
        if watch is not None:
            self._saw(watch, inputs, {number: sum(one.steps) for number, one in enumerate(found)})
        return found

    @torch.no_grad()
    def _decoded(self, given: dict[str, Tensor]) -> Transcript:
        """Let transformers decode one recording, and note where each window begins and what it generates."""
        decoder, firsts, loops = self.decoder, list[int](), list[DecodingLoop]()
        plan = DecodingPlan([self.cap], self.eos, None, strings=self.strings)
        plan = replace(plan, tick=decoder.tick) if decoder.tick is not None else plan

        def begin(progress: Tensor) -> None:
            first = int(progress[0, 0])
            if firsts and first < firsts[-1] + LEAST:
                raise UsageError(
                    f"expected a window after frame {firsts[-1]}, got {first}; check the model's timestamps"
                )
            firsts.append(first)

        def decode(*args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 - whatever generate prepares
            loops.append(DecodingLoop(plan))
            return loops[-1](*args, **kwargs)

        config = with_new_tokens(self.config, self.cap)
        config.force_unique_generate_call = False
        with decoder.forward_calls.counted() as tally, deployed(self.model, config):
            try:
                ids = self.model.generate(**given, custom_generate=decode, monitor_progress=begin)
            except OutOfTime as over:
                before = sum(len(loop.tokens[0]) for loop in loops if loop.tokens)
                over.ran = {0: before + over.ran.get(0, 0)}
                raise
        if any(loop.broken for loop in loops):
            raise UsageError(f"expected numbers from {type(self.model).__name__}, got NaN logits; check its weights")
        if len(firsts) != len(loops):
            raise UsageError(
                f"expected one decoding of each window, got {len(loops)} of {len(firsts)}; unset fallbacks"
            )
        made = [(tuple(loop.start[0].tolist()), tuple(loop.tokens[0])) for loop in loops]
        decoded = [Decoded(start, tokens, len(tokens)) for start, tokens in made]
        decoder.forward_calls.check_one_by_one([one.steps for one in decoded], tally)
        return Transcript(tuple(map(Window, firsts, decoded)), tuple(ids[0].tolist()))

    def signals(self, inputs: Tensor) -> StepSignals:
        """See :meth:`StepTarget.signals`; gradients reach ``inputs`` through every window where it lies."""
        found, features = self._transcribe(inputs.detach()), self._read(inputs)["input_features"]
        if self.stopwatch is not None and inputs.requires_grad:
            self.stopwatch.backwards += len(inputs)
        rows = [self._forced_windows(one, row) for one, row in zip(found, features.split(1), strict=True)]
        logits, hidden, norms = (pad_sequence(list(parts), batch_first=True) for parts in zip(*rows, strict=True))
        ids = [torch.tensor([number for part in one.windows for number in part.decoded.ids]) for one in found]
        return StepSignals(
            logits=single(logits),
            ids=pad_sequence(ids, batch_first=True).to(self.device),
            mask=pad_sequence([torch.ones(len(one), dtype=torch.bool) for one in ids], batch_first=True).to(
                self.device
            ),
            eos=self.eos,
            work=self._ran(found),
            hidden=single(hidden),
            norms=norms,
        )

    def _forced_windows(self, found: Transcript, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits ``[T, V]``, hidden states ``[T, D]`` and norms ``[T]`` of all windows of one recording."""
        made = [
            force_decoder(self.model, {"input_features": self._cut(features, window.first)}, [window.decoded])
            for window in found.windows
        ]
        logits, hidden, norms = (torch.cat([part[0] for part in parts]) for parts in zip(*made, strict=True))
        return logits, hidden, norms

    def _cut(self, features: Tensor, first: int) -> Tensor:
        cut = features[..., first : first + self.frames]
        return F.pad(cut, (0, self.frames - cut.shape[-1]))

    def features(self, inputs: Tensor) -> Tensor:
        """Return the mean of the encoder's last hidden states over positions of windows side by side, ``[B, D]``."""
        read, least = self._read(inputs)["input_features"], self.windows[0]
        parts = [self._cut(read, self.frames * number) for number in range(least)]
        encoder = self.model.get_encoder()
        means = [encoder(input_features=part, return_dict=True).last_hidden_state.mean(1) for part in parts]
        found: Tensor = torch.stack(means).mean(0)
        return found

    def _probe(self, inputs: Tensor, length: int) -> Fed:
        return self._window(self._cut(self._read(inputs.detach())["input_features"], 0))

    def known_work(self, inputs: Tensor, steps: Sequence[int]) -> None:
        """Steps do not tell how many windows there were."""

    def least_work(self) -> Work:
        """Return one step in each of as few windows as there are at least."""
        return Work(super().least_work().counts * self.windows[0])

    def max_work(self, inputs: Tensor) -> Work:
        """Return the work of windows ``LEAST`` frames apart, each at the cap."""
        return Work(super().max_work(inputs).counts * self.windows[1])

    def details(self) -> dict[str, Any]:
        """See :meth:`GenerationTarget.details`."""
        return {**super().details(), "windows": list(self.windows)}
