"""How networks of texts become targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torpor.data.sets import DataSet
from torpor.targets.early_exit.exit_rules import Entropy
from torpor.targets.text.base import Wrapping
from torpor.targets.text.exits import TextExitTarget
from torpor.targets.text.skimming import SkimTarget
from torpor.zoo.text.encoder import ExitEncoder, SkimEncoder

Source = Callable[[Path | None], DataSet]


def exits(
    module: ExitEncoder, codec: Wrapping, settings: Mapping[str, Any], *, name: str, source: Source
) -> TextExitTarget:
    """Return the target of an encoder with exits; its rules are in the card."""
    named = {f"drop:{drop}": Entropy(float(chosen)) for drop, chosen in settings["thresholds"].items()}
    longest, rule = len(module.position), Entropy(float(settings["entropy"]))
    return TextExitTarget(module, codec, rule, longest=longest, name=name, source=source, named_rules=named)


def skims(
    module: SkimEncoder, codec: Wrapping, settings: Mapping[str, Any], *, name: str, source: Source
) -> SkimTarget:
    """Return the target of an encoder that skims."""
    return SkimTarget(module, codec, longest=len(module.position), name=name, source=source)
