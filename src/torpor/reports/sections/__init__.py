"""Sections: what a report shows of each family of targets."""

from __future__ import annotations

from torpor.core.registry import Registry
from torpor.reports.kit.words import Row
from torpor.reports.sections.base import Section

SECTIONS: Registry[Section] = Registry(
    "torpor.sections",
    Section,
    {
        "gates": "torpor.reports.sections.base:Section",
        "early-exit": "torpor.reports.sections.early_exit:EarlyExitSection",
        "early-exit-text": "torpor.reports.sections.early_exit:EarlyExitSection",
        "decoder": "torpor.reports.sections.decoder:DecoderSection",
        "speculative": "torpor.reports.sections.decoder:DecoderSection",
        "exiting-language-model": "torpor.reports.sections.decoder:DecoderSection",
        "endpoint-text": "torpor.reports.sections.endpoint:EndpointSection",
        "detector": "torpor.reports.sections.detector:DetectorSection",
    },
    "report section",
)
"""Sections by the family that they are of."""


def section_of(audit: Row) -> Section:
    """Return what is shown of an audit's family of targets.

    >>> type(section_of({"summary": [], "target": {"family": "early-exit"}})).__name__
    'EarlyExitSection'
    """
    family = str((audit.get("target") or {}).get("family") or "")
    kind = SECTIONS.find(family) if family in SECTIONS else Section
    return kind(audit)
