"""The standard ensemble on detectors and trackers: nothing to tune, the costliest of several different searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.detector.frames import CandidateAttack, Groups, attack_groups, one_by_one, variable_of
from torpor.attacks.detector.objectives import AnyClass, ClassPairs, OneClass
from torpor.attacks.detector.overload import Overload
from torpor.attacks.detector.slowtrack import SlowTrack
from torpor.attacks.early_exit.square import Square
from torpor.attacks.iterative import amplify
from torpor.attacks.search.balls import ball_of
from torpor.attacks.search.incumbent import Incumbent, random_search
from torpor.attacks.search.objectives import IterateObjective
from torpor.attacks.search.optimizers import AutoSteps
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.signals import CandidateSignals
from torpor.core.threat import Paper
from torpor.core.work import Outcome
from torpor.targets.detector.contract import CandidateTarget

Raise = IterateObjective[CandidateSignals]
LEAST = 40
"""Passes below which no search gets anywhere."""
REFINED = 4
"""By how much shorter the first step of the last descent is: it starts from what is known."""


@dataclass(frozen=True, kw_only=True)
class StandardObjects(Attack):
    """Four objectives, the best of them further, random search, and what trackers follow, under one budget of passes.

    Of each image, and of each frame of a video, APGD raises the logarithms of the scores of all boxes (Overload's
    objective), of one class, and of the classes that make pairs; from the costliest of the three, the objective that
    found it continues, and random squares come last, fresh ones and then around what is known. Of videos, also one
    change of all frames together is tried, and SlowTrack where lost tracks are kept; frames are then taken from
    whichever search made each the costliest, and of the videos so made, the costliest for the whole pipeline.

    A detector behind which nothing looks at objects is judged by how many it hands on, so that candidates are compared
    by that first, and then by cost; see :meth:`~torpor.targets.detector.contract.CandidateTarget.ranked`.

    Universal attacks are no members, since they learn before they attack: what the logarithmic form of
    :class:`~torpor.attacks.detector.phantom_sponges.PhantomSponges` raises for all images together, the first objective
    raises for each.

    After AutoAttack (Croce and Hein, ICML 2020): APGD has no step size to choose, and each sample keeps the costliest.

    Attributes:
        passes: forward passes over each input at most, in equal shares: one for each of the searches, two for the last
            descent, one for random search, which has those of the last descent too where all gradients are zero.
    """

    id: ClassVar[str] = "standard-detector"
    paper: ClassVar[Paper | None] = Paper(
        "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks",
        "Croce and Hein",
        "ICML",
        2020,
        "arXiv:2003.01690",
    )
    norms: ClassVar[tuple[str, ...]] = CandidateAttack.norms
    radii: ClassVar[Mapping[str, float]] = CandidateAttack.radii
    paper_shape: ClassVar[tuple[int, ...] | None] = CandidateAttack.paper_shape
    kinds: ClassVar[tuple[str, ...]] = CandidateAttack.kinds
    reads: ClassVar[type | None] = CandidateAttack.reads
    needs: ClassVar[tuple[str, ...]] = CandidateAttack.needs

    eps: float = 8 / 255
    passes: int = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.passes < LEAST:
            raise UsageError(f"expected {LEAST} passes or more for {self.id}, got {self.passes}")

    @classmethod
    @override
    def covered(cls) -> tuple[str, ...]:
        return (Overload.id, SlowTrack.id)

    @property
    def iterations(self) -> int:
        """Backward passes at most: fewer than forward ones, since random search takes none."""
        return self.passes - 1

    @override
    def search(self, target: Any, inputs: Tensor, labels: object, seed: int) -> Candidates:
        ranked = target.ranked() if target.offers("ranked") else target
        found = self._searched(ranked, inputs, labels, seed)
        if ranked is target or found.curves is None:
            return found
        price = ranked.prices.per_unit[len(target.units)]  # of an object, above everything else that an image costs
        curves = [[point._replace(cost=point.cost % price) for point in curve] for curve in found.curves]
        return replace(found, curves=curves)

    def _searched(self, target: Any, inputs: Tensor, labels: object, seed: int) -> Candidates:  # noqa: ANN401
        video = inputs.ndim == 5
        tracks = video and SlowTrack.applies_to(target)
        looks = _looks(1 + video + tracks) if video else 0
        share = (self.passes - looks) // (6 + video + tracks)
        each = attack_groups(
            target, inputs, [one_by_one(inputs)], lambda groups, clean, _: self._frames(groups, clean, seed, share)
        )
        if not video:
            return each
        found = [each, self._together(target, inputs, share)]
        if tracks:
            slow = SlowTrack(norm=self.norm, eps=self.eps, steps=share - 1)
            found.append(slow.search(target, inputs, labels, seed))
        return _costliest(target, inputs, found)

    def _frames(self, groups: Groups, clean: Tensor, seed: int, share: int) -> Candidates:
        """Attack each of some images ``[P, 1, C, H, W]`` on its own."""
        objectives: tuple[Raise, ...] = (AnyClass(), OneClass(), ClassPairs(groups.detector.nms.conf))
        everyone, held = torch.arange(len(clean)), Incumbent.begin(clean)
        winner = torch.zeros(len(clean), dtype=torch.int64)
        dead, fell = torch.ones(len(clean), dtype=torch.bool), torch.zeros(len(clean), dtype=torch.bool)

        def descend(objective: Raise, rows: Tensor, steps: int, first: float) -> Tensor:
            there = rows.to(clean.device)
            near = clean[there]
            start = torch.zeros_like(near) if first == self.eps else held.inputs[there] - near
            found = amplify(
                groups,
                near,
                objective=objective,
                ball=ball_of(self.budget, groups.space),
                eps=self.eps,
                optimizer=AutoSteps(steps, first),
                steps=steps,
                variable=variable_of(groups),
                start=start,
            )
            assert found.zero_gradient is not None
            assert found.loss_fell is not None
            dead[rows] &= found.zero_gradient.cpu()
            fell[rows] |= found.loss_fell.cpu()
            price = _price(groups.detector, found.inputs)
            return held.offer(
                rows,
                found.inputs,
                price,
                queries=found.forwards + 1,
                backwards=found.backwards,
                curves=found.curves,
                member=type(objective).__name__,
            ).cpu()

        for place, objective in enumerate(objectives):
            winner[descend(objective, everyone, share - 2, self.eps)] = place
        for place, objective in enumerate(objectives):
            if len(rows := ((winner == place) & ~dead).nonzero().flatten()):
                descend(objective, rows, 2 * share - 2, self.eps / REFINED)
        won = torch.zeros_like(dead)
        for rows, queries in ((~dead, share), (dead, 3 * share)):
            if len(chosen := rows.nonzero().flatten()):
                won[chosen] = self._squares(groups.detector, clean, held, chosen, seed, queries)
        return Candidates(held.inputs, held.queries, held.backwards, dead, fell, won, curves=held.curves)

    def _squares(
        self, detector: CandidateTarget, clean: Tensor, held: Incumbent, rows: Tensor, seed: int, queries: int
    ) -> Tensor:
        """Try random squares, and then others around what is held; tell where the first beat it, bool ``[N]``."""
        there = rows.to(clean.device)
        images, before = clean[there, 0], held.cost[there].clone()
        square = Square(norm=self.norm, eps=self.eps, queries=queries)
        propose = square.proposal(detector, images, sample_generators(images, seed, self.id))
        half, whole = (torch.full((len(rows),), count) for count in (queries // 2, queries))
        fresh = random_search(detector, images, propose, half)
        _keep(held, there, fresh, square.id)
        near = Incumbent(held.inputs[there, 0], held.cost[there], torch.zeros_like(fresh.queries))
        random_search(detector, images, propose, whole, held=near, first=queries // 2, rank=_alike)
        _keep(held, there, near, square.id, equals=True)  # it began there
        return (fresh.cost > before).cpu()

    def _together(self, target: Any, inputs: Tensor, share: int) -> Candidates:  # noqa: ANN401 - one of videos
        """Raise one class in all frames of each video by one change."""

        def search(groups: Groups, clean: Tensor, numbers: Tensor) -> Candidates:
            return amplify(
                groups,
                clean,
                objective=OneClass(),
                ball=ball_of(self.budget, groups.space),
                eps=self.eps,
                optimizer=AutoSteps(share - 1, self.eps),
                steps=share - 1,
                variable=variable_of(groups),
                start=torch.zeros_like(clean[:, :1]),
            )

        return attack_groups(target, inputs, [one_by_one(inputs).T], search)


def _keep(held: Incumbent, rows: Tensor, found: Incumbent, member: str, *, equals: bool = False) -> None:
    """Take what a random search found in images where it is costlier, or as costly if ``equals``."""
    images, effort = found.inputs.unsqueeze(1), found.queries
    held.offer(rows, images, found.cost, equals=equals, queries=effort, curves=found.curves, member=member)


def _alike(outcome: Outcome) -> Tensor:
    """Rank candidates of equal cost alike, so that plateaus are crossed."""
    return torch.zeros(len(outcome.work))


def _looks(searches: int) -> int:
    """Return how often each video is run to choose between what several searches found."""
    return 2 * searches + 1


def _price(detector: CandidateTarget, groups: Tensor) -> Tensor:
    """Return what groups of one image cost, ``[P]``, as the detector runs them."""
    return detector.attacker_cost(detector.run(groups[:, 0]))


def _costliest(target: Any, inputs: Tensor, found: Sequence[Candidates]) -> Candidates:  # noqa: ANN401 - one of videos
    """Return the costliest of several attacks on the same videos, and of what their costliest frames make."""
    rows, detector = torch.arange(len(inputs)), target.detector
    frames = Incumbent.begin(inputs.flatten(0, 1))
    numbers = torch.arange(len(frames.cost))
    sent = [target.space.snap(each.inputs) for each in found]
    for videos in sent:
        frames.offer(numbers, videos.flatten(0, 1), detector.attacker_cost(detector.run(videos.flatten(0, 1))))
    held = Incumbent.begin(inputs)
    for videos in (frames.inputs.view_as(inputs), *sent):
        held.offer(rows, videos, target.attacker_cost(target.run(videos)))
    zero = torch.stack([each.zero_gradient for each in found if each.zero_gradient is not None])
    fell = torch.stack([each.loss_fell for each in found if each.loss_fell is not None])
    return Candidates(
        held.inputs,
        torch.stack([each.forwards.cpu() for each in found]).sum(0) + _looks(len(sent)),
        torch.stack([each.backwards.cpu() for each in found]).sum(0),
        zero.all(0),
        fell.any(0),
        found[0].black_box_won,
    )
