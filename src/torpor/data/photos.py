"""Photographs that scikit-learn and scikit-image carry, as backgrounds: no download."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from torpor.core.errors import UsageError

PHOTOS = {
    "train": ("china", "astronaut", "coffee", "stereo_motorcycle", "hubble_deep_field", "brick", "grass"),
    "validation": ("retina", "camera", "moon"),
    "test": ("flower", "rocket", "gravel"),
}
"""Names of each split's photos: the background of a test scene is never that of a training scene."""
ZOOM = (0.8, 2.5)
"""Photo pixels per pixel of a view, at least and at most."""
BRIGHTNESS = (30, 75)
"""Percent: photos are dimmed, so that what lies on them stands out."""


class View:
    """A part of a photo, mirrored or not, and dimmed; a camera may pan over it.

    Args:
        split: whose photos to choose from.
        height: in pixels.
        width: in pixels.
        rng: draws the photograph, crop, pan and brightness.
        pan: how far the camera moves from the first to the last frame at most, in pixels of the view.

    Raises:
        UsageError: if scikit-image is missing.
    """

    def __init__(self, split: str, height: int, width: int, rng: Generator, pan: float = 0.0) -> None:
        photo = photos(split)[int(rng.integers(len(PHOTOS[split])))]
        self.photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else photo
        self.size = (width, height)
        most = min(ZOOM[1], photo.width / (width + pan), photo.height / (height + pan))
        zoom = rng.uniform(ZOOM[0], most)
        self.crop = (width * zoom, height * zoom)
        free = np.array([photo.width, photo.height]) - self.crop
        self.first = rng.uniform(0, free)
        self.last = np.clip(self.first + rng.uniform(-pan, pan, 2) * zoom, 0, free)
        self.percent = int(rng.integers(BRIGHTNESS[0], BRIGHTNESS[1] + 1))

    def at(self, moment: float) -> NDArray[np.uint8]:
        """Return what is seen at ``moment``, from 0 (first) to 1 (last), uint8 ``[3, H, W]``."""
        left, top = (self.first + moment * (self.last - self.first)).tolist()
        box = (left, top, left + self.crop[0], top + self.crop[1])
        seen = np.asarray(self.photo.resize(self.size, Image.Resampling.BILINEAR, box), np.uint16)
        return np.ascontiguousarray((seen * self.percent // 100).astype(np.uint8).transpose(2, 0, 1))


@cache
def photos(split: str) -> tuple[Image.Image, ...]:
    """Return the photos of ``split`` in color.

    Raises:
        UsageError: if scikit-image is missing.
    """
    if find_spec("skimage") is None:
        raise UsageError("expected scikit-image for photos, got none; pip install 'torpor[tracking]'")
    return tuple(Image.fromarray(_read(name)).convert("RGB") for name in PHOTOS[split])


def _read(name: str) -> NDArray[np.uint8]:
    import skimage.data
    from sklearn.datasets import load_sample_image

    if name in ("china", "flower"):
        return np.asarray(load_sample_image(f"{name}.jpg"))
    image = getattr(skimage.data, name)()
    return np.asarray(image[0] if isinstance(image, tuple) else image)  # of a stereo pair, the left one
