"""Find a target by what the user typed: a registered name, a model of another library, or ``pkg.module:factory``."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

import torch

from torpor.core.allocator import keep_freed_memory
from torpor.core.errors import TorporError, UsageError
from torpor.core.registry import is_path, load_entry, load_path
from torpor.targets.base import Target

GROUP = "torpor.targets"
HARDENED_SUFFIX = "-hardened"
"""A target that was hardened is called as what it was trained on from, and this."""
NEO_KD_SUFFIX = "-neo-kd"
"""The same of one that was hardened by distillation between its exits."""

LIBRARIES = {
    "hf:": ("torpor.targets.user_models", "load_large"),
    "torchvision:": ("torpor.targets.detector.adapters.loading", "load_torchvision"),
    "ultralytics:": ("torpor.targets.detector.adapters.loading", "load_ultralytics"),
    "tampered:": ("torpor.targets.tampered", "load_tampered"),
    "openai:": ("torpor.targets.endpoint.loading", "load_endpoint"),
}
"""What marks models of other libraries, and of servers, and the function that loads each."""


def target_names() -> list[str]:
    """Return the names of all registered targets, those of plug-ins included."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_target(
    name: str, *, device: str | torch.device = "cpu", rule: str | None = None, downstream: float | None = None
) -> Target:
    """Load a target.

    Args:
        name: a registered name (entry-point group ``torpor.targets``); ``hf:`` and the folder or hub name of a model
            that transformers saved; ``tampered:`` and the folder of a tampered model; ``torchvision:`` or
            ``ultralytics:`` and the name of a detector; ``openai:`` and the address of a server; or
            ``pkg.module:factory``, a callable without arguments, whose module is also looked for in the current folder.
        device: where it runs.
        rule: exit rule other than its own, such as ``"entropy:0.3"`` or ``"drop:0.15"``.
        downstream: what each object that it hands on costs, see :func:`with_downstream`.

    Raises:
        UsageError: if there is no such target, its factory fails to give one, or the rule or the cost does not apply.

    >>> load_target("torpor.targets.early_exit.toys:needle").name
    'toy-needle'
    """
    keep_freed_memory()
    target = with_downstream(_make(name).to(torch.device(device)), downstream)
    if rule is None:
        return target
    if not target.offers("with_rule"):
        raise UsageError(f"expected an early-exit target with --rule, got {name}; leave --rule out")
    leaving: Any = target
    other: Target = leaving.with_rule(rule)
    return other


def with_downstream(target: Target, cost_per_object: float | None) -> Target:
    """Return a target whose every object that it hands on costs so much in its currency; the target itself if None.

    Raises:
        UsageError: if it hands no objects on.
    """
    if cost_per_object is None:
        return target
    if not target.offers("with_downstream"):
        raise UsageError(
            f"expected a target that hands objects on for a cost per object, got {target.name} ({target.mechanism}); "
            "leave --downstream out"
        )
    handing_on: Any = target
    priced: Target = handing_on.with_downstream(cost_per_object)
    return priced


def _make(name: str) -> Target:
    for mark, (module, function) in LIBRARIES.items():
        if name.startswith(mark):
            loaded = getattr(importlib.import_module(module), function)(name.removeprefix(mark))
            assert isinstance(loaded, Target)
            return loaded
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in found:
        factory = load_entry(found[name])
    elif is_path(name):
        factory = load_path(name)
    else:
        from torpor.targets.misnamed import misnamed

        raise misnamed(name, found)
    if not callable(factory):
        raise UsageError(f"expected {name} to be a function that returns a Target, got {type(factory).__name__}")
    try:
        target = factory()
    except TorporError:
        raise
    except (Exception, SystemExit) as error:  # whatever it is, the user's factory raised it
        from torpor.targets.factories import refused

        raise refused(name, factory, error) from error
    if not isinstance(target, Target):
        from torpor.targets.factories import no_target

        raise no_target(name, target)
    return target
