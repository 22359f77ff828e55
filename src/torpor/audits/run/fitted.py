"""What attacks and defenses have learned, kept in the folder of an audit: nothing is fitted twice."""

from __future__ import annotations

import json
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file

from torpor.audits.run.store import Store
from torpor.core.errors import DataError
from torpor.core.files import require_file, save_tensors, write_atomically
from torpor.core.fitted import Fitted

FittedT = TypeVar("FittedT", bound=Fitted)
FOLDER = "fitted"


def store_state(fitted: Fitted, store: Store, slug: str, seconds: float, raises: bool | None = None) -> None:
    """Write what was learned as ``fitted/SLUG.safetensors``, and how long that took beside it; nothing if it is empty.

    Args:
        fitted: what learned.
        store: of the audit.
        slug: name of the files.
        seconds: that it took.
        raises: whether it raises the cost of any input that it learned from; None if that is unknown.

    Raises:
        UsageError: if the folder is not the one any more that this process holds.
    """
    state = fitted.state()
    if not state:
        return
    path = store.folder / FOLDER / f"{slug}.safetensors"
    store.verify()
    path.parent.mkdir(exist_ok=True)
    write_atomically(path.with_suffix(".json"), json.dumps({"seconds": seconds, "raises": raises}))
    save_tensors(path, dict(state))


def restored(unfitted: FittedT, store: Store, slug: str) -> FittedT | None:
    """Return ``unfitted`` with what was learned before; None if nothing is there, or it is damaged."""
    try:
        return unfitted.with_state(load_file(require_file(store.folder / FOLDER / f"{slug}.safetensors")))
    except (DataError, OSError, KeyError, SafetensorError):
        return None
