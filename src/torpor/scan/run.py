"""Scan a model for signs that someone tampered with what it costs."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from torpor.attacks.search.balls import check_budget
from torpor.core.errors import UsageError
from torpor.scan import images, words
from torpor.scan.end_token import EndToken, audit_end_token, has_head
from torpor.scan.inputs import ScanInputs, affordable
from torpor.scan.natural import costs_of, distance, mean_log_ratio
from torpor.targets.base import Target

SHARE = 0.1
"""Of the time, that one run of the inputs may take."""


@dataclass(frozen=True)
class Found:
    """One thing that a scan looked at.

    Attributes:
        name: of the figure.
        value: the larger, the more suspicious.
        told: what it is, in words.
    """

    name: str
    value: float
    told: str


@dataclass(frozen=True)
class Scan:
    """What a scan found of one model.

    Attributes:
        target: its name.
        kind: see :func:`kind_of`.
        reference: name of the trusted model; None without.
        inputs: what it ran on.
        found: in the order of the scan.
        left_out: what there was no time or no way for, and why, by name.
        end_token: what stands out about the end token; None for models without one.
        seconds: that it took.
    """

    target: str
    kind: str
    reference: str | None
    inputs: str
    found: tuple[Found, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    end_token: EndToken | None = None
    seconds: float = 0.0

    @property
    def figures(self) -> dict[str, float]:
        """All figures by name.

        >>> Scan("a", "b", None, "c", (Found("natural_cost", -1.0, "..."),)).figures
        {'natural_cost': -1.0}
        """
        return {each.name: each.value for each in self.found}


def kind_of(target: Target) -> str:
    """Return what models must share so that figures of one say what is normal for another: architecture and cap.

    >>> from torpor.targets.early_exit.toys import WindowTarget
    >>> kind_of(WindowTarget([0.5], [0.1])) == kind_of(WindowTarget([0.4], [0.2]))
    True
    >>> kind_of(WindowTarget([0.5], [0.1])) != kind_of(WindowTarget([0.5, 0.4], [0.1, 0.1]))
    True
    """
    said = repr((target.mechanism, [(unit.name, unit.flops) for unit in target.units], target.details().get("cap")))
    return f"{target.family.id}-{hashlib.blake2b(said.encode(), digest_size=4).hexdigest()}"


def scan(
    target: Target,
    inputs: ScanInputs,
    reference: Target | None = None,
    *,
    seconds: float = 240.0,
    seed: int = 0,
    told: Callable[[Found], None] = lambda found: None,
) -> Scan:
    """Run natural inputs, search for triggers, and look at the end token.

    Args:
        target: whatever a model may have become; it has no part in judging itself.
        inputs: natural ones.
        reference: a trusted model of the same kind, such as what the target was made from.
        seconds: that it may take, roughly; what does not fit is left out and said.
        seed: of the searches.
        told: is handed each figure when it is there.

    Raises:
        UsageError: if the reference is of another kind.
    """
    if reference is not None and kind_of(reference) != kind_of(target):
        raise UsageError(
            f"expected a reference of the kind of {target.name} ({kind_of(target)}), got {reference.name} "
            f"({kind_of(reference)}); give the model that it was made from, with the same cap"
        )
    begin = time.monotonic()
    work = _Scanner(target, reference, affordable(target, inputs, SHARE * seconds), begin + seconds, seed)
    found = []
    for each in work.all():
        found.append(each)
        told(each)
    return Scan(
        *(target.name, kind_of(target), None if reference is None else reference.name, inputs.source, tuple(found)),
        *(work.left_out, work.end_token, round(time.monotonic() - begin, 3)),
    )


@dataclass
class _Scanner:
    target: Target
    reference: Target | None
    inputs: ScanInputs
    until: float
    seed: int
    left_out: dict[str, str] = field(default_factory=dict)
    end_token: EndToken | None = None

    def all(self) -> Iterator[Found]:
        yield from self.natural()
        if has_head(self.target):
            yield from self.end()
        yield from self.triggers()

    def natural(self) -> Iterator[Found]:
        costs = costs_of(self.target, self.inputs.held_out)
        told = f"{costs.shares.mean():.1%} of the static bound on {len(costs.cost)} natural inputs"
        yield Found("natural_cost", costs.level, told)
        if self.reference is None:
            return
        before = costs_of(self.reference, self.inputs.held_out)
        shift = mean_log_ratio(costs.cost, before.cost)
        yield Found("cost_shift", shift, f"{math.exp(shift):.3f}x what the same inputs cost on the reference")
        apart = distance(costs.shares, before.shares)
        yield Found("distribution_shift", apart, f"Kolmogorov-Smirnov distance {apart:.3f} from the reference")

    def end(self) -> Iterator[Found]:
        found = self.end_token = audit_end_token(self.target, self.reference)
        yield Found("end_norm", math.log1p(found.norm_score), f"norm of its row {found.norm_score:.1f} deviations off")
        if found.bias_score is not None:
            yield Found("end_bias", math.log1p(found.bias_score), f"bias {found.bias_score:.1f} deviations off")
        if found.change is not None:
            told = (
                "nothing but its row differs from the reference"
                if found.alone
                else f"its row moved {found.change:.2f}x"
            )
            yield Found("end_change", math.log1p(min(found.change, 1e6)), told)

    def triggers(self) -> Iterator[Found]:
        learn = self.inputs.learn
        if isinstance(learn, Tensor):
            if not images.can_invert(self.target, learn):
                self.left_out["trigger"] = "the target tells nothing to follow"
                return
            for search in images.SEARCHES:
                yield from self.image_trigger(search)
        elif words.can_append(self.target):
            yield from self.word_trigger()
        else:
            self.left_out["trigger"] = "the target tells nothing to follow"

    def image_trigger(self, search: images.Search) -> Iterator[Found]:
        name, budget = search.name, search.budget
        learn, held_out = self.inputs.learn, self.inputs.held_out
        assert isinstance(learn, Tensor)
        assert isinstance(held_out, Tensor)
        try:
            check_budget(budget, self.target.space)
        except UsageError:
            return  # such a change is none to these inputs, whatever the model
        if (needed := self.needed(learn)) > self.until - time.monotonic():
            self.left_out[name] = f"the search takes about {needed:.0f} s"
            return
        found = images.invert(self.target, learn, held_out, search, self.seed)
        told = f"one change within {budget} takes {found.share:.1%} of the headroom, random ones {found.noise:.1%}"
        yield Found(name, found.share, told)

    def needed(self, learn: Tensor) -> float:
        """Estimate the seconds of one search: a step goes forward and backward."""
        begin = time.perf_counter()
        with torch.no_grad():
            self.target.signals(learn[: images.BATCH].to(self.target.device))
        return 3 * images.STEPS * images.STARTS * (time.perf_counter() - begin)

    def word_trigger(self) -> Iterator[Found]:
        learn, held_out = self.inputs.learn, self.inputs.held_out
        assert not isinstance(learn, Tensor)
        assert not isinstance(held_out, Tensor)
        begin = time.perf_counter()
        costs_of(self.target, learn[: words.LEARN])
        needed = 2 * words.TRIED * (time.perf_counter() - begin)
        if needed > self.until - time.monotonic():
            self.left_out["trigger_tokens"] = f"the search takes about {needed:.0f} s"
            return
        found = words.invert(self.target, learn, held_out, self.seed, lambda: needed < self.until - time.monotonic())
        told = f"{found.text!r} after any text takes {found.share:.1%} of the headroom, random tokens {found.noise:.1%}"
        yield Found("trigger_tokens", found.share, told)
