"""Hardened networks: what was trained not to be slowed down takes the target's place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import override

from torpor.attacks.early_exit.deepsloth import PAPER
from torpor.core.errors import UsageError
from torpor.core.threat import Paper
from torpor.defenses.base import Defense
from torpor.targets.base import Target
from torpor.targets.early_exit.exit_rules import ExitRule
from torpor.targets.resolve import HARDENED_SUFFIX, load_target, target_names


@dataclass(frozen=True)
class Hardened(Defense):
    """Replace the target by a network of the same architecture that was trained on attacked samples.

    It is the target called as this one and ``-hardened``, the zoo's or a plug-in's. A rule of the target that has a
    name becomes the hardened one's rule of that name, whose threshold was chosen for it; any other rule stays.

    Attributes:
        suffix: of the other network's name; what else was done in training has another one, and a subclass.
    """

    id: ClassVar[str] = "hardened"
    paper: ClassVar[Paper | None] = PAPER
    suffix: ClassVar[str] = HARDENED_SUFFIX

    @classmethod
    @override
    def applies_to(cls, target: Target) -> bool:
        return target.name + cls.suffix in target_names()

    def check(self, target: Target) -> None:
        """See :meth:`Defense.check`; the hardened network must be there too."""
        self._hardened(target)

    def defend(self, target: Target) -> Target:
        """See :meth:`Defense.defend`; nothing of the target's own network is left.

        Raises:
            UsageError: if there is no such target, or its weights are not there, with how to train them.
        """
        hardened: Any = self._hardened(target)
        if target.offers("rule", "named_rules") and hardened.offers("with_rule", "named_rules"):
            hardened = hardened.with_rule(same_rule(target, hardened.named_rules))
        hardened.name = f"{target.name} defended by {self.name}"
        found: Target = hardened
        return found

    def _hardened(self, target: Target) -> Target:
        if self.applies_to(target):
            return load_target(target.name + self.suffix, device=target.device)
        names = [name for name in target_names() if name.endswith(self.suffix)]
        known = ", ".join(name.removesuffix(self.suffix) for name in names)
        raise UsageError(
            f"expected a target that has a hardened network ({known or 'none has'}), got {target.name}; leave "
            f"{self.name} out, or register {target.name}{self.suffix} as a target"
        )


def same_rule(target: Any, named: Mapping[str, ExitRule]) -> ExitRule:  # noqa: ANN401 - one that has rules
    """Return the rule among ``named`` that is called as the target's own; else the target's own."""
    own: ExitRule = target.rule
    for name, rule in target.named_rules.items():
        if rule == own and name in named:
            return named[name]
    return own
