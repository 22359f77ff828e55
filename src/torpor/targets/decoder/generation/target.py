"""Anything that transformers can generate with, as a target."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import DataError
from torpor.core.stopwatch import Stopwatch
from torpor.core.units import Unit
from torpor.core.work import Generation, Outcome, Work
from torpor.data.sets import DataSet
from torpor.metrics.translation import sentence_chrf
from torpor.targets.decoder.contract import generated_length
from torpor.targets.decoder.generation.codec import HuggingFaceCodec
from torpor.targets.decoder.generation.decoding import Decoder
from torpor.targets.decoder.generation.deployment import deployed_config
from torpor.targets.decoder.generation.fed import Decoded, Fed
from torpor.targets.decoder.generation.layouts import Layout
from torpor.targets.decoder.generation.lengths import cache_windows, named_lengths
from torpor.targets.decoder.generation.library import ORIGIN
from torpor.targets.decoder.generation.neighbors import STEPS, VARIED
from torpor.targets.decoder.generation.positions import PositionedTarget
from torpor.targets.decoder.generation.pricing import priced_units
from torpor.targets.decoder.generation.room import ACTIVATIONS, rows_in
from torpor.targets.decoder.generation.strings import stop_strings
from torpor.targets.decoder.stops import Stop
from torpor.targets.interruptible import Interruptible
from torpor.targets.weights import digest

MEMORY = 2**31
"""Bytes that one batch may need at most on the CPU, where larger ones gain nothing; they are decoded in pieces."""
ANYTHING = 2**62


class GenerationTarget(Interruptible, PositionedTarget):
    """A model that generates until an end token, decoded by its own generation config.

    Greedy search, sampling and beam search are those of transformers, with whatever the config asks for: least and
    largest lengths, forced and suppressed tokens, penalties. Rows that are done leave the batch, and the output and the
    work of a sample do not depend on its neighbors. Sampling draws from generators that the sample's own content seeds.
    With beams, samples are decoded one by one, and every beam that the decoder computes counts as work.

    The model is put into evaluation mode and its weights are frozen. Only the model's forward passes are charged, not
    what turns the input into tokens, pixels or spectra.

    Attributes:
        model: one of transformers' models.
        codec: the tokenizer of what is generated.
        config: how it is decoded.
        seed: another one samples other outputs.
        deployment: where the settings of generation are from.
    """

    mechanism = "generation"
    deployment = "the model in memory"
    _reads_prompts = False
    _tried = 3
    """Length of the example that decoding is tried on."""
    farthest: int
    """How large windows may be so that what lies beyond them can be priced; longer texts are out of reach."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers' own classes
        codec: HuggingFaceCodec,
        *,
        name: str,
        data: Callable[[Path | None], DataSet] | None = None,
    ) -> None:
        self.name, self._data = name, data
        self.model = model.eval().requires_grad_(False)
        self.device = torch.device(model.device)
        self.codec, self.seed = codec, 0
        self._windows, self._limit = cache_windows(model), None
        self.config = self._deployed(model)
        self.strings = stop_strings(self.config, codec.tokenizer)
        self.decoder = Decoder(model, self.config, self._example(self._tried), self.strings)
        self.eos, self.stoppable = self.decoder.eos, self.decoder.beams == 1
        self._limit = min((size for size in self._windows if size > self.farthest), default=None)
        self.cap = self._first_cap()
        self._limit = min((size for size in self._windows if size > min(self.farthest, self._reach())), default=None)
        self.layout: Layout
        self.units: tuple[Unit, ...]
        self.layout, self.units = priced_units(
            self._layout(),
            self.decoder.beams,
            model,
            self._force,
            named_lengths(model),
            self._longest(),
            self._possible,
        )
        self.decoder.forward_calls.settle()
        self._settle()

    @override
    def until(self, stopwatch: Stopwatch) -> Self:
        other = super().until(stopwatch)
        other.decoder = self.decoder.with_tick(stopwatch.check)
        return other

    def _deployed(self, model: Any) -> Any:  # noqa: ANN401
        """Return how the model is decoded."""
        return deployed_config(model)

    @abstractmethod
    def _layout(self) -> Layout:
        """Return which units there are."""

    @abstractmethod
    def _example(self, length: int, *, varied: bool = False) -> Fed:
        """Return a batch of one that reads ``length`` tokens, if it reads tokens; all alike, or ``varied``."""

    @abstractmethod
    def _longest(self) -> int:
        """Return how many tokens the model can read, special ones included; 0 where inputs are not tokens."""

    @abstractmethod
    def _possible(self, length: int, steps: int) -> bool:
        """Tell whether an input of ``length`` tokens and that many decoder steps can occur."""

    @abstractmethod
    def _varied(self, numbers: list[int]) -> Fed:
        """Return a batch of some of ``VARIED`` examples of different lengths, if they have lengths."""

    def _settle(self) -> None:
        self.decoder.settle(self._varied, VARIED, min(STEPS, self.cap))

    @abstractmethod
    def _decode(self, inputs: Samples) -> tuple[list[Decoded], list[int]]:
        """Decode as deployed; return also what :meth:`_lengths` does."""

    @abstractmethod
    def _lengths(self, inputs: Samples) -> list[int]:
        """Return how many tokens the model reads for each input; 0 where they are not tokens."""

    @abstractmethod
    def _shortest(self) -> int:
        """Return how many tokens the model reads at least."""

    @abstractmethod
    def _probe_lengths(self, inputs: Samples) -> Iterable[int]:
        """Return lengths to probe the one given input at."""

    @abstractmethod
    def _probe(self, inputs: Samples, length: int) -> Fed:
        """Return the one given input, cut or repeated to ``length`` tokens."""

    def run(self, inputs: Samples) -> Outcome:
        """Generate; a tuple of :class:`~torpor.core.work.Generation`, and the work.

        Raises:
            UsageError: if the model returns no numbers.
        """
        decoded, lengths = self._decode(self.space.check(inputs))
        outputs = tuple(self._generation(one, length) for one, length in zip(decoded, lengths, strict=True))
        return Outcome(outputs, self._work(lengths, [one.steps for one in decoded]))

    def iterations(self, work: Work) -> Tensor:
        """See :meth:`StepTarget.iterations`; all beams of a step are one iteration."""
        return super().iterations(work) // self.decoder.beams

    def known_work(self, inputs: Samples, steps: Sequence[int]) -> Work | None:
        """See :class:`~torpor.targets.capabilities.Foretold`: it follows from the lengths."""
        return self._work(self._lengths(inputs), steps)

    def least_work(self) -> Work:
        """Return one step on the shortest input."""
        return self._work([self._shortest()], [1])

    def max_work(self, inputs: Samples) -> Work:
        """Return the work at the cap, as far as the model has positions for it after the given input."""
        lengths = self._lengths(inputs)
        return self._work(lengths, [self.cap_of(length) for length in lengths])

    def with_stop(self, stop: Stop | None) -> Self:
        """See :meth:`StepTarget.with_stop`; beams cannot be stopped, each may say something else."""
        other = super().with_stop(stop)
        other.decoder = self.decoder.with_stop(stop)
        return other

    def with_seed(self, seed: int) -> Self:
        """Return a target that shares this one's model but samples by another seed."""
        other = copy.copy(self)
        other.seed = seed
        return other

    @override
    def reseeded(self) -> Self:
        return self.with_seed(self.seed + 1) if self.decoder.samples else self

    def _force(self, length: int, steps: int, varied: bool) -> None:
        self.decoder.force(self._example(length, varied=varied), steps)

    def _generation(self, decoded: Decoded, length: int) -> Generation:
        count, capped = generated_length(decoded.ids, self.eos, self.cap_of(length))
        forced = self.config.forced_eos_token_id is not None and count == self.cap_of(length)
        ids = decoded.ids[:count]
        return Generation(ids, self.codec.decode(ids), (capped and not decoded.stopped) or forced)

    def _work(self, lengths: Sequence[int], steps: Sequence[int]) -> Work:
        beams = self.decoder.beams
        rows = [self.layout.counts(length, count, beams) for length, count in zip(lengths, steps, strict=True)]
        return Work(torch.tensor(rows, dtype=torch.int64))

    def rows_at_once(self, length: int) -> int:
        """Return how many samples of ``length`` tokens to decode in one batch."""
        if not self.decoder.together:
            return 1
        seen = (length if self._reads_prompts else self.decoder.start) + self.cap_of(length)
        width = int(self.text_config.hidden_size) * self.model.dtype.itemsize
        kept = self.decoder.size.bytes(seen, max(1, length))
        most = MEMORY if self.device.type == "cpu" else ANYTHING
        return rows_in(most, kept + ACTIVATIONS * max(1, length) * width + 16 * self.codec.size, self.device)

    def utility(self, outputs: Sequence[Generation], references: Samples) -> Tensor:
        """Score each output against its reference text by chrF, from 0 to 1; NaN without references."""
        if references is None or len(references) == 0:
            return torch.full((len(outputs),), torch.nan, dtype=torch.float64)
        if not all(isinstance(reference, str) for reference in references):
            raise DataError(f"expected texts as references of {self.name}, got {references!r:.60}; give texts or none")
        scores = sentence_chrf([output.text for output in outputs], references)
        return torch.tensor(scores, dtype=torch.float64)

    @property
    @override
    def utility_name(self) -> str:
        return "chrF"

    def to(self, device: torch.device) -> Self:
        """Move the model and return this target."""
        before = self.device
        self.model.to(device)
        self.device = torch.device(self.model.device)
        self.decoder = self.decoder.with_config(self.config)
        if self.device != before:
            self._settle()
        return self

    @override
    def data(self, folder: Path | None) -> DataSet:
        return super().data(folder) if self._data is None else self._data(folder)

    def details(self) -> dict[str, Any]:
        """Return the cap, the context and the whole decoding configuration; see :meth:`Target.details`."""
        decoding = json.loads(self.config.to_json_string(use_diff=True))
        told: dict[str, Any] = {"context": self.positions, "seed": self.seed, "deployment": self.deployment}
        told["stop_strings"] = self._stop_strings
        return {**super().details(), **told, "generation_config": decoding}

    @property
    def _stop_strings(self) -> list[str]:
        return [] if self.strings is None else list(self.strings.strings)

    def _reading(self) -> dict[str, Any]:
        """Return what, beside the tokenizer, decides how inputs are read."""
        return {}

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; the configurations, the tokenizer and all weights count."""
        settings = {"model": self.model.config.to_dict(), "generation": self.config.to_dict(), "seed": self.seed}
        for part in (settings["model"], settings["generation"]):
            for key in ORIGIN:
                part.pop(key, None)
        settings |= {"tokenizer": self.codec.fingerprint(), "reader": self._reading()}
        settings |= {"stop_strings": self._stop_strings} if self.strings else {}
        text = f"{super().fingerprint()} {json.dumps(settings, sort_keys=True, default=str)}"
        return digest(text, [self.model])

    def probes(self, inputs: Samples) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield calls that generate a known number of tokens, for several lengths where inputs are texts."""
        for length in self._probe_lengths(inputs):
            fed = self._probe(inputs, length)
            for steps in sorted({1, max(2, self.cap_of(length) // 4), max(3, self.cap_of(length))}):
                if steps <= self.cap_of(length):
                    yield self._work([length], [steps]), lambda fed=fed, steps=steps: self.decoder.force(fed, steps)  # type: ignore[misc]
