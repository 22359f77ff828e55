"""Audit a multi-exit network of your own. In this folder, run: ``torpor audit own_early_exit:build --limit 64``.

torpor needs two things of your network: ``stages`` and ``heads``, where ``heads[k](stages[k](... stages[0](images)))``
are the logits of exit ``k`` (the protocol :class:`torpor.targets.EarlyExitModule`). Pixels are in [0, 1]: if your
network wants them standardized, let its first stage do so. The rest of this file is data and training.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.data.tensors import TensorImages
from torpor.targets import Confidence, EarlyExitTarget, choose_threshold, threshold_table

CHANNELS = (1, 4, 16, 32)
SPLITS = {"train": slice(0, 1200), "validation": slice(1200, 1500), "test": slice(1500, None)}


class OwnNetwork(nn.Module):
    """Three convolutions on 8 x 8 digits, with a linear classifier after each."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(pairwise(CHANNELS))
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU()) for a, b in pairs)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * b, 10)) for _, b in pairs
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits of every exit; torpor never calls this, training does."""
        features, logits = images, []
        for stage, head in zip(self.stages, self.heads, strict=True):
            features = stage(features)
            logits.append(head(features))
        return logits


def images() -> TensorImages:
    """Return scikit-learn's digits as 8-bit images, in three disjoint splits."""
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    bytes_ = (torch.tensor(pixels).view(-1, 1, 8, 8) * (255 / 16)).round().to(torch.uint8)[order]
    classes = torch.tensor(labels, dtype=torch.int64)[order]
    return TensorImages({name: (bytes_[part], classes[part]) for name, part in SPLITS.items()}, name="digits 8x8")


def train(data: TensorImages, epochs: int = 20, seed: int = 0) -> OwnNetwork:
    """Train all exits at once; the same seed gives the same network."""
    batch = data.load("train")
    inputs, labels = batch.inputs.to(torch.float32) / 255, batch.references
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OwnNetwork()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(epochs):
            for rows in torch.randperm(len(inputs)).split(50):
                optimizer.zero_grad()
                torch.stack(
                    [F.cross_entropy(logits, labels[rows]) for logits in network(inputs[rows])]
                ).sum().backward()
                optimizer.step()
    return network.eval()


def build() -> EarlyExitTarget:
    """Return the trained network as a target whose exits keep at least 98 % of its accuracy on validation data."""
    data = images()
    network = train(data)
    known = data.load("validation")
    with torch.no_grad():
        logits = torch.stack(network(known.inputs.to(torch.float32) / 255), dim=1)
    target = EarlyExitTarget(
        network, Confidence(0.9), input_shape=(1, 8, 8), name="own-early-exit", data=lambda folder: data
    )
    accuracy = (logits[:, -1].argmax(-1) == known.references).to(torch.float64).mean().item()
    table = threshold_table(logits, known.references, target.exit_costs)
    target.rule = Confidence(choose_threshold(table, accuracy, max_drop=0.02).threshold)
    return target
