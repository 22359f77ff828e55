"""What makes two audits the same: settings, weights, data, code and versions; and where an audit ran."""

from __future__ import annotations

import hashlib
import inspect
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import torch

import torpor
from torpor import __version__
from torpor.audits.plan import Plan
from torpor.audits.schema import file_digest
from torpor.data.sets import DataSet
from torpor.meters import energy_meter, memory_meter
from torpor.targets.base import Target
from torpor.targets.resolve import GROUP, LIBRARIES
from torpor.targets.user_code import code_digests, from_user
from torpor.targets.weights import described, digest, modules_in, plain_state

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "trackers",
    "supervision",
    "scipy",
    "torchvision",
    "ultralytics",
    "scikit-learn",
    "scikit-image",
    "pillow",
    "pyspellchecker",
)
"""Packages whose version may decide what a target computes."""

GIT_S = 10.0
"""Seconds after which git, on a folder that is far away, is waited for no longer."""
PRINTED = ("api", "cli", "reports", "study", "testing")
"""Packages of torpor that hand over or print what others found."""
UNNAMED = ("validation",)
"""Splits that are read whole in every audit, beside the samples that are attacked."""
REPAIRABLE = "data bytes test"
"""What may change before an audit is finished: each batch that was attacked remembers its own samples."""


def versions() -> dict[str, str | None]:
    """Return the versions of these packages; None for one that is not installed."""
    found: dict[str, str | None] = {**dict.fromkeys(PACKAGES), "torch": torch.__version__}
    for package in PACKAGES[1:]:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions, hardware and available meters; no names of machines or users."""
    energy, memory = energy_meter(device), memory_meter(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "torpor": __version__,
        "python": platform.python_version(),
        **versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": name,
        "threads": torch.get_num_threads(),
        "device": str(device),
        "commit": commit(Path.cwd()),
        "meters": {
            "latency": {"available": True, "reason": None},
            "energy": {"available": energy.available, "reason": energy.reason},
            "memory": {"available": memory.available, "reason": memory.reason},
        },
    }


def commit(folder: Path) -> str | None:
    """Return the commit of the repository that a folder is in, ``-dirty`` behind it if files were changed since.

    None where there is no repository with a commit, or no git.

    >>> commit(Path("/")) is None
    True
    """
    words = ("git", "-C", str(folder), "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12")
    try:
        found = subprocess.run(  # noqa: S603 - these words alone
            [*words, "--exclude=*"], capture_output=True, text=True, check=False, timeout=GIT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def _processor() -> str:
    """Return the processor's model name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def own_code() -> str:
    """Return a digest of torpor's code, which in a checkout changes without a new version.

    >>> len(own_code())
    32
    """
    folder, found = Path(torpor.__file__).parent, hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        if name.parts[0] not in PRINTED:
            found.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()


def user_code(name: str, objects: Iterable[object], plugged: Iterable[object] = ()) -> tuple[dict[str, str], list[str]]:
    """Return digests of the user's modules that an audit ran, by name, and what these do not cover, in words.

    Args:
        name: of the target, as the user typed it.
        objects: the target, its data and its networks, whose classes may be of the user's own.
        plugged: attacks, defenses and bounds, whose classes may be of the user's own or of an installed plug-in.
    """
    roots = [_module(name)] if not name.startswith(tuple(LIBRARIES)) else []
    for each in objects:
        roots += [kind.__module__ for kind in type(each).__mro__ if from_user(kind)]
    modules = (kind.__module__ for each in plugged for kind in type(each).__mro__)
    roots += [module for module in modules if module.partition(".")[0] not in sys.stdlib_module_names]
    return code_digests(root for root in roots if root)


def _module(name: str) -> str:
    """Return the module of a target's factory; empty where there is none."""
    if ":" in name:
        return name.partition(":")[0]
    return next((entry.module for entry in entry_points(group=GROUP) if entry.name == name), "")


@dataclass(frozen=True)
class Identity:
    """What an audit is of.

    Attributes:
        target: fingerprint of the target, with its weights.
        data: fingerprint of the data.
        data_bytes: digest of the file of each split, for data that lie in files.
        code: digest of torpor's code, and of each module of the user's.
        versions: of libraries.
        uncovered: what could change without any of these noticing, in words.
    """

    target: str
    data: str
    data_bytes: Mapping[str, str]
    code: Mapping[str, str]
    versions: Mapping[str, str | None]
    uncovered: tuple[str, ...]

    def entries(self) -> dict[str, Any]:
        """Return the entries of ``plan.json``."""
        own = {"target_fingerprint": self.target, "data_fingerprint": self.data}
        return {**own, "data_bytes": dict(self.data_bytes), "code": dict(self.code), **self.versions}

    def to_json(self) -> dict[str, Any]:
        """Return the entry of ``audit.json``; versions are in its environment."""
        data = {"data": self.data, "data_bytes": dict(self.data_bytes)}
        return {"target": self.target, **data, "code": dict(self.code), "uncovered": list(self.uncovered)}


def identify(plan: Plan, target: Target, data: DataSet) -> Identity:
    """Return what identifies an audit of ``target`` on ``data``.

    Raises:
        DataError: if the data cannot be read.
    """
    attacks = [attack for budget in plan.budgets for attack in plan.attacks_at(budget)]
    plugged = [*attacks, *plan.loaded_defenses(parts=True), *plan.loaded_bounds()]
    code, unknown = user_code(plan.target, [target, data, *modules_in(target)], plugged)
    seen, more = _target(target)
    more = [*more, *getattr(target, "unnoticed", ())]
    read, rest = _data(data, plan.limit)
    uncovered = tuple(dict.fromkeys((*unknown, *more, *rest)))
    return Identity(seen, read, _bytes(data), {"torpor": own_code(), **code}, versions(), uncovered)


def _target(target: Target) -> tuple[str, list[str]]:
    """Return the target's fingerprint; with all weights that can be found in it, where its class names none."""
    own, kind = target.fingerprint(), type(target)
    found = modules_in(target)
    if state := plain_state(found):
        own = f"{own} {digest(state, [])}"
    named = next(each for each in kind.__mro__ if "fingerprint" in vars(each))
    shipped = kind.__module__.startswith("torpor.")
    if shipped and not inspect.isabstract(named):
        return own, []
    held = {name: value for name, value in sorted(vars(target).items()) if not name.startswith("_")}
    doubt = f"what {target.name} computes with: {kind.__name__} has no fingerprint() and holds no network"
    unnamed = named.__module__.startswith("torpor.") and not found and not shipped
    return f"{own} {digest(described(held), found)}", [doubt] if unnamed else []


def _data(data: DataSet, limit: int | None) -> tuple[str, list[str]]:
    """Return the fingerprint of the data; with a digest of what they yield, where their class does not tell it."""
    if _names_its_samples(data):
        return data.fingerprint(), []
    found = hashlib.blake2b(digest_size=16)
    for split, most in (("test", limit), *((name, None) for name in UNNAMED if data.has(name))):
        for batch in data.batches(split, 64, most):
            found.update(batch.digest().encode())
    rest = [f"training samples of {data.name}: {type(data).__name__} has no fingerprint()"] if data.has("train") else []
    return f"{data.fingerprint()} {found.hexdigest()}", rest


def _bytes(data: DataSet) -> dict[str, str]:
    """Return a digest of the file of each split; one that cannot be opened raises an error when it is read."""
    known = dict[Path, str]()
    for path in dict.fromkeys(data.files().values()):
        with suppress(OSError):
            known[path] = file_digest(path)
    return {split: known.get(path, "") for split, path in data.files().items()}


def _names_its_samples(data: DataSet) -> bool:
    """Say whether the fingerprint of data tells all samples: that of torpor's own does, if all that they hold does."""
    kind = type(data)
    if kind.__module__.startswith("torpor."):
        return all(_names_its_samples(held) for held in vars(data).values() if isinstance(held, DataSet))
    made = next(place for place, each in enumerate(kind.__mro__) if "samples" in vars(each))
    named = next(place for place, each in enumerate(kind.__mro__) if "fingerprint" in vars(each))
    return kind.__mro__[named] is not DataSet and named <= made
