from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from torpor.core.errors import DataError
from torpor.core.files import require_file
from torpor.data.own import ImageFiles, SoundFiles
from torpor.data.parquet import ParquetImages
from torpor.data.viewed import read_viewed, shown
from torpor.data.waves import read_wav

RAMP = np.tile(np.arange(0, 256, 5, dtype=np.uint8), (7, 1))


def encoded(image: Image.Image, form: str = "PNG", **more: object) -> io.BytesIO:
    content = io.BytesIO()
    image.save(content, form, **more)
    content.seek(0)
    return content


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_shown_upright(orientation: int) -> None:
    upright = Image.fromarray(RAMP)
    tag = Image.Exif()
    tag[0x0112] = orientation
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = upright if turn is None else upright.transpose(Image.Transpose(turn))
    seen = read_viewed(encoded(stored, exif=tag), 1, "here")
    assert np.array_equal(np.asarray(seen), RAMP)


def test_sixteen_bits_are_scaled() -> None:
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    for form in ("PNG", "TIFF"):
        assert np.array_equal(np.asarray(read_viewed(encoded(deep, form), 1, "here")), RAMP)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_of_an_unknown_range_are_refused(dtype: type) -> None:
    with pytest.raises(DataError, match="expected pixels of a known range"):
        read_viewed(encoded(Image.fromarray(RAMP.astype(dtype)), "TIFF"), 1, "here")


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_what_is_transparent_is_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    assert shown(image.convert(mode), 1).tobytes() == b"\xff\x00"


def test_a_transparent_color_of_a_palette_and_of_deep_gray_is_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.putpixel((1, 0), 1)
    assert read_viewed(encoded(palette, transparency=0), 1, "here").tobytes() == b"\xff\x09"
    deep = shown(Image.fromarray(np.array([[0, 2570]], np.uint16)), 1)
    assert deep.tobytes() == b"\x00\x0a"


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB", "RGBA", "LA"])
def test_every_mode_becomes_gray_and_color(mode: str) -> None:
    image = Image.new(mode, (3, 2))
    assert (shown(image, 1).mode, shown(image, 3).mode) == ("L", "RGB")


def test_profiles_are_converted_and_damaged_ones_ignored() -> None:
    image = Image.new("RGB", (2, 2), (200, 50, 50))
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (own, b"no profile", own[:200]):
        assert read_viewed(encoded(image, icc_profile=profile), 3, "here").getpixel((0, 0)) == (200, 50, 50)


def test_profiles_decide_by_what_they_hold_and_not_by_their_name() -> None:
    """A profile of sRGB with red and green exchanged, which is still called sRGB, exchanges them."""
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = plain.replace(b"rXYZ", b"tmp?").replace(b"gXYZ", b"rXYZ").replace(b"tmp?", b"gXYZ")
    assert swapped != plain
    image = Image.new("RGB", (2, 2), (200, 50, 60))
    seen = np.asarray(read_viewed(encoded(image, icc_profile=swapped), 3, "here"))[0, 0]
    assert np.abs(seen.astype(int) - (50, 200, 60)).max() <= 2


def test_sixteen_bits_of_a_gray_map_are_scaled() -> None:
    content = io.BytesIO(b"P5 3 1 65535\n" + np.array([0, 257, 65535], ">u2").tobytes())
    assert read_viewed(content, 1, "here").tobytes() == b"\x00\x01\xff"


def test_a_gamma_chunk_is_applied() -> None:
    more = PngImagePlugin.PngInfo()
    more.add(b"gAMA", (100_000).to_bytes(4, "big"))  # linear light
    seen = read_viewed(encoded(Image.new("L", (1, 1), 64), pnginfo=more), 1, "here")
    assert seen.tobytes()[0] == round(255 * (64 / 255) ** (1 / 2.2))


def test_own_files_are_read_upright(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(RAMP).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=tag)
    (seen, _), *_ = ImageFiles(tmp_path, (1, *RAMP.shape)).samples("test")
    assert np.array_equal(seen[0].numpy(), RAMP)


def test_special_files_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    (tmp_path / "b.wav").symlink_to(tmp_path / "nowhere")
    for path, what in ((tmp_path / "a.wav", "a FIFO"), (tmp_path / "b.wav", "a link to nothing"), (tmp_path, "a fold")):
        with pytest.raises(DataError, match=f"expected a regular file at .*, got {what}"):
            require_file(path)
    with pytest.raises(DataError, match="got a FIFO"):
        SoundFiles(tmp_path, 8, 8000).load("test")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    content = {"bytes": encoded(Image.new("L", (4, 4))).getvalue(), "path": None}
    table = pa.Table.from_arrays([pa.array([content]), pa.array([1]), pa.array([1])], names=["img", "label", "label"])
    pq.write_table(table, tmp_path / "test.parquet")
    with pytest.raises(DataError, match="expected one column label, got 2 in"):
        ParquetImages(tmp_path, (1, 4, 4)).load("test")


@pytest.mark.parametrize("rate", [0, 2**32 - 1])
def test_absurd_rates_are_refused(rate: int) -> None:
    header = b"RIFF" + (52).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += b"\1\0\1\0" + rate.to_bytes(4, "little") + bytes(4) + b"\2\0\x10\0data" + (16).to_bytes(4, "little")
    with pytest.raises(DataError, match=r"expected 1,000 to 384,000 samples per second, got"):
        read_wav(header + bytes(16), 8000, "here")
