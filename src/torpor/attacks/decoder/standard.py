"""The standard ensemble for images and sounds that a decoder reads: nothing to tune, several searches, one budget."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.decoder.mixed_noise import MixedNoise
from torpor.attacks.decoder.nicg_slowdown import NICGSlowDown
from torpor.attacks.decoder.objectives import DelayAndDiverge, LowerEnd, SayAgain, StepObjective, Wander
from torpor.attacks.decoder.slothspeech import SlothSpeech
from torpor.attacks.decoder.steps import StepAttack
from torpor.attacks.decoder.verbose_images import VerboseImages
from torpor.attacks.iterative import amplify
from torpor.attacks.search.balls import ball_of
from torpor.attacks.search.incumbent import Incumbent
from torpor.attacks.search.optimizers import AutoSteps, Change
from torpor.core.batches import sample_generators
from torpor.core.budget import Budget
from torpor.core.signals import StepSignals
from torpor.core.stopwatch import Stopwatch
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import StepTarget

PASSES = 1000
"""Passes on a sample, forward and backward, of all members together."""
ROUNDS = 2
"""Turns of each member: the first from a random point, all others from the costliest input so far."""
RANDOM = 0.04
"""Share of the passes that each turn of random search may take."""
LEAST = 24
"""Passes of a member below which its descent gets nowhere: where time is short, there are fewer members."""
TINY_S = 1e-6
QUERIES = 12
"""Queries of random search at least."""

OBJECTIVES: dict[str, StepObjective] = {
    "end": DelayAndDiverge("end"),
    "lower": LowerEnd(),
    "both": DelayAndDiverge(),
    "again": SayAgain(),
    "wander": Wander(),
}
"""What members minimize, in the order of their turns."""
FIRST = ("lower", "end", "both", "wander", "again")
"""The order where there is no time for all: on Whisper, SlothSpeech, the first of sounds, needs fewest passes."""


@dataclass(frozen=True, kw_only=True)
class AutoDecoder(StepAttack):
    """APGD on one of several objectives of a decoder's steps.

    Attributes:
        objective: a key of :data:`OBJECTIVES`.
        nearby: start from these inputs ``[B, ...]`` with a first step of half the radius; None: from a random point,
            with one of twice the radius.
    """

    id: ClassVar[str] = "apgd-decoder"
    paper: ClassVar[Paper | None] = None
    kinds: ClassVar[tuple[str, ...]] = ("image", "wave", "features")
    norms: ClassVar[tuple[str, ...]] = Attack.norms
    paper_steps: ClassVar[int] = 100

    objective: str = "end"
    nearby: Tensor | None = field(default=None, compare=False, repr=False)

    @override
    def search(self, target: StepTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        ball = ball_of(self.budget, target.space)
        start = ball.random(sample_generators(inputs, seed, f"{self.id}/{self.objective}"), self.eps, inputs)
        known = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
        size = self.eps
        if self.nearby is not None:
            change = self.nearby - inputs
            known = (change != 0).flatten(1).any(1)
            start = torch.where(known.view(-1, *[1] * (inputs.ndim - 1)), change, start)
            size = self.eps / 4
        return amplify(
            target,
            inputs,
            objective=OBJECTIVES[self.objective],
            ball=ball,
            eps=self.eps,
            optimizer=AutoSteps(self.iterations, size),
            steps=self.iterations,
            variable=Change(),
            start=start,
        )


@dataclass(frozen=True, kw_only=True)
class StandardDecoder(Attack):
    """Random search and APGD on five objectives, in turns, each sample until it is at its static bound.

    The objectives are the end token's probability, its score, that of it and of the likeliest token, the probability of
    what was said before, and entropy with hidden states that differ. Each member has a turn from a random point, and
    one from the costliest input that any of them found; of sounds, SlothSpeech is the first to lower the score. All of
    it takes at most 1,000 passes, forward and backward. Random search comes first, since some decoders talk up to their
    cap about noise, at a fraction of a gradient's time.
    On a target that ends searches in time, there are as many passes as one run of it lets expect: then members have one
    turn each, and where time is short, fewer take part.
    """

    id: ClassVar[str] = "standard-decoder"
    paper: ClassVar[Paper | None] = None
    reads: ClassVar[type | None] = StepSignals
    kinds: ClassVar[tuple[str, ...]] = ("image", "wave", "features")

    eps: float = 0.03

    @classmethod
    @override
    def default_budget(
        cls, norm: str | None = None, eps: str | float | None = None, shape: tuple[int, ...] | None = None
    ) -> Budget:
        """Return NICGSlowDown's budget for images, SlothSpeech's for sounds and features; see :class:`Attack`.

        >>> StandardDecoder.default_budget(shape=(3, 64, 64)).eps, StandardDecoder.default_budget(shape=(48000,)).eps
        (0.03, 0.01)
        """
        norm = cls.norm if norm is None else norm
        paper: type[Attack] = SlothSpeech if shape is not None and len(shape) < 3 else NICGSlowDown
        if norm not in paper.norms:
            return super().default_budget(norm, eps, shape)
        return paper.default_budget(norm, eps, shape)

    @classmethod
    @override
    def covered(cls) -> tuple[str, ...]:
        return (NICGSlowDown.id, VerboseImages.id, SlothSpeech.id)

    @property
    def members(self) -> tuple[StepAttack | MixedNoise, ...]:
        """The members in the order of their turns, where there is time for all passes."""
        return self.within(PASSES)

    def within(self, passes: int, kind: str = "image") -> tuple[StepAttack | MixedNoise, ...]:
        """Return the members in the order of their turns, with what each may spend of some passes.

        Args:
            passes: of all; with less than :data:`PASSES`, each member has one turn, and as few take part as have
                :data:`LEAST` passes each.
            kind: of inputs.
        """
        names, rounds, queries = tuple(OBJECTIVES), ROUNDS, max(1, int(RANDOM * PASSES))
        if passes < PASSES:
            queries = max(QUERIES, int(RANDOM * passes))
            names, rounds = FIRST[: max(1, (passes - queries) // LEAST)], 1
        each = (passes - 1) // rounds - queries - 1
        steps = max(1, (each // len(names) - 2) // 2)  # a pass more forward than back, and one to verify
        again: list[StepAttack | MixedNoise] = [
            AutoDecoder(norm=self.norm, eps=self.eps, steps=steps, objective=name) for name in names
        ]
        first: list[StepAttack | MixedNoise] = [*again]
        if kind in SlothSpeech.kinds and self.norm in SlothSpeech.norms:
            first[names.index("lower")] = SlothSpeech(norm=self.norm, eps=self.eps, steps=steps)
        noise = MixedNoise(norm=self.norm, eps=self.eps, queries=queries)
        return (noise, *first, *(noise, *again) * (rounds - 1))

    @override
    def search(self, target: StepTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        static = target.prices.cost(target.max_work(inputs)).to(inputs.device)
        best, everyone = Incumbent.begin(inputs), torch.arange(len(inputs), device=inputs.device)
        began = time.time()
        best.offer(everyone, inputs, target.attacker_cost(target.run(inputs)))
        passes = affordable(target, time.time() - began)
        dead = best.cost < static  # until a member's gradient is not zero
        fell, by_chance = torch.zeros_like(dead), torch.zeros_like(dead)
        for turn, member in enumerate(self.within(passes, target.space.kind)):
            rows = (best.cost < static).nonzero().flatten()
            if len(rows) == 0:
                break
            found = self._turn(member, turn, target, inputs[rows], best.inputs[rows], seed)
            price = target.attacker_cost(target.run(found.inputs))
            queries, backwards = (each.to(rows.device) for each in (found.forwards + 1, found.backwards))
            better = best.offer(
                rows,
                found.inputs,
                price,
                queries=queries,
                backwards=backwards,
                curves=found.curves,
                member=getattr(member, "objective", member.id),
            )
            random, fresh = isinstance(member, MixedNoise), turn <= len(OBJECTIVES)
            if not random and fresh:  # from a random point: what it finds as well took no chance
                by_chance[rows] &= price.to(best.cost) < best.cost[rows]
            by_chance[rows[better]] = random
            if found.zero_gradient is not None and found.loss_fell is not None:
                dead[rows] &= found.zero_gradient.to(rows.device)
                fell[rows] |= found.loss_fell.to(rows.device)
        followed = best.backwards > 0  # no flag applies to a sample that noise took to its static bound
        flags = dead & followed, fell, by_chance & followed
        short = passes < PASSES and bool((best.cost < static).any())
        return Candidates(best.inputs, best.queries, best.backwards, *flags, cut_short=short, curves=best.curves)

    def _turn(
        self,
        member: StepAttack | MixedNoise,
        turn: int,
        target: StepTarget,
        inputs: Tensor,
        held: Tensor,
        seed: int,
    ) -> Candidates:
        """Let one member search some samples, of which ``held`` are the costliest inputs so far."""
        if isinstance(member, MixedNoise):
            return replace(member, rivals=held if turn else None).search(target, inputs, (), seed + turn)
        if turn > len(OBJECTIVES):
            assert isinstance(member, AutoDecoder)
            member = replace(member, nearby=held)
        return member.search(target, inputs, (), seed)


def affordable(target: StepTarget, run_s: float) -> int:
    """Return how many passes there is time for: all, or as many as a target that ends searches still has.

    Args:
        target: to be searched.
        run_s: seconds of one run; a pass with its gradient takes a little longer, one on longer outputs more.
    """
    watch: Stopwatch | None = getattr(target, "stopwatch", None)
    if watch is None or watch.until == math.inf:
        return PASSES
    return max(1, min(PASSES, int((watch.until - time.time()) / max(run_s, TINY_S))))
