"""Controls treat each frame of a video as they treat an image."""

from __future__ import annotations

import torch
from candidate_targets import BoxTracker, random_detector

from torpor.attacks.controls.dense import Flat, Noise, Shuffled

TARGET = BoxTracker(random_detector(), frames=3, buffer=2)
VIDEOS = TARGET.space.snap(torch.rand(2, *TARGET.space.shape, generator=torch.Generator().manual_seed(0)))


def test_flat_moves_each_frame_towards_its_own_mean_color() -> None:
    flat = Flat(eps=1.0)(TARGET, VIDEOS).candidates.inputs
    alone = Flat(eps=1.0)(TARGET.detector, VIDEOS[1]).candidates.inputs
    assert flat[1].equal(alone)
    assert torch.allclose(flat[1, 2, :, 0, 0], VIDEOS[1, 2].mean((1, 2)))


def test_noise_spends_the_budget_in_every_frame() -> None:
    change = Noise(norm="L2", eps=0.5)(TARGET, VIDEOS).candidates.inputs - VIDEOS
    lengths = torch.linalg.vector_norm(change.flatten(0, 1).flatten(1), dim=1)
    assert torch.allclose(lengths, torch.tensor(0.5), atol=1e-4)


def test_shuffling_moves_pixels_within_their_frame_and_all_frames_alike() -> None:
    pixels = torch.arange(20 * 28.0).view(20, 28).expand(2, 3, 3, 20, 28) / 1000
    numbered = pixels + torch.arange(3.0).view(1, 3, 1, 1, 1)
    mixed = Shuffled(eps=1.0, perturbation=numbered)(TARGET, VIDEOS).candidates.inputs - VIDEOS
    for frame in range(3):
        assert torch.allclose(mixed[0, frame, 0] - frame, mixed[0, 0, 0], atol=1e-5)
        assert torch.allclose(mixed[0, frame, 2].flatten().sort().values, numbered[0, frame, 2].flatten(), atol=1e-5)
    assert not torch.allclose(mixed[0, 0, 0], pixels[0, 0, 0], atol=1e-2)
