"""What models read: tokens, pixels and spectra, as transformers prepares them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from generation_models import SIDE, SOUND, TEXTS, examples, hub, loaded, sentences, tokenizer
from hypothesis import given
from hypothesis import strategies as st

from torpor.core.errors import UsageError
from torpor.core.space import ImageSpace, WaveSpace
from torpor.core.text import TextSpace
from torpor.targets.decoder.generation.codec import HuggingFaceCodec
from torpor.targets.decoder.generation.readers import ImageReader, LogMelReader, TextReader


def test_log_mel_spectra_equal_the_feature_extractors() -> None:
    hf = hub()

    waves = examples("whisper", 3)
    waves[2, 5000:] = 0  # silence after a short sound
    for extractor in (
        hf.WhisperFeatureExtractor(feature_size=16, chunk_length=1),
        hf.WhisperFeatureExtractor(chunk_length=1),
    ):
        reader = LogMelReader(extractor, 100)
        assert reader.space == WaveSpace((SOUND,), rate=16_000)
        wanted = extractor(list(waves.numpy()), sampling_rate=16_000, return_tensors="pt").input_features
        assert torch.equal(reader(waves)["input_features"], wanted)


def test_log_mel_spectra_are_differentiable() -> None:
    hf = hub()

    reader = LogMelReader(hf.WhisperFeatureExtractor(feature_size=16, chunk_length=1), 100)
    waves = examples("whisper", 1).double().requires_grad_()
    direction = torch.randn(waves.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def total(inputs: torch.Tensor) -> torch.Tensor:
        return reader(inputs)["input_features"].square().sum()

    (gradient,) = torch.autograd.grad(total(waves), waves)
    with torch.no_grad():
        slope = (total(waves + 1e-6 * direction) - total(waves - 1e-6 * direction)) / 2e-6
    assert torch.allclose((gradient * direction).sum(), slope, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"do_normalize": False}, {"do_rescale": False}, {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}],
)
def test_pixels_equal_the_image_processors(options: dict[str, object]) -> None:
    hf = hub()

    processor = hf.ViTImageProcessor(size={"height": SIDE, "width": SIDE}, **options)
    reader = ImageReader(processor, 3, (SIDE, SIDE))
    assert reader.space == ImageSpace((3, SIDE, SIDE))
    images = examples("captioner", 2)
    stored = [(image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy() for image in images]
    wanted = processor(stored, return_tensors="pt", input_data_format="channels_last").pixel_values
    assert torch.allclose(
        reader(images)["pixel_values"], torch.as_tensor(np.asarray(wanted), dtype=torch.float32), atol=1e-5
    )


def test_processors_of_other_models_are_refused() -> None:
    hf = hub()

    with pytest.raises(UsageError, match="gives 16 x 16 pixels, got 20 x 20"):
        ImageReader(hf.ViTImageProcessor(size={"height": 20, "width": 20}), 3, (16, 16))
    cropping = SimpleNamespace(do_center_crop=True, crop_size=20, size={"shortest_edge": 16})
    with pytest.raises(UsageError, match="gives 16 x 16 pixels, got 20 x 20"):
        ImageReader(cropping, 3, (16, 16))
    with pytest.raises(UsageError, match="gives 200 frames, got 100"):
        LogMelReader(hf.WhisperFeatureExtractor(chunk_length=1), 200)
    with pytest.raises(UsageError, match="without dither"):
        LogMelReader(hf.WhisperFeatureExtractor(chunk_length=1, dither=0.1), 100)


@pytest.mark.parametrize("kind", TEXTS)
def test_spaces_of_texts(kind: str) -> None:
    space = loaded(kind).space
    assert isinstance(space, TextSpace)
    assert space.max_tokens == 63
    assert space.codec.special == {0, 1, 2, 3}
    assert set(space.codec.special_texts) == {"<pad>", "<s>", "</s>", "<unk>"}
    assert space.codec.size == 280


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_texts_survive_the_codec(text: str) -> None:
    codec = HuggingFaceCodec(tokenizer(ends=True))
    if not any(special in text for special in codec.special_texts):
        assert codec.decode(codec.encode(text)) == text
        assert not codec.special & set(codec.encode(text))


def test_special_tokens_are_around_texts_and_not_in_them() -> None:
    for ends in (False, True):
        codec = HuggingFaceCodec(tokenizer(ends=ends))
        ids, own = codec.wrapped("the dog")
        assert tuple(token for token, mine in zip(ids, own, strict=True) if mine) == codec.encode("the dog")
        assert ids[-1 if ends else 0] == (2 if ends else 1)
        assert codec.overhead == 1
        assert codec.decode([1, *codec.encode(" the dog"), 2, 0]) == " the dog"


def test_padding_goes_to_the_side_of_the_model() -> None:
    texts = sentences(3)
    codec = HuggingFaceCodec(tokenizer(ends=False))
    for left in (True, False):
        reader = TextReader(codec, left=left)
        rows = reader.rows(texts)
        ids, mask = reader.pad(rows)
        for row, padded, kept in zip(rows, ids, mask, strict=True):
            assert padded[kept.bool()].tolist() == row
            assert kept[-1 if left else 0] == 1
    ids, mask = TextReader(codec, left=True).pad([[1, 5, 6], [1, 5, 7, 8, 9]], hole=2)
    assert ids.tolist() == [[1, 5, 0, 0, 6], [1, 5, 7, 8, 9]]
    assert mask.tolist() == [[1, 1, 0, 0, 1], [1, 1, 1, 1, 1]]
