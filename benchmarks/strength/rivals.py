"""Everything that applies to a target besides its ensemble, with at least as many passes on each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import entry_points
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from benchmarks.strength.cases import Case
from torpor.attacks.base import Attack, AttackResult, Candidates
from torpor.attacks.controls.dense import BestNoise
from torpor.attacks.iterative import IterativeAttack
from torpor.attacks.registry import ATTACKS, attack_ids, load_attack
from torpor.attacks.text.search.driver import Search, TextSearch, told
from torpor.attacks.text.search.tally import Tally
from torpor.core.budget import COUNTS
from torpor.core.threat import Access, Paper
from torpor.targets.base import Target
from torpor.targets.decoder.contract import TextTarget


@dataclass(frozen=True, kw_only=True)
class AnyNoise(BestNoise):
    """The costliest of many noisy inputs, also for families where noise finds little."""

    by_chance: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class FromUnmasked(Attack):
    """What an attack found on a network whose gradients nothing hides, sent to the one where something does.

    Attributes:
        found: by the attack.
    """

    id: ClassVar[str] = "standard-unmasked"
    paper: ClassVar[Paper | None] = None
    access: ClassVar[Access] = Access.TRANSFER

    found: AttackResult

    @override
    def search(self, target: Target, inputs: Tensor, labels: Tensor, seed: int) -> Candidates:
        spent = self.found.candidates
        return Candidates(self.found.inputs, forwards=spent.forwards, backwards=spent.backwards)


@dataclass(frozen=True, kw_only=True)
class AtMost(TextSearch):
    """A search over texts that ends after so many passes on a sample.

    Attributes:
        inner: the search.
        passes: forward and backward, on each sample.
    """

    id: ClassVar[str] = "at-most"
    paper: ClassVar[Paper | None] = None
    norms: ClassVar[tuple[str, ...]] = COUNTS

    inner: TextSearch
    passes: int

    @property
    @override
    def name(self) -> str:
        return self.inner.name

    @override
    def aimed(self, labels: object) -> AtMost:
        return replace(self, inner=self.inner.aimed(labels))

    @override
    def begin(self, target: TextTarget, inputs: Sequence[str], seed: int, tally: Tally) -> Callable[[int], Search]:
        begun = self.inner.begin(target, inputs, seed, tally)

        def ask(row: int) -> Search:
            search = begun(row)
            texts = next(search, None)
            while texts is not None and (left := self.passes - tally.spent(row)) > 0:
                steps = yield texts[:left]
                texts = told(search, steps) if len(texts) <= left else None

        return ask


def rivals(case: Case, target: Target, standard: AttackResult, spent: Tensor) -> Iterator[Attack]:
    """Yield other attacks, then controls.

    Attacks that iterate or ask have as many passes on every sample as ``standard`` spent on the one where it spent
    most; searches over texts end after as many. Random search asks as often as ``standard`` did on each sample.

    Args:
        case: target and budget.
        target: loaded.
        standard: what the ensemble found.
        spent: its passes on each sample, int64 ``[B]``.
    """
    most, norm, eps = int(spent.max()), case.norm, case.eps
    plugged = {each.name for each in entry_points(group=ATTACKS.group)}
    for name in (each for each in attack_ids() if each not in plugged):
        kind: Any = ATTACKS.find(name)  # each class has options of its own
        if kind is BestNoise or kind.id == target.family.standard_on(target):  # AnyNoise below
            continue
        if norm not in kind.norms or not kind.applies_to(target) or (kind.learns and not case.learned):
            continue
        own = {each.name for each in fields(kind)}
        if "perturbation" in own:
            yield kind(norm=norm, eps=eps, perturbation=standard.inputs - standard.clean_inputs)
        elif "queries" in own:
            yield kind(norm=norm, eps=eps, queries=spent if kind.is_control else most)
        elif "pairs" in own:
            yield kind(norm=norm, eps=eps, steps=max(1, most // (2 * kind.pairs + 1)))
        elif issubclass(kind, IterativeAttack):
            yield kind(norm=norm, eps=eps, steps=max(1, most // 2))
        else:
            attack = kind(norm=norm, eps=eps)
            ends = isinstance(attack, TextSearch) and not attack.learns
            yield AtMost(norm=norm, eps=eps, inner=attack, passes=most) if ends else attack
    for spec in case.also:
        yield load_attack(spec, norm=norm, eps=eps, steps=max(1, most // 2))
    if isinstance(standard.inputs, Tensor):
        yield AnyNoise(norm=norm, eps=eps, queries=spent)
