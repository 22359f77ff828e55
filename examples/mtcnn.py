"""Audit MTCNN, a face detector in three stages.

In this folder, run ``python mtcnn_weights.py`` once, and then
``torpor audit mtcnn:build --inputs FOLDER_OF_IMAGES --attacks overload --limit 4``.

This is the detector of Zhang et al. (IEEE SPL 2016) as facenet-pytorch 2.6.0 runs it. P-Net slides over an image
pyramid; its boxes are suppressed at each scale and over all scales; R-Net looks at a crop of each box that is left,
O-Net at a crop of each that R-Net lets through. So each false alarm of a cheap network buys a run of a costlier one,
and nothing caps them. The file shows how a pipeline of several stages becomes a target: count what runs, price it,
bound it, and return the scores that decide it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torpor.core.objects import Objects, still_found
from torpor.core.signals import CandidateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.meters.flops import counting
from torpor.targets.detector.contract import CANDIDATE, PAIR, CandidateTarget
from torpor.targets.detector.nms import CANDIDATE_FLOPS, NMS, PAIR_FLOPS, suppress
from torpor.targets.weights import digest, load_weights

SIDE = 256
CELL, STRIDE = 12, 2  # what P-Net looks at, and how far apart, in pixels of a scaled image
LEAST_FACE, FACTOR = 20, 0.709  # pixels of the smallest face, and the step from one scale to the next
THRESHOLDS = (0.6, 0.7, 0.7)  # above which a box passes P-Net, R-Net, O-Net
AT_ONE_SCALE, ELSEWHERE = 0.5, 0.7  # overlaps above which a box is suppressed
CROPS = (24, 48)  # sides of what R-Net and O-Net look at
MOST = 512  # crops in one batch
SHOWN = 256  # boxes before R-Net that attacks follow
NO_CAP = 10**9


class Columns(nn.Module):
    """Flatten maps column by column, the order that the weights were trained with."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``[B, W * H * C]``."""
        return maps.permute(0, 3, 2, 1).flatten(1)


class Stage(nn.Module):
    """Layers one after the other, then the heads, which have an underscore: scores, corrections, in O-Net landmarks."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability of a face and the correction of its box, for images from 0 to 255."""
        x, heads = (images - 127.5) * 0.0078125, []
        for name, layer in self.named_children():
            if "_" in name:
                heads.append(layer(x))
            else:
                x = layer(x)
        return heads[0].softmax(1)[:, 1], heads[1]


def stages() -> nn.ModuleDict:
    """Return P-, R- and O-Net with random weights, named as in facenet-pytorch."""
    conv, act, dense = nn.Conv2d, nn.PReLU, nn.Linear

    def pool(side: int) -> nn.Module:
        return nn.MaxPool2d(side, 2, ceil_mode=True)

    p = Stage(
        {"conv1": conv(3, 10, 3), "prelu1": act(10), "pool1": pool(2)}
        | {"conv2": conv(10, 16, 3), "prelu2": act(16), "conv3": conv(16, 32, 3), "prelu3": act(32)}
        | {"conv4_1": conv(32, 2, 1), "conv4_2": conv(32, 4, 1)}
    )
    r = Stage(
        {"conv1": conv(3, 28, 3), "prelu1": act(28), "pool1": pool(3)}
        | {"conv2": conv(28, 48, 3), "prelu2": act(48), "pool2": pool(3)}
        | {"conv3": conv(48, 64, 2), "prelu3": act(64), "flat": Columns()}
        | {"dense4": dense(576, 128), "prelu4": act(128)}
        | {"dense5_1": dense(128, 2), "dense5_2": dense(128, 4)}
    )
    o = Stage(
        {"conv1": conv(3, 32, 3), "prelu1": act(32), "pool1": pool(3)}
        | {"conv2": conv(32, 64, 3), "prelu2": act(64), "pool2": pool(3)}
        | {"conv3": conv(64, 64, 3), "prelu3": act(64), "pool3": pool(2), "conv4": conv(64, 128, 2)}
        | {"prelu4": act(128), "flat": Columns(), "dense5": dense(1152, 256), "prelu5": act(256)}
        | {"dense6_1": dense(256, 2), "dense6_2": dense(256, 4), "dense6_3": dense(256, 10)}
    )
    return nn.ModuleDict({"p": p, "r": r, "o": o})


class MTCNN(CandidateTarget):
    """A cascade of three networks, images one by one.

    Units: ``pyramid``, P-Net at all scales, once per image; ``candidate``, each box above the threshold of its stage;
    ``nms_pair``, each comparison of two boxes, in all suppressions; ``r_crop`` and ``o_crop``, each crop that R-Net and
    O-Net look at.

    Args:
        networks: see :func:`stages`.
        side: height and width of images.
    """

    mechanism = "cascade"
    space: ImageSpace

    def __init__(self, networks: nn.ModuleDict, side: int = SIDE) -> None:
        self.name, self.classes, self.device, self.side = "mtcnn", ("face",), torch.device("cpu"), side
        self.space = ImageSpace((3, side, side))
        self.nms = NMS(conf=THRESHOLDS[0], iou=AT_ONE_SCALE, max_nms=NO_CAP, max_det=NO_CAP)
        self.networks = networks.eval().requires_grad_(False)
        self.scales, scale, shorter = [], CELL / LEAST_FACE, side * CELL / LEAST_FACE
        while shorter >= CELL:
            self.scales.append(scale)
            scale, shorter = scale * FACTOR, shorter * FACTOR
        calls = self._calls(torch.zeros(1, 3, side, side), 1)
        flops = []
        for call in calls.values():
            with counting() as counter:
                call()
            flops.append(counter.flops)
        self.units = (
            Unit("pyramid", flops[0], "p-net"),
            Unit(CANDIDATE, CANDIDATE_FLOPS, "nms"),
            Unit(PAIR, PAIR_FLOPS, "nms"),
            Unit("r_crop", flops[1], "r-net"),
            Unit("o_crop", flops[2], "o-net"),
        )

    @property
    def detector(self) -> MTCNN:
        """This target."""
        return self

    def _pyramid(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the boxes ``[N, 4]`` of each scale, their scores ``[B, N]`` and corrections ``[B, N, 4]``."""
        for scale in self.scales:
            small = F.interpolate(_levels(images), (int(self.side * scale + 1),) * 2, mode="area")
            scores, corrections = self.networks["p"](small)
            yield _cells(scores.shape[1:], scale).to(scores), scores.flatten(1), corrections.flatten(2).transpose(1, 2)

    def _crops(self, image: Tensor, boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Return which boxes have pixels of the image inside, and these, resized ``[K, 3, side, side]``.

        facenet-pytorch raises where a box has none; here it is dropped.
        """
        whole = boxes.detach().trunc().to(torch.int64)
        left, top = (whole[:, :2].clamp_min(1) - 1).unbind(1)
        right, bottom = whole[:, 2:].clamp_max(self.side).unbind(1)
        inside = ((right > left) & (bottom > top)).nonzero().flatten()
        pixels, sides = _levels(image[None]), torch.stack([top, bottom, left, right], 1)[inside].tolist()
        crops = [F.interpolate(pixels[..., a:b, c:d], (side, side), mode="area") for a, b, c, d in sides]
        return inside, torch.cat(crops) if crops else pixels.new_zeros(0, 3, side, side)

    @torch.no_grad()
    def _proposed(self, image: Tensor) -> tuple[Tensor, int, int]:
        """Return what R-Net is to look at in one image, the best first, with candidates and pairs so far."""
        candidates = pairs = 0
        left = []
        for boxes, scores, moves in self._pyramid(image[None]):
            over = scores[0] >= THRESHOLDS[0]
            index, compared = _suppress(boxes[over], scores[0][over], AT_ONE_SCALE)
            candidates, pairs = candidates + int(over.sum()), pairs + compared
            left.append([each[over][index] for each in (boxes, scores[0], moves[0])])
        boxes, scores, moves = map(torch.cat, zip(*left, strict=True))
        index, compared = _suppress(boxes, scores, ELSEWHERE)
        size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        return _square(boxes[index] + moves[index] * size[index]), candidates, pairs + compared

    @torch.no_grad()
    def see(self, image: Tensor) -> tuple[Objects, list[int]]:
        """Return the faces in one valid image, and how often each unit ran."""
        boxes, candidates, pairs = self._proposed(image)
        scores, looked = boxes[:, 0], []
        for net, side, threshold in zip("ro", CROPS, THRESHOLDS[1:], strict=True):
            inside, crops = self._crops(image, boxes, side)
            looked.append(len(crops))
            parts = [self.networks[net](part) for part in crops.split(MOST)]  # of none, one part
            scores, moves = map(torch.cat, zip(*parts, strict=True))
            over = scores > threshold
            boxes, scores, moves = boxes[inside][over], scores[over], moves[over]
            candidates += len(boxes)
            if net == "r":
                index, compared = _suppress(boxes, scores, ELSEWHERE)
                boxes, scores = _square(_moved(boxes, moves)[index]), scores[index]
            else:
                boxes = _moved(boxes, moves)
                index, compared = suppress_contained(boxes, scores, ELSEWHERE)
                boxes, scores = boxes[index], scores[index]
            pairs += compared
        labels = torch.zeros(len(boxes), dtype=torch.int64)
        return Objects(boxes.cpu(), labels, scores.cpu()), [1, candidates, pairs, *looked]

    def run(self, inputs: Tensor) -> Outcome:
        """Return the faces in each image, and its work."""
        outputs, work = zip(*map(self.see, self.space.check(inputs).to(self.device)), strict=True)
        return Outcome(outputs, Work(torch.tensor(work)))

    def signals(self, inputs: Tensor) -> CandidateSignals:
        """Return every box that P-Net proposes, and the best that R-Net looks at, with their scores, and the work.

        Where R-Net looks at fewer than :data:`SHOWN`, boxes of score 0 follow, so that all images have as many.
        """
        images = self.space.check(inputs)
        boxes, scores, _ = zip(*self._pyramid(images), strict=True)
        looked = [self._looked_at(image) for image in images]
        places = torch.cat([torch.cat(boxes).expand(len(images), -1, -1), torch.stack([box for box, _ in looked])], 1)
        faces = torch.cat([*scores, torch.stack([face for _, face in looked])], 1)
        return CandidateSignals(places, faces[..., None], self.run(inputs.detach()).work)

    def _looked_at(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best boxes that R-Net looks at ``[SHOWN, 4]``, and its scores ``[SHOWN]``, differentiable."""
        boxes = self._proposed(image.detach())[0][:SHOWN]
        inside, crops = self._crops(image, boxes, CROPS[0])
        scores = self.networks["r"](crops)[0]
        return F.pad(boxes[inside], (0, 0, 0, SHOWN - len(inside))), F.pad(scores, (0, SHOWN - len(inside)))

    def max_work(self, inputs: Tensor) -> Work:
        """Return the work where every cell is a candidate, and as many pass as can stay apart at their scale."""
        with torch.no_grad():
            shapes = [(scale, _shape(self.side, scale)) for scale in self.scales]
        cells = [rows * columns for _, (rows, columns) in shapes]
        apart = [_most_apart(_cells(shape, scale), shape, AT_ONE_SCALE) for scale, shape in shapes]
        left = sum(apart)
        pairs = sum(min(n * (n - 1) // 2, n * k) for n, k in zip(cells, apart, strict=True))
        most = [1, sum(cells) + 2 * left, pairs + 3 * (left * (left - 1) // 2), left, left]
        return Work(torch.tensor([most]).expand(len(inputs), -1).clone())

    def utility(self, outputs: Sequence[Objects], references: Sequence[Objects]) -> Tensor:
        """Return NaN: nobody says where the faces are."""
        return torch.full((len(outputs),), math.nan, dtype=torch.float64)

    def agreement(self, outputs: Sequence[Objects], clean: Sequence[Objects]) -> Tensor:
        """Tell for each image whether every clean face is still found."""
        return torch.tensor([bool(still_found(*pair).all()) for pair in zip(outputs, clean, strict=True)])

    def labels(self, outputs: Sequence[Objects], references: Sequence[Objects] | None) -> Sequence[Objects]:
        """Return the clean outputs."""
        return outputs

    def _calls(self, image: Tensor, count: int) -> dict[str, Callable[[], object]]:
        """Return a call of each network: P-Net at all scales, the others on ``count`` crops."""
        crops = [torch.zeros(count, 3, side, side, device=self.device) for side in CROPS]
        calls: dict[str, Callable[[], object]] = {"pyramid": torch.no_grad()(lambda: list(self._pyramid(image)))}
        calls["r_crop"] = torch.no_grad()(lambda: self.networks["r"](crops[0]))
        return calls | {"o_crop": torch.no_grad()(lambda: self.networks["o"](crops[1]))}

    def probes(self, inputs: Tensor) -> Iterator[tuple[Work, Callable[[], object]]]:
        """Yield each network alone, and suppression alone of boxes that are all apart or all the same."""
        names = [unit.name for unit in self.units]
        for count in (1, 64):
            for name, call in self._calls(inputs.to(self.device), count).items():
                if count == 1 or name != "pyramid":
                    yield Work(torch.tensor([[count * (each == name) for each in names]])), call
        for count, step in ((1000, 0.0), (1000, 2.0), (2000, 2.0)):
            boxes = torch.arange(count)[:, None] * step + torch.tensor([0.0, 0.0, 1.0, 1.0])
            boxes = boxes.to(self.device)
            scores = torch.linspace(1, 0.6, count, device=self.device)
            compared = _suppress(boxes, scores, ELSEWHERE)[1]
            yield (
                Work(torch.tensor([[0, count, compared, 0, 0]])),
                lambda boxes=boxes, scores=scores: _suppress(boxes, scores, ELSEWHERE),  # type: ignore[misc]
            )

    def to(self, device: torch.device) -> Self:
        """Move the networks and return this target."""
        self.device = torch.device(device)
        self.networks.to(device)
        return self

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; size and all weights count."""
        return digest(f"{super().fingerprint()} {self.nms} {self.side}", [self.networks])


def _levels(images: Tensor) -> Tensor:
    """Return images in [0, 1] as whole levels from 0 to 255, with the gradient passed straight through the rounding."""
    levels = images * 255
    return levels + (levels.round() - levels).detach()


def _shape(side: int, scale: float) -> tuple[int, int]:
    """Return rows and columns of P-Net's cells: three convolutions, one pool that rounds up."""
    cells = math.ceil((int(side * scale + 1) - 2) / STRIDE) - 4
    return cells, cells


def _cells(shape: Sequence[int], scale: float) -> Tensor:
    """Return the box of each cell, in pixels of the image, ``[N, 4]``."""
    rows, columns = map(torch.arange, shape)
    corner = torch.cartesian_prod(rows, columns).flip(1).to(torch.float32)
    return torch.cat([(STRIDE * corner + 1) / scale, (STRIDE * corner + CELL) / scale], 1).floor()


def _most_apart(boxes: Tensor, shape: tuple[int, int], iou: float) -> int:
    """Return how many boxes can be left at most: of four neighbors that all overlap by more than ``iou``, one."""
    numbers = torch.arange(len(boxes)).view(1, 1, *shape).float()
    even = F.pad(numbers, (0, shape[1] % 2, 0, shape[0] % 2), mode="replicate")
    blocks = F.unfold(even, 2, stride=2)[0].T.long()
    near = boxes[blocks]
    one, other = near[:, :, None], near[:, None]
    both = (torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])).clamp_min(0)
    area, inside = (near[..., 2:] - near[..., :2]).prod(-1), both.prod(-1)
    alike = (inside / (area[:, :, None] + area[:, None] - inside) > iou).all((1, 2))
    return sum(1 if same else len(set(block)) for same, block in zip(alike.tolist(), blocks.tolist(), strict=True))


def _suppress(boxes: Tensor, scores: Tensor, iou: float) -> tuple[Tensor, int]:
    """Return the boxes that are left, the best first, and how many pairs were compared."""
    kept = suppress(boxes, scores[:, None], NMS(conf=0, iou=iou, max_nms=NO_CAP, max_det=NO_CAP))
    return kept.index, kept.pairs


def suppress_contained(boxes: Tensor, scores: Tensor, limit: float) -> tuple[Tensor, int]:
    """Do what :func:`_suppress` does where the overlap is a share of the smaller box, and sides count one pixel more.

    Of equal scores, the last is the best, as NumPy sorts.
    """
    waiting, left, pairs = scores.flip(0).argsort(descending=True, stable=True), [], 0
    waiting = len(scores) - 1 - waiting
    area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        left.append(best)
        pairs += len(waiting)
        corners = torch.maximum(boxes[best, :2], boxes[waiting, :2]), torch.minimum(boxes[best, 2:], boxes[waiting, 2:])
        inside = (corners[1] - corners[0] + 1).clamp_min(0).prod(1)
        waiting = waiting[inside / torch.minimum(area[best], area[waiting]) <= limit]
    return torch.stack(left) if left else scores.new_zeros(0, dtype=torch.int64), pairs


def _square(boxes: Tensor) -> Tensor:
    """Return squares around the middles of boxes, as large as their longer sides."""
    size = boxes[:, 2:] - boxes[:, :2]
    longest = size.amax(1, keepdim=True)
    corner = boxes[:, :2] + size * 0.5 - longest * 0.5
    return torch.cat([corner, corner + longest], 1)


def _moved(boxes: Tensor, moves: Tensor) -> Tensor:
    """Return boxes corrected by shares of their sides."""
    return boxes + moves * (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)


def build() -> MTCNN:
    """Return the target with the weights that ``mtcnn_weights.py`` has written to this folder."""
    networks = stages()
    load_weights(networks, Path("mtcnn.safetensors"))
    return MTCNN(networks)
