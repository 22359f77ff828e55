from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from spoken import wav

from torpor.core.errors import DataError, UsageError
from torpor.core.space import ImageSpace, WaveSpace
from torpor.data.images import GRAY
from torpor.data.own import ImageFiles, own_inputs
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.toy_boxes import LampTarget


def save(path: Path, height: int, width: int, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_images_of_a_folder_come_by_name_and_without_references(tmp_path: Path) -> None:
    second, first = save(tmp_path / "b.PNG", 6, 8), save(tmp_path / "a.bmp", 6, 8, seed=1)
    (tmp_path / "notes.txt").write_text("no image")
    batch = own_inputs(tmp_path, ImageSpace((3, 6, 8))).load("test")
    assert batch.inputs.permute(0, 2, 3, 1).equal(torch.from_numpy(np.stack([first, second])))
    assert batch.references == ()


def test_other_sizes_are_scaled_and_colors_dropped(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 50, 20)
    assert ImageFiles(tmp_path / "a.png", (1, 6, 8)).load("test").inputs.shape == (1, 1, 6, 8)
    assert ImageFiles(tmp_path / "a.png", (3, 6, 8)).load("test").inputs.shape == (1, 3, 6, 8)


def test_proportions_are_kept_in_a_gray_letterbox(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "a.png")
    (image,) = own_inputs(tmp_path, ImageSpace((3, 8, 8)), letterbox=True).load("test").inputs
    assert (image[:, [0, 1, 6, 7]] == GRAY).all()
    assert (image[:, 2:6] == torch.tensor([255, 0, 0])[:, None, None]).all()
    (stretched,) = own_inputs(tmp_path, ImageSpace((3, 8, 8))).load("test").inputs
    assert (stretched == torch.tensor([255, 0, 0])[:, None, None]).all()


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 5, 5)
    data = ImageFiles(tmp_path, (1, 5, 5))
    before = data.fingerprint()
    save(tmp_path / "b.png", 5, 5)
    assert data.fingerprint() != before


def test_sounds_are_cut_or_followed_by_silence(tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(wav(np.arange(1, 9)))
    (tmp_path / "short.WAV").write_bytes(wav(np.array([-32768, 32767])))
    data = own_inputs(tmp_path, WaveSpace((5,), rate=8000))
    batch = data.load("test")
    assert batch.inputs.dtype == torch.int16
    assert batch.inputs.tolist() == [[1, 2, 3, 4, 5], [-32768, 32767, 0, 0, 0]]
    assert batch.references == ()
    assert batch.cut == (3, 0)
    assert own_inputs(tmp_path / "long.wav", WaveSpace((50,), rate=16_000)).load("test").inputs.count_nonzero() > 12
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match=r"expected a WAV file, got 8 other bytes in .*a\.wav"):
        data.load("test")


def test_texts_are_read_for_targets_of_texts(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one\ntwo\n")
    assert own_inputs(tmp_path / "texts.txt", ToyText().space).load("test").inputs == ("one", "two")


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_texts_without_a_letter_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    for path in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(DataError, match=r"expected texts in .*, got only blanks; write some, or"):
            own_inputs(path, ToyText().space).load("test")


def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path: Path) -> None:
    space = ImageSpace((3, 6, 8))
    with pytest.raises(UsageError, match="no such file; check --inputs"):
        own_inputs(tmp_path / "missing", space)
    with pytest.raises(UsageError, match="got one of points; leave it out"):
        own_inputs(tmp_path, SimpleNamespace(kind="point"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="got no such file; pass another folder"):
        own_inputs(tmp_path, space).load("test")
    with pytest.raises(DataError, match="images to audit, none to fit on"):
        own_inputs(tmp_path, space).load("validation")
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(
        DataError, match=r"expected an encoded image, got 8 other bytes in .*a\.png; remove or convert it"
    ):
        own_inputs(tmp_path, space).load("test")


def test_the_old_name_of_letterbox_is_taken_with_a_warning(tmp_path: Path) -> None:
    Image.new("L", (8, 2), 60).save(tmp_path / "wide.png")
    with pytest.warns(DeprecationWarning, match="bars of own_inputs is now letterbox"):
        old = own_inputs(tmp_path, ImageSpace((1, 4, 4)), bars=True)  # type: ignore[call-arg]
    new = own_inputs(tmp_path, ImageSpace((1, 4, 4)), letterbox=True)
    assert torch.equal(old.load("test").inputs, new.load("test").inputs)
    with pytest.warns(DeprecationWarning, match="LampTarget.bars is now LampTarget.letterbox"):
        assert LampTarget().bars
