"""Transformers in name only: tokens are squares of 2 x 2 pixels, and their brightness decides in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from torpor.core.patches import sides
from torpor.core.signals import GateSignals
from torpor.core.space import ImageSpace
from torpor.core.units import Unit
from torpor.core.work import Outcome, Work
from torpor.targets.early_exit.family import GatedClassifier, GateFamily
from torpor.targets.tokens.signals import PatchHaltingSignals, SignificanceSignals, TokenSignals, UsageSignals

LAYERS, SIDE, SQUARE = 4, 8, 2
TOKENS = (SIDE // SQUARE) ** 2
GAIN = 8.0


class ToyTokens(GateFamily):
    """Toys that skip tokens."""

    id: ClassVar[str] = "toy-tokens"
    signals: ClassVar[type | None] = TokenSignals


class Bright(GatedClassifier):
    """Tokens run as long as they, and the image around them, are dark; sampled ones, if they are as bright as others.

    With half of its brightness and half of the image's mean, ``x``, a token halts once the sums of ``sigmoid(8 (x -
    0.5))`` are 0.99 (``"halting"``); is used in all layers if ``x`` is below 0.5 (``"usage"``); or stays behind the
    first layer if the softmax of ``x`` is above 0.9 / N (``"sampling"``).
    """

    family = ToyTokens()
    mechanism = "toy tokens"
    classes = 2

    def __init__(self, kind: Literal["halting", "usage", "sampling"]) -> None:
        self.kind, self.name = kind, f"toy-{kind}"
        self.space = ImageSpace((1, SIDE, SIDE))
        self.units = (Unit("always", 1), Unit("tokens", 10))
        self.device = torch.device("cpu")

    def run(self, inputs: Tensor) -> Outcome:
        with torch.no_grad():
            found = self.signals(self.space.check(inputs))
        return Outcome(found.scores, found.work)

    def max_work(self, inputs: Tensor) -> Work:
        return Work(torch.tensor([[1, LAYERS * TOKENS]]).expand(len(inputs), -1).clone())

    def signals(self, inputs: Tensor) -> Any:  # noqa: ANN401 - of each kind
        bright = F.avg_pool2d(inputs.double(), SQUARE).flatten(1)
        mean = bright.mean(1, keepdim=True)
        x = (bright + mean) / 2
        scores = torch.cat([mean, 1 - mean], 1).float()
        of_kind: Callable[[Tensor, Tensor], GateSignals] = getattr(self, f"_{self.kind}")
        return of_kind(x, scores)

    def to(self, device: torch.device) -> Bright:
        return self

    def _halting(self, x: Tensor, scores: Tensor) -> PatchHaltingSignals:
        halting = (GAIN * (x - 0.5)).sigmoid().unsqueeze(1).expand(-1, LAYERS, -1)
        sums = halting.cumsum(1)
        alive = torch.cat([torch.ones_like(sums[:, :1]), (sums[:, :-1] < 0.99).to(sums)], 1)
        ran = alive.sum(1)
        before = (sums - halting).gather(1, (ran.long() - 1).unsqueeze(1)).squeeze(1)
        return PatchHaltingSignals(
            None,
            (sums[:, :-1] - 0.99).flatten(1),
            _work(alive),
            scores=scores,
            alive=alive,
            halting=halting * alive,
            cumulative=sums,
            ponder=(ran + 1 - before).mean(1),
        )

    def _usage(self, x: Tensor, scores: Tensor) -> UsageSignals:
        tokens = (GAIN * (0.5 - x)).sigmoid().unsqueeze(1).expand(-1, LAYERS, -1)
        whole = tokens.mean(2, keepdim=True)
        alive = (tokens > 0.5).to(tokens) * (whole > 0.5)
        return UsageSignals(
            None,
            (0.5 - tokens).flatten(1),
            _work(alive),
            scores=scores,
            alive=alive,
            tokens=tokens,
            heads=whole.expand(-1, -1, 2),
            blocks=whole.expand(-1, -1, 2),
        )

    def _sampling(self, x: Tensor, scores: Tensor) -> SignificanceSignals:
        share = (GAIN * x).softmax(1).unsqueeze(1)
        kept = (share >= 0.9 / TOKENS).to(share).expand(-1, LAYERS - 1, -1)
        alive = torch.cat([torch.ones_like(share), kept], 1)
        return SignificanceSignals(
            None,
            (0.9 / TOKENS - share).flatten(1) * TOKENS,
            _work(alive),
            scores=scores,
            alive=alive,
            attention=share.unsqueeze(2).expand(-1, -1, 2, -1),
            significance=share,
            layers=(0,),
        )


def _work(alive: Tensor) -> Work:
    tokens = alive.detach().round().to(torch.int64).sum((1, 2))
    return Work(torch.stack([torch.ones_like(tokens), tokens], 1))


def halting() -> Bright:
    return Bright("halting")


def usage() -> Bright:
    return Bright("usage")


def sampling() -> Bright:
    return Bright("sampling")


TOKEN_TARGETS: dict[str, Callable[[], Bright]] = {"halting": halting, "usage": usage, "sampling": sampling}


def images(count: int = 12, seed: int = 0) -> Tensor:
    """Return images whose squares are bright and dark, half of them mostly bright."""
    rng = torch.Generator().manual_seed(seed)
    squares = torch.rand(count, 1, SIDE // SQUARE, SIDE // SQUARE, generator=rng)
    lifted = squares * 0.6 + 0.4 * torch.rand(count, 1, 1, 1, generator=rng)
    return Bright("halting").space.snap(lifted.repeat_interleave(SQUARE, 2).repeat_interleave(SQUARE, 3))


def blackened(inputs: Tensor, share: float) -> Tensor:
    """Return images with a black patch at the top left: the worst one for tokens that halt, or are used."""
    rows, columns = sides(share, SIDE, SIDE)
    black = inputs.clone()
    black[..., :rows, :columns] = 0
    return black
