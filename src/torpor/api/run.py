"""``torpor.audit``: attack, meter, bound and record a target from Python."""

from __future__ import annotations

import tempfile
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path

from torpor.api.result import Audit, load_audit
from torpor.attacks.base import Attack
from torpor.audits.contradiction import refuse_refuted
from torpor.audits.request import request
from torpor.audits.run.engine import Progress
from torpor.audits.run.executors import Executor, load_executor
from torpor.audits.run.limits import Limits
from torpor.data.given import Given
from torpor.targets.base import Target


def audit(
    target: str | Target,
    attacks: str | Sequence[str | Attack] | None = None,
    *,
    eps: str | float | Sequence[str | float] | None = None,
    norm: str | None = None,
    inputs: str | Path | Given | None = None,
    defenses: str | Sequence[str] | None = None,
    bounds: str | Sequence[str] | None = None,
    downstream: str | float | None = None,
    limit: int | None = None,
    offset: int = 0,
    sample: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    rule: str | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    timed: bool = True,
    out: str | Path | None = None,
    executor: str | Executor = "local",
    threads: int | None = None,
    max_queries: int | None = None,
    max_seconds: float | None = None,
    max_cost: float | str | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Attack a target and record the exact work of every sample, as the command ``torpor audit`` does.

    Args:
        target: a name, as :func:`torpor.load_target` takes it, or a target. Workers of an executor can only load what
            has a name.
        attacks: specifications such as ``"square:queries=500"``, or attacks; those for this kind of target if None. The
            controls of the same budget come on top.
        eps: radii of perturbations, such as ``"8/255"`` or ``[0.02, 0.04]``, or numbers of edits; each attack's own
            if None.
        norm: of every budget; each attack's own if None.
        inputs: what is attacked: a file or folder, a data set, an array ``[N, ...]`` of images (uint8, or floats in
            [0, 1], which are rounded to 8 bits) or other dense inputs, or a list of texts; the target's own data if
            None.
        defenses: names such as ``"jpeg:75"``; each faces every attack twice, non-adaptive and adaptive.
        bounds: specifications such as ``"static"``: what no attack of a row's budget exceeds, beside what was found.
        downstream: what each object that a detector or tracker hands on costs, such as ``"2 GFLOPs"`` or a number in
            the target's currency; nothing if None.
        limit: samples at most; all if None.
        offset: test samples that are left out at the beginning.
        sample: how many are drawn at random, by the seed, in place of the first ``limit``.
        steps: iterations, for attacks that take them.
        seed: of all randomness; equal arguments give equal records.
        batch_size: samples per batch; as the target's family has it if None.
        rule: exit rule other than the target's own, for a target by name.
        data_dir: folder of data, if the target needs one.
        device: where the target runs; the CPU if None, or where the target that was passed is.
        timed: whether latency, energy and memory are measured at the end.
        out: folder of the audit, where an interrupted one is resumed; a temporary one if None, which is removed
            together with the returned object.
        executor: where batches are attacked: ``"local"``, ``"processes:N"``, ``"ray"``, ``"ray:ADDRESS"``, or an
            executor.
        threads: of torch; as many as the target gains from if None, one for each worker of an executor.
        max_queries: forward passes of all attacks at most, over all runs of this audit.
        max_seconds: wall-clock after which this run attacks no more.
        max_cost: cost of all attacks at most, a number or ``"2 TFLOPs"``, over all runs of this audit.
        progress: called as ``progress(text, done, total)`` before each step: what is going on, how much is done, and in
            all, 0 if unknown, in forward passes that the attacks are expected to take.

    Returns:
        The finished audit.

    Raises:
        UsageError: if something does not exist, does not apply, or is not allowed.
        DataError: if the data cannot be read; what was computed before stays in ``out``.
        BoundExceeded: if an attack has refuted a bound; the finished audit is the error's ``audit``.

    Warns:
        UserWarning: if default attacks are left out that have to learn, since there is nothing to learn from.

    >>> import torch
    >>> images = torch.zeros(2, 1, 4, 4)
    >>> found = audit("torpor.targets.early_exit.toys:needle", "deepsloth:steps=2", inputs=images, timed=False)
    >>> [row["attack"] for row in found.rows]
    ['clean', 'deepsloth:steps=2', 'control-noise', 'control-flat', 'control-shuffled']
    """
    workers = load_executor(executor) if isinstance(executor, str) else executor
    asked = request(
        *(target, attacks),
        norm=norm,
        eps=eps,
        steps=steps,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        device=device,
        data_dir=data_dir,
        inputs=inputs,
        rule=rule,
        defenses=defenses,
        bounds=bounds,
        downstream=downstream,
        timed=timed,
        offset=offset,
        sample=sample,
    )
    limits = Limits.of(max_queries, max_seconds, max_cost, asked.target.prices.currency)
    if asked.left_out:
        left = ", ".join(asked.left_out)
        warnings.warn(f"without {left}: there is nothing to learn from but what is audited", stacklevel=2)
    told = progress or (lambda text, done, total: None)
    if out is not None:
        asked.run(Path(out), told, executor=workers, limits=limits, threads=threads)
        finished = load_audit(out)
        refuse_refuted(finished)
        return finished
    temporary = tempfile.TemporaryDirectory(prefix="torpor-")
    try:
        asked.run(Path(temporary.name), told, executor=workers, limits=limits, threads=threads)
        found = load_audit(temporary.name)
    except BaseException:
        temporary.cleanup()
        raise
    weakref.finalize(found, temporary.cleanup)
    refuse_refuted(found)
    return found
