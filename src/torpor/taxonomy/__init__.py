"""The study's taxonomy as data: published attacks and defenses, and the torpor ids that implement them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor.core.lazy import lazy

if TYPE_CHECKING:
    from torpor.taxonomy.load import filter_entries, load_entries, load_mechanisms, load_versions
    from torpor.taxonomy.model import Entry, Kind, Mechanism, Publication, Role, Tags
    from torpor.taxonomy.tags import tags_for
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "load": ["filter_entries", "load_entries", "load_mechanisms", "load_versions"],
            "model": ["Entry", "Kind", "Mechanism", "Publication", "Role", "Tags"],
            "tags": ["tags_for"],
        },
    )

__all__ = [
    "Entry",
    "Kind",
    "Mechanism",
    "Publication",
    "Role",
    "Tags",
    "filter_entries",
    "load_entries",
    "load_mechanisms",
    "load_versions",
    "tags_for",
]
