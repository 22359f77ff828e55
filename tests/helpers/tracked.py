"""Detections of made-up videos."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from torpor.core.objects import Frames, Objects


def detections(boxes: torch.Tensor, scores: torch.Tensor) -> Objects:
    return Objects(boxes, torch.zeros(len(boxes), dtype=torch.int64), scores)


def nothing() -> Objects:
    return detections(torch.zeros(0, 4), torch.zeros(0))


@st.composite
def videos(draw: st.DrawFn, cap: int = 6) -> Frames:
    """Draw detections that mostly stay where they are, come and go, and are of any score; ``cap`` per frame at most."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    here, crowd = draw(st.sampled_from([0.2, 0.6, 1.0])), draw(st.sampled_from([8.0, 60.0]))
    place = torch.rand(cap, 2, generator=rng) * crowd
    frames = []
    for _ in range(draw(st.integers(1, 14))):
        place = place + torch.randn(cap, 2, generator=rng) * 0.5
        jump = torch.rand(cap, generator=rng) < 0.1
        place[jump] = torch.rand(int(jump.sum()), 2, generator=rng) * crowd
        seen = torch.rand(cap, generator=rng) < here
        scores = torch.rand(int(seen.sum()), generator=rng).sqrt().sort(descending=True).values
        frames.append(detections(torch.cat([place, place + 8], 1)[seen], scores))
    return tuple(frames)
