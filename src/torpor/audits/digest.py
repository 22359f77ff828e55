"""Digests inside ``audit.json``: what the audit says, and the records that it says it of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "digests"


def seal(audit: Mapping[str, Any], records: Path) -> dict[str, Any]:
    """Return the content of ``audit.json`` with digests of itself and of the file of records.

    They detect damage and careless edits, not forgery: anyone who edits a file can recompute them.

    Args:
        audit: everything else that ``audit.json`` holds, ready for JSON.
        records: ``records.parquet``.

    Raises:
        OSError: if the records cannot be read.
    """
    sealed = {**audit, KEY: {"records": file_digest(records)}}
    return {**sealed, KEY: {**sealed[KEY], "audit": content_digest(sealed)}}


def content_digest(audit: Mapping[str, Any]) -> str:
    """Return the digest of what ``audit.json`` says, whatever the order of its keys and the white space.

    The digest that it holds of itself is left out.

    >>> one = content_digest({"n": 1, "digests": {"audit": "", "records": "a"}})
    >>> one == content_digest({"digests": {"records": "a"}, "n": 1})
    True
    """
    digests = audit.get(KEY)
    own = {key: value for key, value in digests.items() if key != "audit"} if isinstance(digests, Mapping) else digests
    text = json.dumps({**audit, KEY: own}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
