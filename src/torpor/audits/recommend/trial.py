"""An adaptive attack through one choice of caps, batch by batch, by any process that sees the folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Attack, AttackResult
from torpor.attacks.result import costlier
from torpor.audits.lock import verify_owner
from torpor.audits.plan import Plan
from torpor.audits.run.job import Job, Reader, deterministic
from torpor.audits.run.limits import check_time
from torpor.audits.run.rows import load_examples, save_examples
from torpor.core.batches import Samples
from torpor.core.errors import DataError
from torpor.data.sets import Batch, DataSet
from torpor.defenses.base import Defense
from torpor.targets.base import Target

FOLDER = "crafted"


@dataclass(frozen=True, eq=False)
class CraftedBatch:
    """What an attack made of one batch, as it is stored.

    Attributes:
        inputs: as they are sent.
        forwards: passes of each sample, int64 ``[B]``.
        backwards: likewise.
    """

    inputs: Samples
    forwards: Tensor
    backwards: Tensor


_HELD: dict[tuple[Plan, Path], tuple[Target, DataSet, Reader]] = {}
"""What this process has loaded; at most one, since it holds a target."""


@dataclass(frozen=True)
class CapTrial(Job):
    """All attacks of the plan through one choice of caps; the costliest input of each sample is kept.

    Nothing of it depends on what is asked of the caps, so that another question in the same folder finds it done.

    Attributes:
        defense: the caps, fitted; None for the target as it is.
    """

    defense: Defense | None = None

    def hold(self, target: Target, data: DataSet) -> None:
        """Keep what this process has loaded already."""
        _HELD.clear()
        _HELD[self.plan, self.folder] = target, data, Reader(data, self.plan.batch_size, self.plan.limit)

    @override
    def release(self) -> None:
        _HELD.clear()

    @property
    def own(self) -> Path:
        """The folder of what is crafted through these caps."""
        name = "none" if self.defense is None else self.defense.name
        return self.folder / FOLDER / name.replace(":", ".").replace("+", "-")

    def crafted(self, number: int, target: Target) -> CraftedBatch | None:
        """Return what is stored of batch ``number``; None if it has to be attacked."""
        try:
            stored = load_examples(self.own / f"{number}.safetensors")
            inputs = target.space.from_bytes(stored["attacked"])
            moved = inputs.to(target.device) if isinstance(inputs, Tensor) else inputs
            return CraftedBatch(moved, stored["forwards"], stored["backwards"])
        except (DataError, OSError, KeyError, SafetensorError):
            return None

    @override
    def shard(self, number: int, tell: Callable[[str, int], None] = lambda text, row: None) -> None:
        """See :meth:`Job.shard`."""
        held = _HELD.get((self.plan, self.folder))
        if held is None:
            self.hold(*self.load_by_name())
            held = _HELD[self.plan, self.folder]
        target, data, reader = held
        batch = reader.get(number)
        if batch is None:
            raise DataError(f"expected a batch {number} in {data.name}, got fewer; leave the data alone")
        check_time(self.deadline)
        capped = target if self.defense is None else self.defense.defend(target)
        with deterministic():
            found = self._attacked(capped, data, batch, tell)
        check_time(self.deadline)
        verify_owner(self.folder, self.owner)
        kept = {
            "index": batch.index,
            "attacked": target.space.to_bytes(found.inputs),
            "forwards": found.candidates.forwards.cpu(),
            "backwards": found.candidates.backwards.cpu(),
        }
        self.own.mkdir(parents=True, exist_ok=True)
        save_examples(self.own / f"{number}.safetensors", kept)

    def _attacked(self, target: Target, data: DataSet, batch: Batch, tell: Callable[[str, int], None]) -> AttackResult:
        """Return the costliest of all attacks, with what they spent together."""
        inputs = target.read(batch.inputs)
        references = batch.references if len(batch.references) else None
        best: AttackResult | None = None
        for done, attack in enumerate(self._attacks()):
            check_time(self.deadline)
            tell(attack.name, done)
            fitted = attack.fitted(target, data, self.plan.seed)
            found = fitted(target, inputs, references=references, seed=self.plan.seed)
            best = found if best is None else _together(target, best, found)
        assert best is not None
        return best

    def _attacks(self) -> Sequence[Attack]:
        return [attack for budget in self.plan.budgets for attack in self.plan.attacks_at(budget)]


def _together(target: Target, one: AttackResult, other: AttackResult) -> AttackResult:
    """Return the costlier of two results per sample, with the passes of both."""
    spent = [getattr(one.candidates, name) + getattr(other.candidates, name) for name in ("forwards", "backwards")]
    best = costlier(target, other, one)
    return replace(best, candidates=replace(best.candidates, forwards=spent[0], backwards=spent[1]))
