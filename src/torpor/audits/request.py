"""What a user asked to be audited, with the defaults filled in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.attacks.base import Attack
from torpor.attacks.registry import attack_class, attack_for, default_attacks
from torpor.audits.plan import Plan, check_device, parse_eps
from torpor.audits.run.engine import Progress, run_audit
from torpor.audits.run.estimate import Estimate, chosen_threads, estimate
from torpor.audits.run.executors import Executor, Local, gainful_workers
from torpor.audits.run.identity import identify
from torpor.audits.run.job import source
from torpor.audits.run.limits import Limits, read_cost
from torpor.core.errors import UsageError
from torpor.core.space import DenseSpace
from torpor.data.sets import DataSet
from torpor.meters.threads import Threads
from torpor.targets.base import Target
from torpor.targets.resolve import load_target, with_downstream

if TYPE_CHECKING:
    from torpor.data.given import Given


SPREAD = 16
"""Samples of which there are two batches at least; fewer where a target takes fewer by default, each for long."""


@dataclass(frozen=True, eq=False)
class Request:
    """An audit that is about to run.

    Attributes:
        plan: what it does.
        target: what ``plan.target`` names, or what was handed over.
        inputs: what was handed over to be attacked; None where the plan names it.
        left_out: default attacks that have to learn, where there is nothing to learn from but what is audited.
    """

    plan: Plan
    target: Target
    inputs: DataSet | None = None
    left_out: tuple[str, ...] = ()

    def data(self) -> DataSet:
        """Return what is attacked.

        Raises:
            UsageError: if the inputs do not fit the target.
            DataError: if there are none, or they cannot be read.
        """
        plan = self.plan
        return plan.chosen(source(self.target, plan.data_dir, plan.inputs if self.inputs is None else self.inputs))

    def identity(self) -> dict[str, Any]:
        """Return what tells this audit from others, ready for JSON: settings, weights, data, code and versions."""
        plan = self.plan.on(self.target)
        return plan.to_json() | identify(plan, self.target, self.data()).entries()

    @cached_property
    def estimate(self) -> Estimate:
        """What the attacks are about to spend; the target is run a few times, once, to be timed.

        Raises:
            DataError: if the data cannot be read.
        """
        return estimate(self.plan.on(self.target), self.target, self.data())

    def run(
        self,
        out: Path,
        progress: Progress = lambda text, done, total: None,
        *,
        executor: Executor | None = None,
        limits: Limits | None = None,
        threads: int | None = None,
        begin: Callable[[Plan, DataSet, int], None] = lambda plan, data, at_once: None,
    ) -> tuple[Executor, Threads]:
        """Run the audit as :func:`~torpor.audits.run.engine.run_audit` does; return where, and the threads it used.

        Args:
            out: its folder.
            progress: called for every batch and attack.
            executor: where batches are attacked; in this process if None.
            limits: what the attacks may spend; None for no limits.
            threads: of torch, in each worker; as many as the target gains from if None, one for each worker.
            begin: called with the plan, the data and how many batches are attacked at once, before any is.

        Raises:
            TorporError: as :func:`~torpor.audits.run.engine.run_audit` does.
        """
        workers, plan = executor or Local(), self.plan.on(self.target)
        asked = threads if workers.in_process or threads is not None else 1
        with chosen_threads(self.target, self.data, asked) as number:
            workers = workers.chosen(partial(gainful_workers, plan, self.target, lambda: self.estimate, number, limits))
            if threads is None and not workers.in_process:
                number = Threads(1, number.most, "for each worker")
            run_audit(
                *(self.plan, self.target, out, progress),
                inputs=self.inputs,
                executor=workers,
                limits=limits,
                threads=number.used,
                begin=begin,
            )
        return workers, number


def request(
    target: str | Target,
    attacks: str | Sequence[str | Attack] | None = None,
    *,
    norm: str | None = None,
    eps: str | float | Sequence[str | float] | None = None,
    steps: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | None = None,
    data_dir: Path | str | None = None,
    inputs: Path | str | Given | None = None,
    rule: str | None = None,
    defenses: str | Sequence[str] | None = None,
    bounds: str | Sequence[str] | None = None,
    downstream: str | float | None = None,
    timed: bool = True,
    offset: int = 0,
    sample: int | None = None,
) -> Request:
    """Return the audit that a user asks for; nothing is attacked yet.

    Args:
        target: name of a target, or the target.
        attacks: specifications, also in one text and separated by commas, or attacks; those for this kind of target if
            None. Attacks that learn are no default where there is nothing to learn from.
        norm: of every budget; each attack's own if None.
        eps: radii or numbers of edits; each attack's own if None.
        steps: iterations, for attacks that take them.
        limit: samples at most; of the target's own data as many as it says if None, of other inputs all.
        seed: of all randomness.
        batch_size: samples per batch; as the target's family has it if None.
        device: where the target runs; the CPU if None, or where the target that was handed over is.
        data_dir: folder of data, if the target needs one.
        inputs: file or folder, or what :func:`~torpor.data.given.given_inputs` takes; the target's own data if None.
        rule: exit rule other than the target's own; for a target by name.
        defenses: names, also in one text and separated by commas.
        bounds: specifications, also in one text and separated by commas.
        downstream: what each object that the target hands on costs, in its currency, such as ``"2 GFLOPs"``.
        timed: whether latency, energy and memory are measured at the end.
        offset: test samples that are left out at the beginning.
        sample: how many are drawn at random, by the seed, in place of the first ``limit``.

    Raises:
        UsageError: if something does not exist or does not apply.
        DataError: if data that are needed to choose defaults cannot be read.

    >>> request("torpor.targets.early_exit.toys:needle").plan.attacks
    ('standard',)
    """
    if sample is not None and limit is not None:
        raise UsageError(
            f"expected a limit or a sample, got {limit} and {sample}; a sample of {sample} is its own limit"
        )
    by_name = target if isinstance(target, str) else None
    bare = _system(target, device, rule)
    price = read_cost(downstream, bare.prices.currency)
    system = with_downstream(bare, price)
    named = None if inputs is None or not isinstance(inputs, Path | str) else str(inputs)
    held: DataSet | None = None
    if inputs is not None and not isinstance(inputs, Path | str):
        from torpor.data.given import given_inputs

        held = given_inputs(inputs, system.space)
    wanted = default_attacks(system) if attacks is None else [attacks] if isinstance(attacks, str) else attacks
    objects = [each for each in wanted if isinstance(each, Attack)]
    specs = (_spec(each) if isinstance(each, Attack) else each for each in wanted)
    chosen = [attack_for(part.strip(), system) for spec in specs for part in spec.split(",")]
    left_out: tuple[str, ...] = ()
    learners = [name for name in chosen if attack_class(name).learns] if attacks is None else []
    if learners and not source(system, data_dir, held or named).has("validation"):
        left_out = tuple(learners)
    names = [name for name in dict.fromkeys(chosen) if name and name not in left_out]
    if norm is None and eps is None and len(same := {each.budget for each in objects}) == 1:
        norm, eps = next((budget.norm, budget.eps) for budget in same)
    guards, proofs = _listed(defenses), _listed(bounds)
    given = {"target": by_name is None, "inputs": held is not None}
    given["attacks"] = any(name.startswith("__main__:") for name in names)
    given["bounds"] = any(name.startswith("__main__:") for name in proofs)
    most = sample or (system.samples if limit is None and inputs is None else limit)
    plan = Plan(
        target=system.name if by_name is None else by_name,
        attacks=tuple(name for name in names if not attack_class(name).is_control),
        norm=norm,
        eps=parse_eps(norm, eps),
        steps=steps,
        limit=most,
        seed=seed,
        batch_size=default_batch_size(system, most) if batch_size is None else batch_size,
        device=str(system.device) if by_name is None else device or "cpu",
        data_dir=None if data_dir is None else str(data_dir),
        inputs=named if held is None else held.fingerprint(),
        rule=rule,
        shape=system.space.shape if isinstance(system.space, DenseSpace) else None,
        defenses=guards,
        bounds=proofs,
        timed=timed,
        downstream=price,
        offset=offset,
        sample=sample,
        given=tuple(name for name, handed_over in given.items() if handed_over),
    )
    for asked, found, what in ((defenses, guards, "defenses"), (bounds, proofs, "bounds")):
        if isinstance(asked, str) and not found:
            raise UsageError(f"expected names of {what}, got none; see: torpor list {what}")
    for each in objects:
        if not each.is_control and each not in plan.attacks_at(each.budget):
            raise UsageError(
                f"expected attacks with the norm, radius and steps of the audit, got {each}; pass them on their "
                "own, or build every attack with the same"
            )
    return Request(plan, system, held, left_out)


def default_batch_size(target: Target, limit: int | None = None) -> int:
    """Return the samples per batch, and so per shard on disk: few where attacking one takes long.

    Texts whose candidates are decoded together are more, since a step takes almost as long for few of them. Samples are
    spread evenly over two batches or more, for as many workers, unless they are few of a target that is quick.

    Args:
        target: what is attacked.
        limit: samples at most; None for all there are.

    >>> from torpor.targets.early_exit.toys import needle
    >>> [default_batch_size(needle(), limit) for limit in (None, 200, 60, 10)]
    [128, 100, 30, 128]
    """
    if target.space.kind == "video" or target.max_seconds is not None:
        return 1
    most = target.family.batch_size * (2 if target.offers("score") else 1)
    quick = target.samples is None or target.samples >= SPREAD
    if limit is None or (limit < SPREAD and quick):
        return most
    return -(-limit // max(2, -(-limit // most)))


def _listed(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return names that were given one by one, or in one text and separated by commas."""
    parts = names.split(",") if isinstance(names, str) else names or ()
    return tuple(part.strip() for part in parts if part.strip())


def _spec(attack: Attack) -> str:
    from torpor.attacks.specs import spec_of

    return spec_of(attack)


def _system(target: str | Target, device: str | None, rule: str | None) -> Target:
    """Return the target, loaded or as it was handed over."""
    if isinstance(target, str):
        check_device(device or "cpu")
        return load_target(target, device=device or "cpu", rule=rule)
    if rule is not None:
        raise UsageError(
            f"expected a rule for a target by name, got {rule!r} for {target.name}; give it its rule before"
        )
    return target if device is None else target.to(check_device(device))
