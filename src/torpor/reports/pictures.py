"""Pictures of the costliest attacked inputs as PNG data URIs: clean, attacked, and their difference."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torpor.core import DataError
from torpor.reports.words import Row, costliest, label, times

if TYPE_CHECKING:
    import numpy as np

SIDE = 128
"""Pixels that the longer side of a picture has at least; smaller images are enlarged by whole factors."""


@dataclass(frozen=True)
class Picture:
    """One sample as it was and as the attack left it.

    Attributes:
        title: which sample and attack.
        caption: cost, exit and prediction, clean and attacked.
        views: (name, PNG data URI) of the clean image, the attacked image and the difference, in this order.
    """

    title: str
    caption: str
    views: tuple[tuple[str, str], ...]


def rows_of(records: dict[str, np.ndarray], row: Row) -> np.ndarray:
    """Return which records, as a mask, belong to a row of the summary.

    >>> import numpy as np
    >>> columns = {"attack": ["a", "b"], "defense": ["none", "none"], "norm": ["L2", "L2"], "eps": [0.5, 0.5]}
    >>> row = {"attack": "b", "defense": "none", "norm": "L2", "eps": 0.5}
    >>> rows_of({name: np.array(column) for name, column in columns.items()}, row).tolist()
    [False, True]
    """
    import numpy as np

    mask: np.ndarray = (records["attack"] == row["attack"]) & (records["defense"] == row["defense"])
    if row.get("eps") is None:
        mask &= np.isnan(records["eps"])
    else:
        mask &= (records["norm"] == row["norm"]) & np.isclose(records["eps"], row["eps"], rtol=1e-6)
    return mask


def png_uri(image: np.ndarray) -> str:
    """Return a uint8 image ``[C, H, W]`` as a PNG data URI, enlarged without smoothing.

    One channel is drawn in gray, three or more as the first three in RGB, two as the first in gray.

    >>> import numpy as np
    >>> png_uri(np.zeros((1, 2, 2), np.uint8))[:22]
    'data:image/png;base64,'
    """
    import numpy as np
    from PIL import Image

    factor = max(1, -(-SIDE // max(image.shape[1:])))
    shown = image[:3].transpose(1, 2, 0) if len(image) >= 3 else image[0]
    buffer = io.BytesIO()
    enlarged = np.ascontiguousarray(shown.repeat(factor, axis=0).repeat(factor, axis=1))
    Image.fromarray(enlarged).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def difference(clean: np.ndarray, attacked: np.ndarray) -> tuple[np.ndarray, int]:
    """Return attacked minus clean around mid-gray, amplified by a whole factor, and the factor.

    >>> import numpy as np
    >>> view, factor = difference(np.full((1, 1, 2), 9, np.uint8), np.array([[[9, 19]]], np.uint8))
    >>> view.tolist(), factor
    ([[[128, 248]]], 12)
    """
    import numpy as np

    delta = attacked.astype(np.int64) - clean.astype(np.int64)
    factor = max(1, 127 // max(1, int(np.abs(delta).max(initial=0))))
    return np.clip(128 + factor * delta, 0, 255).astype(np.uint8), factor


def worst_pictures(
    folder: Path, summary: Sequence[Row], records: dict[str, np.ndarray], *, per_attack: int = 4, attacks: int = 4
) -> list[Picture]:
    """Return pictures of the costliest saved samples, of the costliest attacks at their costliest saved budgets.

    Args:
        folder: the audit's ``examples`` folder; it may be empty or missing.
        summary: rows of the audit's summary.
        records: columns of ``records.parquet``.
        per_attack: samples of each attack.
        attacks: how many attacks.

    Raises:
        DataError: if a file of examples cannot be read.
    """
    files = {path: row for path in sorted(folder.glob("*.safetensors")) if (row := _row_of(path, summary))}
    tops = [_top(files, name) for name in dict.fromkeys(row["attack"] for row in files.values())]
    tops.sort(key=lambda top: -float(top[1]["slowdown_mean"]))
    return [picture for path, row in tops[:attacks] for picture in _pictures(path, row, records, per_attack)]


def _row_of(path: Path, summary: Sequence[Row]) -> Row | None:
    for row in summary:
        start = f"{row['attack']}-{row['norm']}-"
        if row["kind"] == "attack" and path.stem.startswith(start) and row.get("slowdown_mean") is not None:
            try:
                eps = float(path.stem.removeprefix(start))
            except ValueError:
                continue
            if abs(eps - row["eps"]) <= 1e-4 * row["eps"]:
                return row
    return None


def _top(files: dict[Path, Row], attack: str) -> tuple[Path, Row]:
    own = {path: row for path, row in files.items() if row["attack"] == attack}
    top = costliest(list(own.values()), "attack")
    return next((path, row) for path, row in own.items() if row is top)


def _pictures(path: Path, row: Row, records: dict[str, np.ndarray], limit: int) -> Iterator[Picture]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        saved = load_file(path)
        index, clean, attacked = saved["index"], saved["clean"], saved["attacked"]
    except (SafetensorError, KeyError, OSError) as error:
        raise DataError(f"expected index, clean and attacked in {path.name}, got {error}; audit again") from error
    found = {int(records["sample"][place]): int(place) for place in rows_of(records, row).nonzero()[0]}
    known = [place for place, sample in enumerate(index.tolist()) if sample in found]
    known.sort(key=lambda place: -float(records["slowdown"][found[int(index[place])]]))
    for place in known[:limit]:
        view, factor = difference(clean[place], attacked[place])
        images = (("clean", clean[place]), ("attacked", attacked[place]), (f"difference x{factor}", view))
        views = tuple((name, png_uri(image)) for name, image in images)
        sample = int(index[place])
        yield Picture(f"sample {sample}: {label(row)}", _caption(records, found[sample], sample), views)


def _caption(records: dict[str, np.ndarray], place: int, sample: int) -> str:
    clean = ((records["sample"] == sample) & (records["attack"] == "clean")).nonzero()[0]
    exits = [int(taken) for at in (*clean[:1], place) if (taken := records["exit"][at]) is not None and taken == taken]
    said = [times(float(records["slowdown"][place]))]
    said += [f"exit {' to '.join(map(str, exits))}"] if exits else []
    said += ["prediction unchanged" if records["agreement"][place] else "prediction changed"]
    return f"{', '.join(said)}, label {records['reference'][place]}, Linf {255 * records['linf'][place]:.0f}/255"
