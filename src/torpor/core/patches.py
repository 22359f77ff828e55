"""Where in an image a patch lies: the rectangle whose pixels a budget of a share of the area frees."""

from __future__ import annotations

import math

PLACES = {"patch": 0.0, "patch-center": 0.5}
"""Which share of the rows and columns that a patch leaves is above and left of it, by the norm of its budget."""


def sides(share: float, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of the largest patch of at most a share of the area.

    It is a square, with one more column where there is room for it, and as high or as wide as the image where a square
    would be more than that. Patches of a smaller share lie within those of a larger one.

    Args:
        share: of the area, from 0 to 1.
        height: of the image, in pixels.
        width: of the image, in pixels.

    >>> sides(0.08, 32, 32), sides(0.02, 32, 32), sides(0.5, 4, 16), sides(0.01, 8, 8)
    ((9, 9), (4, 5), (4, 8), (0, 0))
    """
    area = math.floor(share * height * width * (1 + 1e-9))
    side = math.isqrt(area)
    if side >= min(height, width):
        return (height, area // height) if height <= width else (area // width, width)
    return side, side + (0 < side * (side + 1) <= area)


def window(share: float, place: float, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns that a patch covers.

    Args:
        share: of the area that it covers at most.
        place: which share of the rows and columns that it leaves is above and left of it.
        height: of the image, in pixels.
        width: of the image, in pixels.

    >>> window(0.25, PLACES["patch-center"], 4, 4)
    (slice(1, 3, None), slice(1, 3, None))
    """
    rows, columns = sides(share, height, width)
    top, left = math.floor(place * (height - rows)), math.floor(place * (width - columns))
    return slice(top, top + rows), slice(left, left + columns)
