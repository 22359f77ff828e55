"""Images with the boxes that were found in them, and film strips of videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torpor.reports.samples.images import encoded

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

WIDTH = 384
"""Pixels that an image is wide at least; smaller ones are enlarged by whole factors."""
FRAMES = 6
"""Frames of a film strip."""
TRACKS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
"""Colors of tracks, by their number."""
TRUE, LOOSE = "#ffffff", "#9ca3af"
"""Colors of the ground truth, and of boxes that no track follows."""

Columns = Mapping[str, Sequence[Any]]
"""Objects of one image as ``records.parquet`` holds them: boxes, labels, and maybe scores and ids."""


def drawn(image: np.ndarray, found: Columns, true: Columns | None = None, *, width: int = WIDTH) -> Image.Image:
    """Return a uint8 image ``[C, H, W]`` with the boxes that were found, and thin white ones for the ground truth.

    >>> import numpy as np
    >>> drawn(np.zeros((1, 2, 4), np.uint8), {"boxes": [[0, 0, 2, 2]], "labels": [0]}, width=8).size
    (8, 4)
    """
    import numpy as np
    from PIL import Image, ImageDraw

    factor = max(1, width // image.shape[2])
    shown = np.ascontiguousarray((image if len(image) == 3 else image[:1].repeat(3, 0)).transpose(1, 2, 0))
    canvas = Image.fromarray(shown.repeat(factor, axis=0).repeat(factor, axis=1))
    pen = ImageDraw.Draw(canvas)
    ids = found.get("ids") or [0] * len(found["boxes"])
    for box, number in zip(found["boxes"], ids, strict=True):
        _outline(pen, box, factor, LOOSE if number < 0 else TRACKS[number % len(TRACKS)], 2)
    for box in (true or {"boxes": []})["boxes"]:
        _outline(pen, box, factor, TRUE, 1)
    return canvas


def _outline(pen: Any, box: Sequence[float], factor: int, color: str, width: int) -> None:  # noqa: ANN401 - of Pillow
    left, top, right, bottom = (factor * edge for edge in box)
    pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=color, width=width)


def strip(video: np.ndarray, found: Sequence[Columns], true: Sequence[Columns] | None) -> Image.Image:
    """Return ``FRAMES`` frames of a uint8 video ``[T, C, H, W]`` in rows of three, from the first to the last.

    >>> import numpy as np
    >>> strip(np.zeros((2, 1, 2, 4), np.uint8), [{"boxes": [], "labels": []}] * 2, None).size
    (386, 96)
    """
    from PIL import Image

    count = min(FRAMES, len(video))
    chosen = [round(place * (len(video) - 1) / max(1, count - 1)) for place in range(count)]
    frames = [drawn(video[t], found[t], true[t] if true else None, width=WIDTH // 2) for t in chosen]
    across, gap = min(3, count), 2
    wide, high = frames[0].size
    rows = -(-count // across)
    sheet = Image.new("RGB", (across * (wide + gap) - gap, rows * (high + gap) - gap), "white")
    for place, frame in enumerate(frames):
        sheet.paste(frame, (place % across * (wide + gap), place // across * (high + gap)))
    return sheet


def box_views(
    clean: np.ndarray,
    attacked: np.ndarray,
    before: Any,  # noqa: ANN401 - of one image or of many
    after: Any,  # noqa: ANN401
    true: Any,  # noqa: ANN401
) -> tuple[tuple[str, str], ...]:
    """Return (name, PNG data URI) of the clean and the attacked image or video, with their objects drawn in.

    Args:
        clean: uint8 ``[C, H, W]``, or ``[T, C, H, W]`` for a video.
        attacked: likewise.
        before: objects of the clean input, as columns; a list of them for a video.
        after: objects of the attacked one.
        true: ground truth, or None.
    """
    draw = strip if clean.ndim == 4 else drawn
    pair = (("clean", clean, before), ("attacked", attacked, after))
    return tuple((name, encoded(draw(pixels, found, true))) for name, pixels, found in pair)
