"""Images as a viewer shows them, in 8 bits."""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageOps, UnidentifiedImageError

from torpor.core.errors import DataError

SCREEN = 1 / 2.2
"""The gamma that pixels without a gamma chunk are meant for."""
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError,
    NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What decoders raise on damaged files."""


def read_viewed(file: BinaryIO, channels: int, where: str) -> Image.Image:
    """Decode the first frame of an image file as a viewer shows it; see :func:`shown`.

    Args:
        file: the encoded image.
        channels: 1 for gray, 3 for RGB.
        where: it comes from, for messages.

    Raises:
        DataError: if it is not a whole image, or its range is unknown.

    >>> content = io.BytesIO()
    >>> Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(content, "PNG")
    >>> read_viewed(content, 1, "here").getpixel((0, 0))
    255
    """
    try:
        with Image.open(file) as image:
            image.load()
            return shown(image, channels)
    except DataError as error:
        raise DataError(f"{error}, in {where}") from error
    except UnidentifiedImageError as error:  # its message holds an address in memory
        size = file.seek(0, io.SEEK_END)
        raise DataError(
            f"expected an encoded image, got {size} other bytes in {where}; remove or convert it"
        ) from error
    except DAMAGE as error:
        raise DataError(
            f"expected a whole encoded image, got a damaged one in {where}: {error}; remove or repair it"
        ) from error


def shown(image: Image.Image, channels: int) -> Image.Image:
    r"""Return an image upright, in 8 bits, in the colors of sRGB and on white, as mode ``L`` or ``RGB``.

    EXIF orientation, color profile and gamma chunk are applied; 16 bits are divided by 257.

    Args:
        image: of any mode.
        channels: 1 for gray, 3 for RGB.

    Raises:
        DataError: if it is unknown which values are black and white.

    >>> shown(Image.fromarray(np.array([[0, 257, 65535]], np.uint16)), 1).tobytes()
    b'\x00\x01\xff'
    """
    form, image = image.format, ImageOps.exif_transpose(image)
    profile, clear = image.info.get("icc_profile"), image.info.get("transparency")
    gamma = None if profile or "srgb" in image.info else image.info.get("gamma")
    alpha = None
    if image.mode.startswith(("I", "F")):
        image, alpha = _shallow(image, form, clear)
    elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or clear is not None:
        whole = image.convert("RGBA")
        alpha = whole.getchannel("A")
        image = whole.convert("RGB")
        profile = profile if _space(profile) == "RGB " else None
    elif image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    image = _srgb(image, profile)
    if gamma and abs(gamma / SCREEN - 1) > 0.01:
        level = [round(255 * (value / 255) ** (SCREEN / gamma)) for value in range(256)]
        image = image.point(level * len(image.getbands()))
    if alpha is not None:
        white = Image.new(image.mode, image.size, "white")
        white.paste(image, mask=alpha)
        image = white
    return image.convert("L" if channels == 1 else "RGB")


def _shallow(image: Image.Image, form: str | None, clear: object) -> tuple[Image.Image, Image.Image | None]:
    """Scale deep gray to 8 bits; return it and what is opaque, if not all is."""
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and form in ("PNG", "PPM"))
    if not sixteen:
        raise DataError(
            f"expected pixels of a known range, got {'floats' if image.mode == 'F' else '32-bit integers'}; save the "
            "image in 8 or 16 bits"
        )
    deep = np.asarray(image).astype(np.float64)
    opaque = Image.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8)) if isinstance(clear, int) else None
    return Image.fromarray((deep / 257).round().clip(0, 255).astype(np.uint8)), opaque


def _space(profile: object) -> str | None:
    """Return which kind of colors a profile is of; None where it cannot be told."""
    return profile[16:20].decode("latin-1") if isinstance(profile, bytes) and len(profile) >= 128 else None


def _srgb(image: Image.Image, profile: object) -> Image.Image:
    """Convert to sRGB; a profile that cannot be read or is of other colors than the image is ignored."""
    fits = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}.get(_space(profile) or "") == image.mode
    if isinstance(profile, bytes) and fits:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            found = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return image if found is None or _only_rounds(image, found) else found
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    if image.mode == "LAB":
        lab, screen = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, screen, outputMode="RGB") or image
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _only_rounds(image: Image.Image, converted: Image.Image) -> bool:
    """Tell whether a conversion changed nothing but the rounding, as one from sRGB to sRGB does."""
    if image.mode not in ("L", "RGB"):
        return False
    moved = ImageChops.difference(image.convert("RGB"), converted).getextrema()
    return all(most <= 1 for _, most in moved)  # type: ignore[misc] # three bands have three pairs
