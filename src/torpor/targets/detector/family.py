"""The family of targets that pass on as many objects as they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.measures import COST, Headline, Measure
from torpor.core.objects import Objects, clean_recall, frames_of, to_json
from torpor.core.signals import CandidateSignals
from torpor.core.units import Behavior
from torpor.core.work import Outcome, Work
from torpor.metrics.outputs import OBJECTS, output_summary
from torpor.targets.detector.stage_clock import stage_clock
from torpor.targets.detector.traits import of_candidates
from torpor.targets.family import Columns, Family

HANDED_ON = Headline("kept_mean", "objects handed on")
FOLLOWED = {"track_alive": "live tracks", "association_pair": "association pairs"}
"""What a tracker's work consists of, by its units."""
OWN_STAGES = ("detector", "nms", "tracker", "defense")
"""Stages that find and follow objects; others look at what was found, or stand for what does."""


def looked_at(target: Any) -> bool:  # noqa: ANN401 - any target that finds objects
    """Tell whether something behind a target looks at what it found, or stands for what does."""
    return any(unit.stage not in OWN_STAGES for unit in target.units)


class CandidateFamily(Family[Any]):
    """Detectors, and the pipelines that they feed."""

    id: ClassVar[str] = "detector"
    behavior: ClassVar[Behavior] = Behavior.OUTPUT
    measures: ClassVar[tuple[Measure, ...]] = OBJECTS
    signals: ClassVar[type | None] = CandidateSignals
    default_attacks: ClassVar[tuple[str, ...]] = ("standard-detector", "phantom-sponges")
    batch_size: ClassVar[int] = 16
    by_chance: ClassVar[bool] = True

    def headlines(self, target: Any) -> tuple[Headline, ...]:  # noqa: ANN401 - any target that finds objects
        """See :meth:`Family.headlines`.

        Cost counts where something looks at each object, or objects have a price; after a detector on its own nothing
        does, so that the objects themselves are the headline. Trackers have their tracks and pairs beside, whose work a
        network in front can hide.
        """
        names = {unit.name for unit in target.units}
        followed = tuple(Headline("units_mean", title, name) for name, title in FOLLOWED.items() if name in names)
        own = (COST,) if looked_at(target) else ()
        return (*own, *followed) or (HANDED_ON,)

    def observe(self, target: Any, clean: Outcome, outcome: Outcome, static: Work, references: Samples) -> Columns:  # noqa: ANN401 - any target that finds objects
        """Return what was found, in an image, or is followed through the frames of a video."""
        before, after = (
            [[each.followed() for each in frames_of(found)] for found in side.outputs] for side in (clean, outcome)
        )
        return {
            "kept_clean": [sum(map(len, frames)) for frames in before],
            "kept": [sum(map(len, frames)) for frames in after],
            "clean_recall": [clean_recall(*pair) for pair in zip(after, before, strict=True)],
            "found": list(map(to_json, outcome.outputs)),
            "truth": list(map(to_json, references)) or None,
        }

    @override
    def summarize(self, target: Any, bare: Any, columns: Columns) -> Mapping[str, Any]:
        return output_summary(columns, target.units, target.prices.per_unit)

    @override
    def clock(self, target: Any, inputs: Samples) -> dict[str, Any] | None:
        return stage_clock(target, inputs)

    @override
    def profile(self, target: Any, work: Work, outputs: Sequence[Any]) -> dict[str, Any]:
        means = work.counts.to(torch.float64).mean(0).tolist()
        return {"units_mean": dict(zip((unit.name for unit in target.units), means, strict=True))}

    def attacks_on(self, target: Any) -> tuple[str, ...]:  # noqa: ANN401 - any target that finds objects
        """See :meth:`Family.attacks_on`; a tracker that keeps lost tracks for a while also meets SlowTrack."""
        keeps = target.offers("buffer") and target.buffer > 0
        return (*self.default_attacks, "slowtrack") if keeps else self.default_attacks

    @override
    def standard_on(self, target: Any) -> str:
        return "standard-detector"

    @override
    def profile_rows(self, profile: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [(f"{unit}, mean", f"{count:,.1f}") for unit, count in profile["units_mean"].items()]

    def blank(self, target: Any, count: int) -> Samples:  # noqa: ANN401
        """Return no objects, followed by no track."""
        numbers = torch.zeros(0, dtype=torch.int64)
        found = Objects(torch.zeros(0, 4), numbers, torch.zeros(0))
        if target.space.kind == "image":
            return (found,) * count
        frame = Objects(torch.zeros(0, 4), numbers, torch.zeros(0), numbers)
        return ((frame,) * target.space.shape[0],) * count

    def answers(self, target: Any, signals: CandidateSignals) -> Tensor:  # noqa: ANN401
        """Return the scores of every box, for videos of each frame."""
        return signals.scores

    def traits(self, target: Any, signals: CandidateSignals) -> Tensor:  # noqa: ANN401
        """See :func:`~torpor.targets.detector.traits.of_candidates`; for videos, of each frame."""
        return of_candidates(signals, target.nms.conf)
