"""Tamperings by the names that the command line and rows of audits use."""

from __future__ import annotations

from dataclasses import replace

from torpor.attacks.tampering import Tampering
from torpor.core.registry import Registry

TAMPERINGS: Registry[Tampering] = Registry(
    "torpor.tamperings",
    Tampering,  # type: ignore[type-abstract]
    {
        "efficfrog": "torpor.attacks.tamperings.efficfrog:EfficFrog",
        "sponge-poisoning": "torpor.attacks.tamperings.sponge_poisoning:SpongePoisoning",
        "skipsponge": "torpor.attacks.tamperings.skipsponge:SkipSponge",
        "energy-backdoor": "torpor.attacks.tamperings.energy_backdoor:EnergyBackdoor",
        "sponge-backdoor": "torpor.attacks.tamperings.sponge_backdoor:SpongeBackdoor",
        "p-dos": "torpor.attacks.tamperings.p_dos:PDoS",
        "bithydra": "torpor.attacks.tamperings.bithydra:BitHydra",
    },
    "tampering",
)
"""Every tampering; plug-ins add theirs as entry points of the group ``torpor.tamperings``."""


def load_tampering(spec: str) -> Tampering:
    """Return a tampering by its specification.

    Args:
        spec: a name, or ``pkg.module:Class``, with options if needed: ``"efficfrog:rate=0.02"``. The options are part
            of its name.

    Raises:
        UsageError: on an unknown name, or options that it does not have.

    >>> load_tampering("efficfrog:rate=0.02").name
    'efficfrog:rate=0.02'
    """
    options = TAMPERINGS.spec(spec).options
    return replace(TAMPERINGS.get(spec), options=tuple(f"{key}={value}" for key, value in options.items()))
