"""Put expensive inputs together that are expensive for the same reason and look alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from torpor.audits.mining.ranking import ExpensiveInput
from torpor.core.batches import Samples
from torpor.core.conversation import shown_turn

SHINGLE = 4
"""Characters of a shingle."""
NEAR = 0.7
"""Mean distance up to which clusters are joined; 0 is alike, 1 has nothing in common."""
APART = 10.0
"""Distance of inputs that are expensive for different reasons."""
SIDE = 8
"""Width and height of the thumbnail that an image is compared by; sounds are compared by as many bands and times."""


@dataclass(frozen=True)
class InputCluster:
    """Expensive inputs that belong together.

    Attributes:
        number: from 1, in the order of their costliest inputs.
        size: how many of the listed inputs are in it.
        occurrences: how often these occur.
        unit: that makes them expensive.
        cost_mean: of one of them.
        example: place of the costliest.
    """

    number: int
    size: int
    occurrences: int
    unit: str
    cost_mean: float
    example: str


def clustered(
    found: Sequence[ExpensiveInput], stored: Samples | None
) -> tuple[list[ExpensiveInput], list[InputCluster]]:
    """Return inputs with the numbers of their clusters, and the clusters.

    Texts are as far apart as they have few shingles in common (1 minus the Jaccard index), images and sounds as
    little as they correlate from afar. Clusters are joined while their mean distance is at most :data:`NEAR`.

    Args:
        found: the costliest inputs, costliest first.
        stored: the same as files hold them; None where there is nothing but counts, which then are compared.
    """
    distance = _distances(found, stored)
    units = np.array([each.unit for each in found])
    distance[units[:, None] != units[None]] = APART
    labels = np.zeros(len(found), dtype=np.int64)
    if len(found) > 1:
        from sklearn.cluster import AgglomerativeClustering

        joining = AgglomerativeClustering(None, metric="precomputed", linkage="average", distance_threshold=NEAR)
        labels = joining.fit_predict(distance)
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels.tolist()), 1)}
    marked = [replace(each, cluster=numbers[label]) for each, label in zip(found, labels.tolist(), strict=True)]
    return marked, [
        _cluster(number, [each for each in marked if each.cluster == number]) for number in numbers.values()
    ]


def _cluster(number: int, held: Sequence[ExpensiveInput]) -> InputCluster:
    return InputCluster(
        number,
        len(held),
        sum(each.times for each in held),
        held[0].unit,
        float(np.mean([each.cost for each in held])),
        held[0].place,
    )


def _distances(found: Sequence[ExpensiveInput], stored: Samples | None) -> NDArray[np.float64]:
    if stored is None:  # counts: a factor of two is near
        sizes = np.log2(1 + np.array([each.counts for each in found], dtype=np.float64))
        return np.asarray(np.abs(sizes[:, None] - sizes[None]).max(-1) * NEAR, dtype=np.float64)
    if isinstance(stored, Tensor):
        vectors = coarse(stored)
        return np.asarray(1 - (vectors @ vectors.T).clamp(0, 1).numpy(), dtype=np.float64)
    parts = [shingles(shown_turn(text)) for text in stored]
    return np.array([[1 - jaccard(one, other) for other in parts] for one in parts])


def shingles(text: str) -> frozenset[str]:
    """Return all pieces of :data:`SHINGLE` characters of a text, in small letters, its digits made equal.

    >>> sorted(shingles("No 42!"))
    [' 00!', 'no 0', 'o 00']
    """
    plain = "".join("0" if character.isdigit() else character for character in text.lower())
    return frozenset(plain[at : at + SHINGLE] for at in range(max(1, len(plain) - SHINGLE + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the share of the pieces of either that both have."""
    return len(one & other) / max(1, len(one | other))


def coarse(stored: Tensor) -> Tensor:
    """Return what images ``[B, C, H, W]`` or sounds ``[B, T]`` look like from afar, as unit vectors ``[B, V]``.

    >>> coarse(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).shape
    torch.Size([2, 64])
    """
    values = stored.to(torch.float64)
    if values.ndim == 2:
        size = max(16, min(512, values.shape[1] // SIDE))
        spectrum = torch.stft(values, size, window=torch.hann_window(size, dtype=torch.float64), return_complex=True)
        values = spectrum.abs().log1p().unsqueeze(1)
    small = F.adaptive_avg_pool2d(values.mean(1, keepdim=True), SIDE).flatten(1)
    small = small - small.mean(1, keepdim=True)
    same = small.norm(dim=1, keepdim=True) == 0  # images of one color are alike
    return F.normalize(torch.where(same, torch.ones_like(small), small), dim=1)
