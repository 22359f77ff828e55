"""Run the study: an audit for each case, and detectors judged on their own. What is done already is not run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torpor.attacks.registry import load_attack, takes_steps
from torpor.audits.conditions import NON_ADAPTIVE
from torpor.audits.lock import PATIENCE_S, FolderLock
from torpor.audits.plan import Plan, check_seed
from torpor.audits.read import SavedAudit, read_audit
from torpor.audits.request import default_batch_size
from torpor.audits.run.claim import claimed
from torpor.audits.run.engine import run_audit
from torpor.audits.run.estimate import chosen_threads
from torpor.audits.run.identity import versions
from torpor.core.errors import DefenseError, TorporError, UsageError
from torpor.core.files import write_atomically
from torpor.core.space import DenseSpace
from torpor.defenses.chain import Chain
from torpor.defenses.detectors.base import Detector
from torpor.defenses.detectors.evaluation import Sizes, evaluate_detectors
from torpor.defenses.registry import load_defense
from torpor.study.cases import Case, Scale, Size, cases
from torpor.targets.base import Target
from torpor.targets.resolve import load_target

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Result:
    """What became of a case.

    Attributes:
        case: what was run.
        audit: the content of ``audit.json``; None if it could not run.
        caught: of each detector in front of the target, on how many inputs that a non-adaptive attacker made
            costlier, and which share of them was rejected.
        detectors: what :func:`~torpor.defenses.detectors.evaluation.evaluate_detectors` returned; None likewise.
        missing: what could not be run, with the reason: a defense, ``"detectors"`` on their own, or all (``""``), which
            beside an audit that was made before is the audit as it would be now.
    """

    case: Case
    audit: Mapping[str, Any] | None
    caught: Mapping[str, tuple[int, float]]
    detectors: Mapping[str, Any] | None
    missing: Mapping[str, str]


def run_study(
    data_dir: Path | None,
    out: Path,
    scale: Scale,
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = lambda text, done, total: None,
) -> list[Result]:
    """Run every case into a folder of its own in ``out``; a killed study resumes where it stopped.

    Args:
        data_dir: folder with ``cifar10/`` and ``multi30k/``; cases that need what is not there are explained.
        out: folder to write.
        scale: how much to run.
        limit: test samples per case other than the scale's.
        seed: of all randomness.
        progress: called for every case, with what it does.

    Raises:
        UsageError: if ``out`` holds another study, another process writes it, or an argument is out of range.
    """
    check_seed(seed)
    if limit is not None and limit < 1:
        raise UsageError(f"expected a limit of 1 or more, got {limit}")
    if data_dir is not None and not data_dir.is_dir():
        raise UsageError(f"expected a folder of data, got {data_dir}; pass another --data-dir, or none")
    todo = cases()
    own = [repr(replace(case, sizes={scale: case.sizes[scale]} if scale in case.sizes else {})) for case in todo]
    results = []
    with claimed({"study": own, "scale": scale.value, "limit": limit, "seed": seed, **versions()}, out) as claim:
        for number, case in enumerate(todo):

            def tell(text: str, done: int, total: int, name: str = case.name, number: int = number) -> None:
                progress(f"{name}: {text}", number, len(todo))

            claim.lock.verify()
            if (size := case.sizes.get(scale)) is None:
                results.append(Result(case, None, {}, None, {"": f"no part of --scale {scale.value}"}))
            else:
                results.append(run_case(case, size, data_dir, out / case.name, limit, seed, tell))
    return results


def run_case(
    case: Case, size: Size, data_dir: Path | None, out: Path, limit: int | None, seed: int, progress: Progress
) -> Result:
    """Run one case into the folder ``out``; what cannot run is explained, and takes nothing else with it."""
    folder = None if data_dir is None else data_dir / case.needs
    if case.needs and (folder is None or not folder.is_dir()):
        where = "without --data-dir" if data_dir is None else f"in {data_dir}"
        return Result(case, None, {}, None, {"": f"expected a folder {case.needs}, got none {where}; pass --data-dir"})
    given = folder if case.needs else None
    try:
        target = load_target(case.target)
    except TorporError as error:
        return Result(case, None, {}, None, {"": str(error)})
    missing: dict[str, str] = {}
    with chosen_threads(target, lambda: target.data(given)):
        try:
            _audit(case, size, target, given, out, limit, seed, progress, missing)
        except TorporError as error:
            missing[""] = str(error)
        if not (out / "audit.json").is_file():
            return Result(case, None, {}, None, missing)
        audit = read_audit(out)
        found: dict[str, Any] | None = None
        try:
            found = _judged(case, size, target, given, out / "detectors.json", seed, progress)
        except TorporError as error:
            missing["detectors"] = str(error)
    return Result(case, audit.parts(), _caught(audit), found, missing)


def _audit(
    case: Case,
    size: Size,
    target: Target,
    folder: Path | None,
    out: Path,
    limit: int | None,
    seed: int,
    progress: Progress,
    missing: dict[str, str],
) -> None:
    """Audit a case; defenses that cannot stand in front of this target or be fitted to it are left out, and noted."""
    defenses = _applicable(case, target, missing)
    while True:
        plan = Plan(
            case.target,
            (case.attack,),
            case.norm,
            () if size.eps is None else (size.eps,),
            steps=size.steps if takes_steps(case.attack) else None,
            limit=size.limit if limit is None else limit,
            seed=seed,
            batch_size=default_batch_size(target),
            data_dir=None if folder is None else str(folder),
            shape=target.space.shape if isinstance(target.space, DenseSpace) else None,
            defenses=defenses,
            timed=False,
        )
        try:
            run_audit(plan, target, out, progress)
            return
        except DefenseError as error:
            missing[error.defense] = str(error)
            defenses = tuple(name for name in defenses if name != error.defense)


def _caught(audit: SavedAudit) -> dict[str, tuple[int, float]]:
    """Return for each input detector how many costlier inputs non-adaptive attackers sent, and the share rejected."""
    found = {}
    attacked = [row for row in audit.summary if row["kind"] == "attack"]
    costs = audit.load_records(["sample", "cost", "cost_clean"], attacked[0]).to_pylist()
    costlier = {each["sample"] for each in costs if each["cost"] > each["cost_clean"]}
    for row in attacked:
        if row["attacker"] == NON_ADAPTIVE and row["rejected_rate"] is not None:
            sent = audit.load_records(["sample", "rejected"], row).to_pylist()
            rejected = [each["rejected"] for each in sent if each["sample"] in costlier]
            if rejected:
                found[row["defense"]] = (len(rejected), sum(rejected) / len(rejected))
    return found


def _applicable(case: Case, target: Target, missing: dict[str, str]) -> tuple[str, ...]:
    """Return the defenses that can stand in front of ``target``; note in ``missing`` why others cannot."""
    fits = list[str]()
    for name in case.defenses:
        try:
            defense = load_defense(name)
            defense.check(target)
            if not (defense.learns or isinstance(defense, Chain)):
                defense.defend(target)
            fits.append(name)
        except TorporError as error:
            missing[name] = str(error)
    return tuple(fits)


def _judged(
    case: Case, size: Size, target: Target, folder: Path | None, path: Path, seed: int, progress: Progress
) -> dict[str, Any]:
    """Judge the case's detectors on their own, unless that is done; the result is kept in ``path``."""
    data = target.data(folder)
    own = {"case": repr(replace(case, sizes={})), "size": repr(size), "seed": seed, **versions()}
    own |= {"target": target.fingerprint(), "data": data.fingerprint()}
    if path.is_file():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if known.get("identity") == own:
            return known
    progress("judging detectors", 0, 0)
    detectors = [detector for name in case.detectors if isinstance(detector := load_defense(name), Detector)]
    shape = target.space.shape if isinstance(target.space, DenseSpace) else None
    steps = size.steps if takes_steps(case.attack) else None
    attack = load_attack(case.attack, norm=case.norm, eps=size.eps, steps=steps, shape=shape)
    sizes = Sizes(size.judged, size.judged, size.judged)
    fits = [detector for detector in detectors if detector.applies_to(target)]
    found = {"identity": own} | evaluate_detectors(target, fits, {case.attack: attack}, data, sizes, seed)
    with FolderLock(path.parent, patience_s=PATIENCE_S):
        write_atomically(path, json.dumps(found, indent=1) + "\n")
    return found
