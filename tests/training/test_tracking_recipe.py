from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from torpor.core.errors import UsageError
from torpor.data.object_scenes import ObjectScenes
from torpor.data.object_videos import LENGTH, ObjectVideos
from torpor.training.detection import DetectionRecipe, DetectorTrainer
from torpor.training.tracking import TrackerTrainer
from torpor.zoo.detection.network import PyramidDetector
from torpor.zoo.detection.registry import DetectorEntry
from torpor.zoo.tracking.registry import TrackerEntry

RECIPE = DetectionRecipe(epochs=1, batch_size=2, autocast=False)


class TinyDetector(DetectorEntry):
    def build(self) -> PyramidDetector:
        return PyramidDetector(20, (16, 16, 16, 16, 16), 16)

    def data(self, folder: Path | None) -> ObjectScenes:
        return ObjectScenes(train=4, held_out=2)


class TinyTracker(TrackerEntry):
    def data(self, folder: Path | None) -> ObjectVideos:
        return ObjectVideos(held_out=2)


DETECTOR = DetectorTrainer(TinyDetector("tiny-detector"), RECIPE)
ENTRY = TinyTracker("tiny-tracker", DETECTOR.entry)
TRACKER = TrackerTrainer(ENTRY, RECIPE)


def test_the_tracker_trains_its_classifier_and_takes_the_detector_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORPOR_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="expected trained weights of tiny-detector, got none"):
        TRACKER.train(None, tmp_path)
    DETECTOR.train(None, tmp_path)
    card = json.loads(TRACKER.train(None, tmp_path).read_text())
    assert card == ENTRY.card(tmp_path)
    assert card["test"]["samples"] == card["validation"]["samples"] == 2
    assert card["test"]["MOTA"] <= 1
    assert 0 <= card["test"]["IDF1"] <= 1
    target = ENTRY.load(tmp_path)
    assert target.frames == LENGTH
    assert [unit.name for unit in target.units][:4] == ["backbone", "candidate", "nms_pair", "object"]
    video = torch.rand(1, *target.space.shape)
    assert (target.run(video).work.counts <= target.max_work(video).counts).all()
