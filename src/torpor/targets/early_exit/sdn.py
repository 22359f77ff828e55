"""Turn a plain classifier into a Shallow-Deep Network: cut it into stages and give every cut an internal classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.split_module import split_module
from torch.nn import functional as F

from torpor.core.errors import UsageError


class MixPool(nn.Module):
    """Blend max and average pooling with one learned weight: ``a * max + (1 - a) * avg``.

    Feature maps ``[B, C, H, W]`` shrink to ``[B, C, size, size]``. Paper: Kaya, Hong and Dumitras, "Shallow-Deep
    Networks: Understanding and Mitigating Network Overthinking", ICML 2019.

    >>> MixPool(2)(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 3, 2, 2])
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, features: Tensor) -> Tensor:
        """Return ``[B, C, size, size]``."""
        peak = F.adaptive_max_pool2d(features, self.size)
        mean = F.adaptive_avg_pool2d(features, self.size)
        return self.weight * peak + (1 - self.weight) * mean


class InternalClassifier(nn.Module):
    """Mix-pool a feature map to at most 4 x 4 and classify it with one linear layer.

    >>> InternalClassifier(channels=8, num_classes=10, size=4)(torch.zeros(2, 8, 16, 16)).shape
    torch.Size([2, 10])
    """

    def __init__(self, channels: int, num_classes: int, size: int) -> None:
        super().__init__()
        self.pool = MixPool(size)
        self.linear = nn.Linear(channels * size * size, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``[B, num_classes]``."""
        logits: Tensor = self.linear(self.pool(features).flatten(1))
        return logits


MAX_POOLED_SIZE = 4


class ShallowDeepNetwork(nn.Module):
    """A chain of ``stages`` with one classifier in ``heads`` after each; the last head is the network's own.

    ``heads[k](stages[k](... stages[0](x)))`` are the logits of exit ``k``. ``forward`` evaluates every exit, which is
    what training and white-box attacks need; :class:`torpor.targets.EarlyExitTarget` stops early.

    >>> net = ShallowDeepNetwork([nn.Flatten(), nn.ReLU()], [nn.Linear(4, 3), nn.Linear(4, 3)])
    >>> net(torch.zeros(5, 1, 2, 2)).shape
    torch.Size([5, 2, 3])
    """

    def __init__(self, stages: Sequence[nn.Module], heads: Sequence[nn.Module]) -> None:
        super().__init__()
        if len(stages) != len(heads) or not stages:
            raise UsageError(f"expected one head per stage, got {len(stages)} stages and {len(heads)} heads; add heads")
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleList(heads)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of every exit, ``[B, K, C]``."""
        logits = []
        features = inputs
        for stage, head in zip(self.stages, self.heads, strict=True):
            features = stage(features)
            logits.append(head(features))
        return torch.stack(logits, dim=1)


class _CutTracer(fx.Tracer):
    """Trace a backbone without looking inside modules that hold no cut."""

    def __init__(self, cuts: Sequence[str]) -> None:
        super().__init__()
        self.cuts = cuts

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        holds_cut = any(cut.startswith(module_qualified_name + ".") for cut in self.cuts)
        return not holds_cut


def _split(backbone: nn.Module, cuts: Sequence[str]) -> list[nn.Module]:
    """Cut ``backbone`` after each of the named submodules into ``len(cuts) + 1`` modules of one tensor each."""
    names = dict(backbone.named_modules())
    for cut in cuts:
        if cut not in names or not cut:
            raise UsageError(f"expected the name of a submodule of the backbone, got {cut!r}; see named_modules()")
    try:
        graph = _CutTracer(cuts).trace(backbone)
    except fx.proxy.TraceError as error:
        raise UsageError(f"expected a backbone that torch.fx can trace, got: {error}; cut it by hand") from error
    order: list[str] = []
    part: dict[fx.Node, int] = {}
    for node in graph.nodes:
        part[node] = len(order)
        if node.op == "call_module" and node.target in cuts and node.target not in order:
            order.append(cast(str, node.target))
    if order != list(cuts):
        raise UsageError(
            f"expected cuts in the order in which the backbone runs them ({order}), got {list(cuts)}; reorder"
        )
    module = fx.GraphModule(backbone, graph)
    # torch ships no annotations for its fx passes
    split = cast(Any, split_module)(module, backbone, lambda node: part[node])
    stages: list[nn.Module] = []
    for index in range(len(cuts) + 1):
        if not hasattr(split, f"submod_{index}"):
            raise UsageError(f"expected computation after each cut, got none in part {index}; leave that cut out")
        stage = cast(fx.GraphModule, split.get_submodule(f"submod_{index}"))
        wires = sum(node.op == "placeholder" for node in stage.graph.nodes)
        if wires != 1:
            raise UsageError(
                f"expected one tensor across each cut, got {wires} into part {index}; cut after a block, not inside it"
            )
        stages.append(stage)
    return stages


def build_sdn(
    backbone: nn.Module, cuts: Sequence[str], *, num_classes: int, input_shape: tuple[int, int, int]
) -> ShallowDeepNetwork:
    """Attach an internal classifier after each submodule in ``cuts`` to any traceable classifier.

    Args:
        backbone: maps images ``[B, C, H, W]`` to logits ``[B, num_classes]``; its parameters are shared, not copied.
        cuts: dotted names of submodules, in the order in which they run; each must carry all later computation.
        num_classes: classes of the task.
        input_shape: ``(C, H, W)`` of one image.

    Returns:
        A network with ``len(cuts) + 1`` exits, in the backbone's training mode.

    Raises:
        UsageError: if a cut is unknown, out of order, or not the only tensor that later computation needs.

    >>> body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    >>> build_sdn(body, ["1"], num_classes=10, input_shape=(1, 8, 8))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 2, 10])
    """
    stages = _split(backbone, cuts)
    was_training = backbone.training
    heads: list[nn.Module] = []
    device = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
    features = torch.zeros(1, *input_shape, device=device)
    with torch.no_grad():
        for stage, cut in zip(stages, cuts, strict=False):
            features = stage.eval()(features)
            if features.ndim != 4:
                raise UsageError(
                    f"expected a feature map [B, C, H, W] after {cut!r}, got shape {tuple(features.shape)}"
                )
            size = min(MAX_POOLED_SIZE, features.shape[-1], features.shape[-2])
            heads.append(InternalClassifier(features.shape[1], num_classes, size).to(device))
    heads.append(nn.Identity())
    return ShallowDeepNetwork(stages, heads).train(was_training)
