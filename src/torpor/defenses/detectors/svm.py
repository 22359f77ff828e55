"""The study's detector: a support vector machine on features of a frozen network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.threat import Paper
from torpor.defenses.detectors.base import Detector, in_chunks
from torpor.defenses.detectors.models import Tensors, fit_rbf, rbf
from torpor.targets.base import Target
from torpor.targets.pooled import pooled

PAPER = Paper(
    "SoK: Efficiency Robustness of Dynamic Deep Learning Systems",
    "Rathnasuriya et al.",
    "USENIX Security",
    2025,
    "arXiv:2506.10831",
)


@dataclass(frozen=True)
class SVM(Detector):
    """Flag inputs by an RBF SVM on the features of a frozen network, as the study does.

    The study's features are those of a ResNet50 trained on ImageNet. Here they are those of the target's own network,
    which attacks bend most, so this should do better than the study's: see
    :class:`~torpor.targets.capabilities.Featured`.
    """

    id: ClassVar[str] = "svm"
    paper: ClassVar[Paper | None] = PAPER

    @override
    def learn(self, target: Target, clean: Samples, attacked: Samples, seed: int) -> Tensors:
        def features(inputs: Samples) -> Tensor:
            return in_chunks(lambda part: backbone_features(target, part), inputs)

        return fit_rbf(features(clean), features(attacked), seed)

    @override
    def row_scores(self, target: Target, inputs: Samples, model: Tensors) -> Tensor:
        return rbf(model, backbone_features(target, inputs))


def backbone_features(target: Any, inputs: Samples) -> Tensor:  # noqa: ANN401 - perhaps with features
    """Return what a target's network sees in each input, or in each frame of each video, ``[R, F]``; differentiable.

    Args:
        target: any target; what a defense around it changes is not seen.
        inputs: valid inputs; pooled to 8 values per side where the target does not offer features.

    Raises:
        UsageError: if it does not, and inputs are not images, videos or sounds.
    """
    if target.offers("features"):
        found: Tensor = target.features(inputs)
        return found
    if not isinstance(inputs, Tensor):
        raise UsageError(f"expected {target.name} to tell what it sees in a text, got nothing; write its features()")
    return pooled(inputs.to(target.device))
