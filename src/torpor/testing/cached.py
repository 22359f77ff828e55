"""Audits that several tests look at, each run once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torpor.api.result import Audit, load_audit
from torpor.api.run import audit
from torpor.attacks.base import Attack
from torpor.audits.request import request
from torpor.core.errors import UsageError
from torpor.targets.base import Target

_OF_RUN = ("executor", "threads", "max_queries", "max_seconds", "max_cost", "progress")
"""Arguments that do not change what is audited."""


class CachedAudits:
    """Runs each audit once: the second call with the same settings, target, data and code returns what the first found.

    Args:
        folder: where the audits lie, one folder each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._targets: list[Target] = []  # whose numbers must not be given to others

    def __call__(
        self,
        target: str | Target,
        attacks: str | Sequence[str | Attack] | None = None,
        **options: Any,  # noqa: ANN401 - each has its own
    ) -> Audit:
        """Return the audit that :func:`torpor.audit` returns, which takes the same arguments, but for ``out``.

        Raises:
            UsageError: as there, and if ``out`` is given.
            DataError: as there.
        """
        if "out" in options:
            raise UsageError("expected no folder for an audit of the fixture, got out; call torpor.audit instead")
        asked = request(target, attacks, **{name: value for name, value in options.items() if name not in _OF_RUN})
        limits = {name: options[name] for name in options if name.startswith("max_")}
        key = json.dumps([asked.identity(), limits, self._number(target)], default=str)
        folder = self.folder / hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
        return (
            load_audit(folder) if (folder / "audit.json").is_file() else audit(target, attacks, **options, out=folder)
        )

    def _number(self, target: str | Target) -> int | None:
        """Tell targets in memory apart: what they compute with need not be part of their fingerprint."""
        if isinstance(target, str):
            return None
        if not any(each is target for each in self._targets):
            self._targets.append(target)
        return next(number for number, each in enumerate(self._targets) if each is target)
