"""The study's taxonomy as data: published attacks and defenses, and the torpor ids that implement them."""

from torpor.taxonomy.load import filter_entries, load_entries, load_versions, tags_for
from torpor.taxonomy.model import Entry, Kind, Publication, Role, Tags

__all__ = [
    "Entry",
    "Kind",
    "Publication",
    "Role",
    "Tags",
    "filter_entries",
    "load_entries",
    "load_versions",
    "tags_for",
]
