"""Detectors: inputs that look like an attack are rejected."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from torpor.attacks.base import Attack
from torpor.core.batches import Samples, join
from torpor.core.errors import DataError, UsageError
from torpor.core.units import Unit
from torpor.data.sets import DataSet
from torpor.defenses.base import LEARNED, Defense
from torpor.defenses.detectors.layers import InputDetectorLayer, Trained, whole
from torpor.defenses.detectors.models import Tensors
from torpor.defenses.detectors.pairs import training_pairs
from torpor.defenses.layer import STAGE, Layer, frames_of
from torpor.defenses.wrapped import Wrapped
from torpor.meters.flops import counting
from torpor.metrics.roc import check_calibration, fewest, threshold_at
from torpor.targets.base import Target
from torpor.targets.weights import digest

LEAST = 20
"""Clean inputs that detectors learn from at least; of videos, frames."""
CALIBRATED = 500
"""Clean inputs that an audit's detectors are calibrated on; of videos, frames. More if the rate wants more inputs."""
MODEL, THRESHOLD = "model.", "threshold"
"""How what was learned is called when it is stored."""
CHUNK = 64
"""Inputs that are scored at once while fitting."""
TEXT = "a man in a red shirt is riding a bicycle down the street next to a dog that is looking at the camera"
"""A text of 100 characters, to count FLOPs on."""


@dataclass(frozen=True)
class Detector(Defense):
    """A detector before or after it was fitted to a target; kinds write :meth:`learn` and :meth:`row_scores`.

    A video is rejected if any of its frames is: one score per frame, the largest one counts.

    Attributes:
        looks: at the ``"input"``, before the target runs, which rejected inputs then cost nothing; or at the
            ``"trace"`` of a run, whose output is then withheld.
        contrasts: whether it learns from attacked inputs.
        kinds: kinds of input spaces that it looks at.
        fpr: share of clean inputs that may be rejected.
        fitted: see :meth:`fit`.
    """

    looks: ClassVar[Literal["input", "trace"]] = "input"
    contrasts: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("image", "video", "wave", "features", "text")
    learns: ClassVar[bool] = True

    fpr: float = 0.05
    fitted: Trained | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.fpr < 1:
            raise UsageError(f"expected a false-positive rate between 0 and 1 for {self.id}, got {self.fpr:g}")

    @classmethod
    def parse(cls, value: str) -> Self:
        """Return the detector with a false-positive rate, such as ``"0.01"``; see :meth:`Defense.parse`."""
        try:
            return cls(float(value)) if value else cls()
        except ValueError:
            raise UsageError(f"expected a false-positive rate such as {cls.id}:0.01, got {value!r}") from None

    @property
    @override
    def name(self) -> str:
        return f"{self.id}:{self.fpr:g}"

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.space.kind in cls.kinds

    @abstractmethod
    def learn(self, target: Target, clean: Samples, attacked: Samples, seed: int) -> Tensors:
        """Return what tells ``attacked`` inputs from ``clean`` ones, as tensors."""

    @abstractmethod
    def row_scores(self, target: Target, inputs: Samples, model: Tensors) -> Tensor:
        """Return a score for each input, or for each frame of each video; an attack's is larger. Differentiable.

        Args:
            target: what the inputs are for.
            inputs: valid inputs.
            model: what :meth:`learn` returned.
        """

    def fit(self, target: Target, clean: Samples, attacked: Samples, calibration: Samples, seed: int = 0) -> Self:
        """Return this detector fitted to ``target``.

        Args:
            target: what it is to defend.
            clean: inputs to learn from.
            attacked: what attacks made of them, where it cost more; pairs must not be split from each other.
            calibration: other clean inputs: their scores give the threshold.
            seed: of all randomness.

        Raises:
            UsageError: if the detector does not apply, calibration inputs are too few for :attr:`fpr`, or were learned
                from.
            DataError: if there is nothing to learn from.
        """
        self.check(target)
        if shared := _contents(calibration) & _contents(clean):
            raise UsageError(f"expected other inputs to calibrate on than to learn from, got {len(shared)} in both")
        if not len(clean) or (self.contrasts and not len(attacked)):
            raise DataError(
                f"expected clean and attacked inputs to learn from, got {len(clean)} and {len(attacked)}; take a "
                "larger budget or more inputs"
            )
        model = self.learn(target, clean, attacked, seed)
        scores = self._scores(target, calibration, model)
        return replace(self, fitted=Trained(model, threshold_at(scores, self.fpr)))

    def prepared(
        self, target: Target, data: DataSet, attacks: Sequence[Attack], seed: int, learned: int = LEARNED
    ) -> Self:
        """Return this detector fitted to ``target``, on what ``attacks`` make of the train split, unless it is fitted.

        It learns from all of them together, and is calibrated on the validation split. It takes from :data:`LEAST` to
        :data:`LEARNED` clean inputs; as many as it may if it needs no attacked ones, which alone cost something.
        """
        if self.fitted is not None:
            return self
        self.check(target)
        frames = frames_of(target.space)
        other = data.load("validation", max(-(-CALIBRATED // frames), fewest(self.fpr)))
        check_calibration(len(other), self.fpr)  # before anything is attacked
        calibration = target.space.snap(target.read(other.inputs))
        known = tuple(attacks) if self.contrasts else ()
        most = -(-LEARNED // frames)
        pairs = training_pairs(
            target, data, known, min(max(learned, -(-LEAST // frames)), most) if known else most, seed
        )
        attacked = join(list(pairs.attacked.values())) if known else pairs.clean[:0]
        return self.fit(target, pairs.clean, attacked, calibration, seed)

    def score(self, target: Target, inputs: Samples) -> Tensor:
        """Return the score that the fitted detector gives each input, float64 ``[B]``.

        Raises:
            UsageError: if the detector is not fitted.
        """
        return self._scores(target, inputs, self.ready.model)

    def _scores(self, target: Target, inputs: Samples, model: Tensors) -> Tensor:
        scores = in_chunks(lambda part: whole(target, self.row_scores(target, part, model)), inputs)
        return scores.cpu().to(torch.float64)

    @property
    def ready(self) -> Trained:
        """What was learned.

        Raises:
            UsageError: if nothing was.
        """
        if self.fitted is None:
            raise UsageError(f"expected a fitted detector, got {self.name} as it comes; call its fit()")
        return self.fitted

    def alarm(self, scores: Tensor) -> Tensor:
        """Return by how much each of ``scores`` is above the threshold, float32; rejected above 0."""
        return (scores - self.ready.threshold).to(torch.float32)

    @override
    def defend(self, target: Target) -> Target:
        self.check(target)
        return Wrapped(target, self.layer(target), f"{target.name} defended by {self.name}")

    def layer(self, target: Target) -> Layer:
        """Return what stands around ``target``."""
        return InputDetectorLayer(self, target, self.units(target))

    def units(self, target: Target) -> tuple[Unit, ...]:
        """Return what a look at one image, sound or text (of 100 characters) costs."""
        return (Unit(self.id, self.flops(target), STAGE),)

    def flops(self, target: Target) -> int:
        """Return the FLOPs of one look."""
        model = self.ready.model
        if target.space.kind == "text":
            with counting() as counter:
                self.row_scores(target, (TEXT,), model)
            return counter.flops
        blank = torch.zeros(1, *target.space.shape, device=target.device)  # type: ignore[attr-defined]
        with counting() as counter:
            self.row_scores(target, blank, model)
        return counter.flops // frames_of(target.space)

    def fingerprint(self) -> str:
        """Return what changes when the setting or anything learned does."""
        store = nn.Module()
        for key, value in sorted(self.ready.model.items()):
            store.register_buffer(key, value)
        return digest(f"{self} {self.ready.threshold!r}", [store])

    def state(self) -> Mapping[str, Tensor]:
        """See :meth:`Defense.state`; what scikit-learn fitted is arrays."""
        model = {MODEL + key: value.detach().cpu().contiguous() for key, value in self.ready.model.items()}
        return {**model, THRESHOLD: torch.tensor([self.ready.threshold], dtype=torch.float64)}

    @override
    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        model = {key.removeprefix(MODEL): value for key, value in state.items() if key.startswith(MODEL)}
        self._check_state(state, [MODEL + key for key in model] + [THRESHOLD])
        return replace(self, fitted=Trained(model, state[THRESHOLD].item()))

    def save(self, path: Path) -> None:
        """Write what was learned as safetensors."""
        save_file(dict(self.state()), path)

    def load(self, path: Path) -> Self:
        """Return this detector with what :meth:`save` wrote.

        Raises:
            DataError: if the file does not hold a detector.
        """
        try:
            return self.with_state(load_file(path))
        except (OSError, SafetensorError, DataError) as error:
            raise DataError(f"expected a fitted detector in {path}, got none: {error}; fit it again") from error


@torch.no_grad()
def in_chunks(compute: Callable[[Samples], Tensor], inputs: Samples) -> Tensor:
    """Return what ``compute`` returns for ``inputs``, a few of them at a time and without gradients."""
    return torch.cat([compute(inputs[at : at + CHUNK]) for at in range(0, len(inputs), CHUNK)])


def _contents(inputs: Samples) -> set[bytes]:
    rows: Iterable[Tensor | str] = inputs
    return {row.encode() if isinstance(row, str) else row.detach().cpu().numpy().tobytes() for row in rows}
