"""Run the study: an audit for each case, and detectors judged on their own. What is done already is not run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torpor import __version__
from torpor.attacks.registry import ATTACKS, load_attack, takes_steps
from torpor.audits.engine import claim, run_audit
from torpor.audits.environment import versions
from torpor.audits.plan import Plan, default_batch_size
from torpor.audits.store import write_atomically
from torpor.core.errors import TorporError
from torpor.core.space import DenseSpace
from torpor.defenses.chain import Chain
from torpor.defenses.detector import Detector
from torpor.defenses.evaluation import Sizes, evaluate_detectors
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
        detectors: what :func:`~torpor.defenses.evaluation.evaluate_detectors` returned; None likewise.
        missing: defenses that could not stand in front of this target, or the whole case (``""``), with the reason.
    """

    case: Case
    audit: Mapping[str, Any] | None
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
    """Run every case into a folder of its own in ``out``; a killed study goes on where it stopped.

    Args:
        data_dir: folder with ``cifar10/`` and ``multi30k/``; cases that need what is not there are explained.
        out: folder to write.
        scale: how much to run.
        limit: test samples per case other than the scale's.
        seed: of all randomness.
        progress: told of every case, and of what it does.

    Raises:
        UsageError: if ``out`` holds another study.
    """
    todo = cases()
    identity = {"study": [repr(case) for case in todo], "scale": scale.value, "limit": limit, "seed": seed}
    claim(identity | {"data_dir": str(data_dir), "torpor": __version__, **versions()}, out)
    results = []
    for number, case in enumerate(todo):
        tell = lambda text, done, total, n=number, c=case: progress(f"{c.name}: {text}", n, len(todo))  # noqa: E731
        results.append(_run_case(case, case.sizes[scale], data_dir, out / case.name, limit, seed, tell))
    return results


def _run_case(
    case: Case, size: Size, data_dir: Path | None, out: Path, limit: int | None, seed: int, progress: Progress
) -> Result:
    folder = None if data_dir is None else data_dir / case.needs
    if case.needs and (folder is None or not folder.is_dir()):
        return Result(case, None, None, {"": f"no {case.needs} in the folder of data; pass --data-dir"})
    given = folder if case.needs else None
    try:
        target = load_target(case.target)
        defenses, missing = _applicable(case, target)
        attack = ATTACKS[case.attack]
        plan = Plan(
            case.target,
            (case.attack,),
            case.norm,
            steps=size.steps if takes_steps(attack) else None,
            limit=limit or size.limit,
            seed=seed,
            batch_size=default_batch_size(target),
            data_dir=None if given is None else str(given),
            shape=target.space.shape if isinstance(target.space, DenseSpace) else None,
            defenses=defenses,
        )
        run_audit(plan, target, out, progress)
        found = _judged(case, size, target, given, out / "detectors.json", seed, progress)
    except TorporError as error:
        return Result(case, None, None, {"": str(error)})
    audit = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    return Result(case, audit, found, missing)


def _applicable(case: Case, target: Target) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the defenses that can stand in front of ``target``, and why others cannot."""
    fits, missing = list[str](), dict[str, str]()
    for name in case.defenses:
        try:
            defense = load_defense(name)
            defense.check(target)
            if not (defense.learns or isinstance(defense, Chain)):
                defense.defend(target)
            fits.append(name)
        except TorporError as error:
            missing[name] = str(error)
    return tuple(fits), missing


def _judged(
    case: Case, size: Size, target: Target, folder: Path | None, path: Path, seed: int, progress: Progress
) -> dict[str, Any]:
    """Judge the case's detectors on their own, unless that is done; the result is kept in ``path``."""
    if path.is_file():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return known
    progress("judging detectors", 0, 0)
    detectors = [detector for name in case.detectors if isinstance(detector := load_defense(name), Detector)]
    shape = target.space.shape if isinstance(target.space, DenseSpace) else None
    steps = size.steps if takes_steps(ATTACKS[case.attack]) else None
    attack = load_attack(case.attack, norm=case.norm, steps=steps, shape=shape)
    sizes = Sizes(size.judged, size.judged, size.judged)
    fits = [detector for detector in detectors if detector.applies_to(target)]
    found = evaluate_detectors(target, fits, {case.attack: attack}, target.data(folder), sizes, seed)
    write_atomically(path, json.dumps(found, indent=1) + "\n")
    return found
