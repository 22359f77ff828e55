from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupted_training import InterruptionError, stop_after
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.data.images import to_unit
from torpor.data.scenes import WORDS, Scenes
from torpor.data.sets import Batch
from torpor.training.captioning import CaptionRecipe, CaptionTrainer, losses, to_ids, train_captioner
from torpor.training.image_recipe import with_noise
from torpor.training.loop import silent
from torpor.zoo.captioning.captioner import Captioner
from torpor.zoo.captioning.registry import CaptionEntry
from torpor.zoo.captioning.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of(WORDS)
RECIPE = CaptionRecipe(epochs=3, batch_size=2, autocast=False, seed=7)
SAMPLES = 21  # 10 steps an epoch; the last sample of each order is left out


def tiny(vocabulary: Vocabulary) -> Captioner:
    encoder = nn.Sequential(nn.Conv2d(3, 4, 5, 8, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2))
    return Captioner(encoder, "lstm", vocabulary, width=4, positions=16, hidden=8, attention=6, embedding=5)


def entry() -> CaptionEntry:
    return CaptionEntry("tiny", tiny, lambda: Scenes(train=SAMPLES, held_out=6))


@pytest.fixture(scope="module")
def data() -> Batch:
    scenes = (Scenes().image("train", index) for index in range(1000))
    short = [scene for scene in scenes if len(scene[1].split()) <= 9][:SAMPLES]  # short captions are fast to train on
    images, captions = zip(*short, strict=True)
    return Batch(torch.arange(SAMPLES), torch.stack(images), captions)


def fit(data: Batch, recipe: CaptionRecipe, checkpoint: Path, stop: int | None = None) -> dict[str, Tensor]:
    progress = silent if stop is None else stop_after(stop)
    model, seconds = train_captioner(tiny, VOCABULARY, data, recipe, checkpoint, progress=progress)
    assert seconds > 0
    assert not model.training
    return model.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(value.equal(other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def whole(data: Batch, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return fit(data, RECIPE, tmp_path_factory.mktemp("whole") / "c.safetensors")


@pytest.mark.parametrize("epochs_done", [0, 1, 2])
def test_an_interrupted_training_ends_with_the_same_bits(
    data: Batch, whole: dict[str, Tensor], tmp_path: Path, epochs_done: int
) -> None:
    checkpoint = tmp_path / "folder" / "c.safetensors"
    with pytest.raises(InterruptionError):
        fit(data, RECIPE, checkpoint, 10 * epochs_done)
    assert checkpoint.is_file() is (epochs_done > 0)
    torch.manual_seed(123)  # the state of the global generator must not matter
    assert same(fit(data, RECIPE, checkpoint), whole)


def test_the_seed_matters(data: Batch, whole: dict[str, Tensor], tmp_path: Path) -> None:
    assert not same(fit(data, replace(RECIPE, seed=8), tmp_path / "c"), whole)


def test_other_checkpoints_are_ignored_and_damaged_ones_refused(
    data: Batch, whole: dict[str, Tensor], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "c.safetensors"
    fit(data, replace(RECIPE, epochs=1), checkpoint)
    assert same(fit(data, RECIPE, checkpoint), whole)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(UsageError, match=r"got a damaged file: .* delete "):
        fit(data, RECIPE, checkpoint)


def test_training_lowers_the_loss(data: Batch, tmp_path: Path) -> None:
    seen: list[float] = []
    train_captioner(
        tiny,
        VOCABULARY,
        data,
        replace(RECIPE, epochs=12, batch_size=7, learning_rate=3e-2, autocast=True),
        tmp_path / "c",
        progress=lambda done, total, loss: seen.append(loss),
    )
    assert seen[-2] < 0.8 * seen[0]


def test_noise_differs_in_strength_and_stays_within_images() -> None:
    gray = torch.full((50, 3, 8, 8), 0.5)
    noisy = with_noise(gray, 0.2, torch.Generator().manual_seed(0))
    strengths = (noisy - gray).flatten(1).std(1)
    assert strengths.max() < 0.25
    assert strengths.min() < 0.05 < 0.15 < strengths.max()
    white = with_noise(torch.ones(5, 3, 8, 8), 0.2, torch.Generator().manual_seed(0))
    assert white.max() == 1
    assert white.min() < 1
    assert with_noise(gray, 0.0, torch.Generator()).equal(gray)


def test_too_few_samples_are_refused(data: Batch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected 64 samples or more, got 21"):
        fit(data, replace(RECIPE, batch_size=64), tmp_path / "c")


@torch.no_grad()
def test_the_loss_is_that_of_each_caption_alone(data: Batch) -> None:
    torch.manual_seed(0)
    model = tiny(VOCABULARY).eval()
    images, ids = to_unit(data.inputs[:6]), to_ids(data.references[:6], VOCABULARY)
    words, attention = losses(model, images, ids, autocast=False)
    total, count, uneven = 0.0, 0, 0.0
    for image, caption in zip(images, data.references, strict=False):
        row = torch.tensor([VOCABULARY.encode(caption)])
        logits, weights = model.unroll(model.encode(image.unsqueeze(0)), row)
        total -= float(logits.log_softmax(-1).gather(-1, row.unsqueeze(-1)).sum())
        count += row.shape[1]
        uneven += float((1 - weights.sum(1)).square().mean())
    assert float(words) == pytest.approx(total / count, rel=1e-4)
    assert float(attention) == pytest.approx(uneven / 6, rel=1e-4)


def test_train_save_and_load(tmp_path: Path, data: Batch) -> None:
    path = CaptionTrainer(entry(), RECIPE).train(None, tmp_path, seed=7)
    card = json.loads(path.read_text())
    assert card == entry().card(tmp_path)
    assert card["recipe"]["seed"] == 7
    assert card["seconds"] > 0
    assert 0 <= card["test"]["exact_match"] <= 1
    train = entry().data().load("train")  # the checkpoint holds the weights in full precision
    trained, _ = train_captioner(tiny, VOCABULARY, train, RECIPE, tmp_path / "tiny.checkpoint.safetensors")
    loaded = entry().load(tmp_path).module
    assert isinstance(loaded, Captioner)
    assert loaded.vocabulary == VOCABULARY
    assert not loaded.training
    images, ids = to_unit(data.inputs[:4]), to_ids(data.references[:4], VOCABULARY)
    features = loaded.encode(images)
    assert not features.requires_grad
    expected = trained.teacher(trained.encode(images), ids)
    assert torch.allclose(loaded.teacher(features, ids), expected, atol=0.02)
    pixels = images.clone().requires_grad_()
    loaded.teacher(loaded.encode(pixels), ids).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


def test_missing_and_broken_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORPOR_CACHE", str(tmp_path / "cache"))
    assert entry().folder() == tmp_path / "cache"
    with pytest.raises(UsageError, match="expected trained weights of tiny, got none"):
        entry().load()
    (tmp_path / "tiny.json").write_text("{")
    with pytest.raises(UsageError, match="expected a model card"):
        entry().card(tmp_path)
    (tmp_path / "tiny.json").write_text("{}")
    with pytest.raises(UsageError, match="expected a vocabulary"):
        entry().load(tmp_path)
    (tmp_path / "tiny.json").write_text(json.dumps({"vocabulary": VOCABULARY.words}))
    with pytest.raises(UsageError, match="expected weights of tiny"):
        entry().load(tmp_path)
