"""The study's detector: a support vector machine on features of a frozen network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torpor.core.batches import Samples
from torpor.core.paper import Paper
from torpor.core.space import DenseSpace, VideoSpace
from torpor.defenses.detector import Detector, in_chunks
from torpor.defenses.models import Tensors, fit_rbf, rbf
from torpor.targets.base import Target
from torpor.targets.steps import TextTarget

PAPER = Paper(
    "SoK: Efficiency Robustness of Dynamic Deep Learning Systems",
    "Rathnasuriya et al.",
    "USENIX Security",
    2025,
    "arXiv:2506.10831",
)
SIDE = 8
"""Pictures, or sounds, that no known network sees are pooled to this many values per side."""


@dataclass(frozen=True)
class SVM(Detector):
    """Flag inputs by an RBF machine on the features of a frozen network, as the study does.

    The study's features are those of a ResNet50 trained on ImageNet. Here they are those of the target's own network,
    which attacks bend most, so this should do better than the study's: see :func:`backbone_features`.
    """

    id: ClassVar[str] = "svm"
    paper: ClassVar[Paper | None] = PAPER

    def learn(self, target: Target, clean: Samples, attacked: Samples, seed: int) -> Tensors:
        """See :meth:`Detector.learn`."""

        def features(inputs: Samples) -> Tensor:
            return in_chunks(lambda part: backbone_features(target, part), inputs)

        return fit_rbf(features(clean), features(attacked), seed)

    def suspicion(self, target: Target, inputs: Samples, model: Tensors) -> Tensor:
        """See :meth:`Detector.suspicion`."""
        return rbf(model, backbone_features(target, inputs))


def backbone_features(target: Target, inputs: Samples) -> Tensor:
    """Return what a target's network sees in each input, or in each frame of each video, ``[B, F]``; differentiable.

    - early exit: the mean of each channel of the last feature map;
    - captioner, speech: the mean of the encoder's features over positions;
    - detector with a ``pyramid``: the mean of each channel of each feature map;
    - text: the mean of the target's input embeddings over tokens;
    - anything else: the input itself, pooled to 8 values per side.

    Args:
        target: any target; what a defense around it changes is not seen.
        inputs: valid inputs.
    """
    if isinstance(target, TextTarget):
        matrix = target.embedding_matrix()
        rows = [matrix[list(target.space.codec.encode(text))] for text in inputs]
        return torch.stack([row.sum(0) / max(1, len(row)) for row in rows])
    assert isinstance(target.space, DenseSpace)
    if isinstance(target.space, VideoSpace):
        return backbone_features(target.detector, inputs.flatten(0, 1))  # type: ignore[attr-defined]
    return _of_network(target, inputs.to(target.device))


def _of_network(target: Any, inputs: Tensor) -> Tensor:  # noqa: ANN401 - whatever has a network
    blocks: list[tuple[nn.Module, nn.Module]] = getattr(target, "blocks", [])
    features = inputs
    for stage, _ in blocks[:-1]:  # the last stage may end in logits
        features = stage(features)
        if features.ndim != 4:
            features = features.flatten(1)
    if blocks:
        return features.mean((2, 3)) if features.ndim == 4 else features
    network = getattr(target, "network", None)
    if hasattr(network, "encode"):
        return network.encode(inputs).mean(1)  # type: ignore[union-attr, no-any-return]
    if hasattr(network, "pyramid"):
        return torch.cat([each.mean((2, 3)) for each in network.pyramid(inputs)], 1)  # type: ignore[union-attr]
    if hasattr(target, "model"):
        given = {name: value.to(target.model.dtype) for name, value in target.reader(inputs).items()}
        return target.model.get_encoder()(**given, return_dict=True).last_hidden_state.mean(1)  # type: ignore[no-any-return]
    return pooled(inputs)


def pooled(inputs: Tensor) -> Tensor:
    """Return pictures, spectra or sounds pooled to :data:`SIDE` values per side, ``[B, F]``.

    >>> pooled(torch.zeros(2, 3, 32, 16)).shape, pooled(torch.zeros(2, 100)).shape
    (torch.Size([2, 192]), torch.Size([2, 8]))
    """
    if inputs.ndim == 2:
        return F.adaptive_avg_pool1d(inputs, SIDE)
    return F.adaptive_avg_pool2d(inputs, SIDE).flatten(1)
