"""The standard ensemble: nothing to tune, per sample the costliest of several different attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, TypeAlias, cast

import torch
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, Candidates
from torpor.attacks.early_exit.climbs import (
    CROCE,
    AutoCostliest,
    AutoExpected,
    AutoGates,
    AutoNearest,
    AutoPriced,
    GuardedGates,
    KeptTokens,
)
from torpor.attacks.early_exit.square import PersistentSquare
from torpor.attacks.search.balls import apply, ball_of
from torpor.attacks.search.incumbent import Incumbent
from torpor.attacks.search.objectives import EXITS
from torpor.attacks.unmasked import Unmasked
from torpor.core.budget import geometry
from torpor.core.signals import GateSignals
from torpor.core.space import DenseSpace
from torpor.core.threat import Paper
from torpor.targets.base import Target

if TYPE_CHECKING:
    from torpor.attacks.early_exit.corners import Corners

GRAYS = 11
"""Levels of gray that are tried, from black to white."""


Member: TypeAlias = "AutoGates | PersistentSquare | Corners"


@dataclass(frozen=True, kw_only=True)
class Standard(Attack):
    """APGD on the margins of all gates, those that come first the most; then random search for as long as it pays.

    A sample is retired only at the static bound. Where gates are exits, the members are APGD with three or four
    weights of the gates behind an open one, the last from the best that is known, and Square; where a change of
    each value is bounded, GradMDM's losses take part, at first and again from the best that is known. Where gates
    are not exits, so that each saves a unit of its own, they are GradMDM's losses at first and again from the best
    that is known, APGD on four objectives, or five where the target expects a cost, Square, and a search of corners
    of the budget: a gate moves what later gates see, so that margins lead astray more often than those of exits.
    Where tokens leave in a way for which DeSparsify has a loss, 600 steps on it take the place of three of APGD's
    objectives. Where there are no gates at all, but work that follows the input by degrees, flat images are tried,
    and APGD raises the cost that the target expects, from a random point and from the best that is known.

    Where a network's gradient is not that of what it computed, since it is cut, replaced or rounded away, the members
    that follow gradients also follow those of :class:`~torpor.attacks.unmasked.Unmasked`.

    After AutoAttack (Croce and Hein, ICML 2020), whose rule "drop a sample once it is broken" does not carry over: cost
    is continuous, so every member sees every sample that could still cost more.
    """

    id: ClassVar[str] = "standard"
    paper: ClassVar[Paper | None] = CROCE
    reads: ClassVar[type | None] = GateSignals

    @classmethod
    @override
    def covered(cls) -> tuple[str, ...]:
        members = dict.fromkeys(member.id for member in cls().members)
        return ("deepsloth", *members)  # they do what DeepSloth does, and its tags are theirs

    @property
    def members(self) -> tuple[AutoGates | PersistentSquare, ...]:
        """The attacks of the ensemble on exits, in the order in which they run."""
        base = AutoGates(norm=self.norm, eps=self.eps, steps=100)
        first, last = replace(base, decay=0.5), replace(base, decay=0.0, resumes=True)
        square = PersistentSquare(norm=self.norm, eps=self.eps)
        if geometry(self.norm) != "Linf":
            return (first, replace(base, decay=0.2, steps=300), base, last, square)
        guarded = GuardedGates(norm=self.norm, eps=self.eps, steps=300)
        return (first, replace(base, decay=0.2), guarded, last, replace(guarded, steps=100, resumes=True), square)

    def members_on_gates(self, signals: GateSignals) -> tuple[Member, ...]:
        """Return the attacks of the ensemble on gates that are not exits, in the order in which they run.

        Args:
            signals: of the target. Without any gate, the work follows from the input by degrees; without an expected
                cost, margins say all that is known.
        """
        from torpor.attacks.early_exit.corners import Corners  # of no use on exits

        expected = [AutoExpected] * (signals.expected is not None)
        if not signals.margins.shape[1]:  # corners find next to nothing there
            climbs = (AutoExpected(norm=self.norm, eps=self.eps, resumes=resumes) for resumes in (False, True))
            return (*climbs, PersistentSquare(norm=self.norm, eps=self.eps))
        kinds: Sequence[type[AutoGates]] = (GuardedGates, AutoGates, AutoPriced, AutoCostliest, AutoNearest, *expected)
        kept: list[AutoGates] = []
        if KeptTokens.joins(signals):
            kinds, kept = (GuardedGates, AutoGates, *expected), [KeptTokens(norm=self.norm, eps=self.eps, steps=600)]
        own = [kind(norm=self.norm, eps=self.eps) for kind in kinds]
        again = GuardedGates(norm=self.norm, eps=self.eps, steps=300, resumes=True)
        searches = (kind(norm=self.norm, eps=self.eps) for kind in (Corners, PersistentSquare))
        return (*own, *kept, again, *searches)

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        static = target.prices.cost(target.max_work(inputs))
        best, everyone = Incumbent.begin(inputs), torch.arange(len(inputs))
        best.offer(everyone, inputs, target.attacker_cost(target.run(inputs)))
        best.queries += 2
        best.backwards += 2  # of the comparison of gradients
        masked, dead = (each.cpu() for each in Unmasked(target).differs(inputs))
        zero_gradient = best.cost.cpu() < static.cpu()  # until a member's gradient was not zero
        fell, black_box_won = torch.zeros_like(zero_gradient), torch.zeros_like(zero_gradient)
        tried = torch.zeros_like(zero_gradient)
        members: Sequence[Member] = self.members
        if not target.offers(EXITS):
            signals = cast(GateSignals, target.signals(inputs[:1]))
            members = self.members_on_gates(signals)
            best.queries += 1
            if not signals.margins.shape[1]:
                clean = best.cost.clone()
                self._offer_grays(target, inputs, best)
                tried |= (best.cost > clean).cpu()
        for member, applies in _plan(members, masked, dead):
            rows = ((best.cost.cpu() < static.cpu()) & applies).nonzero().flatten()
            if len(rows) == 0:
                continue
            there = rows.to(inputs.device)
            if not isinstance(member, AutoGates) or member.resumes:
                member = replace(member, rivals=best.inputs[there])
            result = member(target, inputs[there], references=labels[there], seed=seed)
            found, price = result.candidates, target.attacker_cost(result.attacked)
            first = ~tried[rows]  # what the first member tried stands until a costlier one is found
            best.inputs[there[first]] = found.inputs[first].to(best.inputs)
            tried[rows] = True
            spent = found.forwards.to(there.device) + 2  # and the member's own verification on the hard target
            better = best.offer(
                there,
                result.inputs,
                price,
                queries=spent,
                backwards=found.backwards.to(there.device),
                curves=result.curves,
                member=member.id,
            ).cpu()
            if found.zero_gradient is not None and found.loss_fell is not None:
                zero_gradient[rows] &= found.zero_gradient.cpu()
                fell[rows] |= found.loss_fell.cpu()
            if found.black_box_won is not None:
                black_box_won[rows] = found.black_box_won.cpu()
            else:
                black_box_won[rows[better]] = found.zero_gradient is None
        flags = zero_gradient, fell, black_box_won
        return Candidates(best.inputs, best.queries, best.backwards, *flags, curves=best.curves)

    def _offer_grays(self, target: Target, inputs: Tensor, best: Incumbent) -> None:
        """Try to move each image towards several grays: where neurons fire by degrees, flat images are hard to beat."""
        space, ball = target.space, ball_of(self.budget, target.space)
        assert isinstance(space, DenseSpace)
        for level in torch.linspace(space.low, space.high, GRAYS).tolist():
            sent = apply(inputs, level - inputs, ball, self.eps, space)
            best.offer(torch.arange(len(inputs)), sent, target.attacker_cost(target.run(sent)))


def _plan(members: Sequence[Member], masked: Tensor, dead: Tensor) -> list[tuple[Member, Tensor]]:
    """Return the members in the order in which they run, and the samples that each is for, bool ``[B]``."""
    plan: list[tuple[Member, Tensor]] = []
    for member in members:
        if not isinstance(member, AutoGates):
            plan.append((member, torch.ones_like(masked)))
            continue
        plan.append((replace(member, unmasked=True), masked))
        plan.append((member, ~(masked & dead)))
    return plan
