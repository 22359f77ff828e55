"""The tags of attacks: all that an audit reads of the taxonomy."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

NAMES = ("owasp", "atlas", "cwe")
"""The security taxonomies that tags are from."""


@cache
def read_document() -> Any:  # noqa: ANN401 - JSON
    """Return the taxonomy's data file as it is; :mod:`torpor.taxonomy.load` reads it strictly."""
    return json.loads(resources.files("torpor.taxonomy").joinpath("entries.json").read_text(encoding="utf-8"))


def tags_for(*torpor_ids: str) -> dict[str, list[str]]:
    """Return the tags of torpor attacks, joined, by taxonomy; empty lists for ids without an entry, such as controls.

    >>> tags_for("deepsloth")["owasp"], tags_for("control-noise")
    (['LLM06:2026'], {'owasp': [], 'atlas': [], 'cwe': []})
    """
    found = [entry["tags"] for entry in read_document()["entries"] if set(entry["torpor_ids"]) & set(torpor_ids)]
    return {name: list(dict.fromkeys(tag for tags in found for tag in tags[name])) for name in NAMES}
