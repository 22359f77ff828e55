"""Attacked inputs as images in PNG data URIs: clean, attacked, and their difference."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SIDE = 128
"""Pixels that the longer side of an image has at least; smaller images are enlarged by whole factors."""


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
    enlarged = np.ascontiguousarray(shown.repeat(factor, axis=0).repeat(factor, axis=1))
    return encoded(Image.fromarray(enlarged))


def encoded(image: Image.Image) -> str:
    """Return an image as a PNG data URI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
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


def feature_views(clean: np.ndarray, attacked: np.ndarray) -> tuple[tuple[str, str], ...]:
    """Return the same of spectrograms int16 ``[M, T]``: both on one scale, low frequencies at the bottom.

    >>> import numpy as np
    >>> [name for name, _ in feature_views(np.zeros((2, 3), np.int16), np.full((2, 3), 9, np.int16))]
    ['clean', 'attacked', 'difference x1']
    """
    import numpy as np

    low = min(int(features.min()) for features in (clean, attacked))
    span = max(int(features.max()) for features in (clean, attacked)) - low
    drawn = [
        (255 * (features[None, ::-1].astype(float) - low) / max(span, 1)).round() for features in (clean, attacked)
    ]
    return image_views(*(image.astype(np.uint8) for image in drawn))


def image_views(clean: np.ndarray, attacked: np.ndarray) -> tuple[tuple[str, str], ...]:
    """Return (name, PNG data URI) of the clean image ``[C, H, W]``, the attacked one and the difference, in this order.

    >>> import numpy as np
    >>> black = np.zeros((1, 2, 2), np.uint8)
    >>> [name for name, _ in image_views(black, black + 1)]
    ['clean', 'attacked', 'difference x127']
    """
    view, factor = difference(clean, attacked)
    images = (("clean", clean), ("attacked", attacked), (f"difference x{factor}", view))
    return tuple((name, png_uri(image)) for name, image in images)
