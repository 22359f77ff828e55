"""Steal Now, Attack Later: images tiled with what a detector took for objects elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from torpor.attacks.base import Candidates
from torpor.attacks.detector.frames import sampled_frames
from torpor.attacks.search.balls import BALLS, apply
from torpor.attacks.search.incumbent import Incumbent, random_search
from torpor.attacks.universal import Learned, Universal
from torpor.core.batches import draw, sample_generators
from torpor.core.errors import UsageError
from torpor.core.objects import Objects
from torpor.core.space import DenseSpace
from torpor.core.threat import Access, Paper, Stage
from torpor.core.work import Outcome
from torpor.targets.detector.contract import CandidateTarget

PAPER = Paper(
    "Steal Now and Attack Later: Evaluating Robustness of Object Detection against Black-box Adversarial Attacks",
    "Chen et al.",
    "arXiv",
    2024,
    "arXiv:2404.15881",
)
SAMPLES = 200
PATCHES = 256
SIDE = 32  # of stored patches, in pixels
EMPTY, BUSY = 0.8, 0.2  # probability of another tile where nothing is found, and where something is


@dataclass(frozen=True, kw_only=True)
class SNAL(Universal):
    """Tile an image with stolen patches, as visible as the budget allows, and keep the tiles in which objects appear.

    Patches are cut out where the detector finds objects in other images, up to 256 of them from 200 images or
    frames. Each cell of a grid shows one patch or four, mirrored or not, as it is or with the mean and contrast of what
    it covers. One query after the other, cells get other tiles, rarely so where something is found; a cell keeps the
    tile in which most was found. The attacker sees boxes, not scores, and the cost.

    The released code looks for tiles within 2.5 ``eps`` and clamps at the end; here every image that is tried could
    be sent. It drops random blocks of tiles, which is left out. Its patches keep their own mean and contrast after all,
    and its images must be square; here neither is so. Grid and queries are ours.

    Attributes:
        grid: rows and columns of cells.
        queries: runs of the detector per image.
    """

    id: ClassVar[str] = "snal"
    paper: ClassVar[Paper | None] = PAPER
    stage: ClassVar[Stage] = Stage.EVASION
    access: ClassVar[Access] = Access.DECISION
    norms: ClassVar[tuple[str, ...]] = ("Linf",)
    radii: ClassVar[Mapping[str, float]] = {"Linf": 8 / 255}
    kinds: ClassVar[tuple[str, ...]] = ("image", "video")
    needs: ClassVar[tuple[str, ...]] = ("detector",)
    fit_limit: ClassVar[int] = SAMPLES

    eps: float = 8 / 255
    grid: int = 5
    queries: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid < 1 or self.queries < 1:
            raise UsageError(f"expected a grid of 1 and 1 query, or more, got {self.grid} and {self.queries}")

    def learn(self, target: CandidateTarget, inputs: Tensor, references: object, seed: int) -> Learned:
        """Return patches ``[P, C, SIDE, SIDE]`` as perturbations; see :meth:`Universal.learn`.

        Raises:
            UsageError: if nothing is found in the images.
        """
        images = sampled_frames(inputs, SAMPLES).to(target.device)
        found = target.detector.run(images).outputs
        patches = [patch for pair in zip(images, found, strict=True) for patch in cut_out(*pair)]
        if not patches:
            raise UsageError(f"expected objects in the {len(images)} images that {self.id} learns from, got none")
        chosen = torch.stack(patches)[:: -(-len(patches) // PATCHES)]
        return Learned(chosen, forwards=len(images), backwards=0, zero_gradient=False)

    @override
    def search(self, target: CandidateTarget, inputs: Tensor, labels: object, seed: int) -> Candidates:
        detector, patches = target.detector, self.known().perturbations.to(inputs)
        space, ball = detector.space, BALLS[self.norm]
        assert isinstance(space, DenseSpace)
        frames = inputs.shape[1] if inputs.ndim == 5 else 1
        clean = inputs.flatten(0, 1) if inputs.ndim == 5 else inputs
        generators = [one for one in sample_generators(inputs, seed, self.id) for _ in range(frames)]
        tiles = Tiles(patches, clean, self.grid)
        kept, shown = tiles.clean, tiles.clean
        counts = clean.new_zeros(len(clean), self.grid**2)

        def propose(query: int, rows: Tensor, held: Incumbent) -> Tensor:
            nonlocal shown
            uniform = draw(generators, lambda g: torch.rand(self.grid**2, 8, generator=g), clean)
            new = uniform[..., 7] < torch.where(counts > 0, BUSY, EMPTY if query else 1.0)
            shown = torch.where(new.view(*new.shape, 1, 1, 1), tiles.draw(uniform), kept)
            return apply(clean, tiles.image(shown) - clean, ball, self.eps, space)

        def watch(rows: Tensor, outcome: Outcome) -> None:
            nonlocal kept, counts
            here = torch.stack([tiles.count(objects) for objects in outcome.outputs]).to(counts)
            better = here > counts
            kept = torch.where(better.view(*better.shape, 1, 1, 1), shown, kept)
            counts = torch.maximum(counts, here)

        queries = torch.full((len(clean),), self.queries)
        held = random_search(detector, clean, propose, queries, watch=watch)
        alone = inputs.ndim == 4 and target.detector is target
        spent = held.queries.view(len(inputs), frames).amax(1)  # a query asks about every frame
        curves = held.curves if alone else None  # else what each frame costs is not what an input costs
        return Candidates(held.inputs.view_as(inputs), spent, torch.zeros_like(spent), curves=curves)


def cut_out(image: Tensor, objects: Objects) -> list[Tensor]:
    """Return what is in each box of ``image`` ``[C, H, W]``, resized to ``[C, SIDE, SIDE]``; none for boxes outside.

    >>> one = Objects(torch.tensor([[1.0, 2.0, 5.0, 4.0]]), torch.tensor([0]))
    >>> [patch.shape for patch in cut_out(torch.zeros(3, 9, 9), one)]
    [torch.Size([3, 32, 32])]
    """
    height, width = image.shape[1:]
    patches = []
    for left, top, right, bottom in objects.boxes.round().to(torch.int64).tolist():
        patch = image[:, max(top, 0) : max(min(bottom, height), 0), max(left, 0) : max(min(right, width), 0)]
        if patch.numel():
            patches.append(_resized(patch.unsqueeze(0), SIDE, SIDE)[0])
    return patches


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)


class Tiles:
    """Grids of tiles ``[B, cells, C, h, w]`` over images, whose last row and column may stick out of them.

    Args:
        patches: ``[P, C, SIDE, SIDE]``.
        images: to be covered, ``[B, C, H, W]``.
        grid: rows and columns.
    """

    def __init__(self, patches: Tensor, images: Tensor, grid: int) -> None:
        self.grid, self.size = grid, images.shape[-2:]
        self.height, self.width = (-(-length // grid) for length in self.size)
        self.whole = _resized(patches, self.height, self.width)
        self.small = _resized(patches, -(-self.height // 2), -(-self.width // 2))
        rest = (0, self.width * grid - self.size[1], 0, self.height * grid - self.size[0])
        parts = F.pad(images, rest, mode="replicate").unfold(2, self.height, self.height)
        self.clean = parts.unfold(3, self.width, self.width).flatten(2, 3).transpose(1, 2)

    def draw(self, uniform: Tensor) -> Tensor:
        """Return random tiles, given seven or more numbers from 0 to 1 for each cell, ``[B, cells, 7]``."""
        choice = (uniform[..., :4] * len(self.whole)).to(torch.int64).clamp_max(len(self.whole) - 1)
        one, two, three, four = (self.small[choice[..., place]] for place in range(4))
        quartet = torch.cat([torch.cat([one, two], -1), torch.cat([three, four], -1)], -2)
        quartet = quartet[..., : self.height, : self.width]
        tiles = self._where(uniform[..., 4], self.whole[choice[..., 0]], quartet)
        tiles = self._where(uniform[..., 5], tiles, tiles.flip(-1))
        return self._where(uniform[..., 6], tiles, matched(tiles, self.clean))

    @staticmethod
    def _where(uniform: Tensor, one: Tensor, other: Tensor) -> Tensor:
        return torch.where((uniform < 0.5).view(*uniform.shape, 1, 1, 1), one, other)

    def image(self, tiles: Tensor) -> Tensor:
        """Return the images that ``tiles`` make, ``[B, C, H, W]``."""
        rows = tiles.view(len(tiles), self.grid, self.grid, *tiles.shape[2:]).permute(0, 3, 1, 4, 2, 5)
        return rows.flatten(4, 5).flatten(2, 3)[..., : self.size[0], : self.size[1]]

    def count(self, objects: Objects) -> Tensor:
        """Return how many objects have their middle in each cell, float ``[cells]``."""
        middle = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
        across = (middle[:, 0] / self.width).floor().clamp(0, self.grid - 1)
        down = (middle[:, 1] / self.height).floor().clamp(0, self.grid - 1)
        return (down * self.grid + across).to(torch.int64).bincount(minlength=self.grid**2).to(torch.float32)


def matched(tiles: Tensor, ground: Tensor) -> Tensor:
    """Return ``tiles`` with the mean and the standard deviation of each channel of what they cover.

    >>> matched(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0.25, 0.75]]])).tolist()
    [[[0.25, 0.75]]]
    """
    axes = (-2, -1)
    spread, wanted = (values.std(axes, correction=0, keepdim=True) for values in (tiles, ground))
    middle, goal = (values.mean(axes, keepdim=True) for values in (tiles, ground))
    return (tiles - middle) * wanted / spread.clamp_min(1e-6) + goal
