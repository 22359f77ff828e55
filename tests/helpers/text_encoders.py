"""Small random encoders of texts that exit early or skim, on the toy tokenizer, and texts for them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from torpor.targets.decoder.toy_text import BOS, ToyCodec
from torpor.targets.text.base import TextClassifier
from torpor.targets.text.exits import TextExitTarget
from torpor.targets.text.routed import RoutedTarget
from torpor.targets.text.skimming import SkimTarget
from torpor.zoo.text.encoder import ExitEncoder, SkimEncoder
from torpor.zoo.text.router import Router, SmallParts

LONGEST = 40
TEXTS = ("the cat sat", "my dog 3", "a tree, a bird", "9", "zip fuzz jazz a dog", "naïve cat", "a, b, c, d, e, f")
OTHER_TEXTS = ("An ant, (or) 77!", "go 4 it a cat", "some fuzz and a bird")


class FirstCodec(ToyCodec):
    """The toy tokenizer with a token of its own before each text."""

    overhead = 1

    def wrapped(self, text: str) -> tuple[list[int], list[bool]]:
        """Return the start token and the ids."""
        ids = self.encode(text)
        return [BOS, *ids], [False, *[True] * len(ids)]


CODEC = FirstCodec()


def exiting(rule: str = "entropy:0.75", depth: int = 4) -> TextExitTarget:
    """Return an encoder some of whose exits are sure of some texts."""
    torch.manual_seed(3)
    module = ExitEncoder(CODEC.size, dim=8, depth=depth, heads=2, longest=LONGEST)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name.startswith("heads") and name.endswith("linear.weight"):
                value.mul_(2.5)
            if name == "certainty.linear.weight":
                value.mul_(4)
    return TextExitTarget(module, CODEC, rule, longest=LONGEST, name="toy-exits")


def skimming() -> SkimTarget:
    """Return an encoder that keeps some tokens of most texts."""
    torch.manual_seed(4)
    module = SkimEncoder(CODEC.size, dim=8, depth=3, heads=2, longest=LONGEST)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name.startswith("skims") and name.endswith("3.bias"):
                value.fill_(0.2)
            if name.startswith("skims") and name.endswith("3.weight"):
                value.mul_(6)
    return SkimTarget(module, CODEC, longest=LONGEST, name="toy-skims")


def routing() -> RoutedTarget:
    """Return a router that sends some texts to the expensive encoder."""
    torch.manual_seed(5)
    small, large = SmallParts(CODEC.size), ExitEncoder(CODEC.size, dim=32, depth=3, heads=2, longest=LONGEST)
    with torch.no_grad():
        for parameter in small.gate.head.parameters():
            parameter.mul_(3)
    target = RoutedTarget(Router(small, large), CODEC, 0.0, longest=LONGEST, name="toy-router")
    needed = -target.signals(TEXTS).margins.detach().flatten()
    return target.with_threshold(round(needed.quantile(0.7).item(), 3))


TEXT_ENCODERS: dict[str, Callable[[], TextClassifier]] = {"text-exits": exiting, "text-skims": skimming}
