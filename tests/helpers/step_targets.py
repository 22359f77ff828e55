"""Toy decoders of every kind, and inputs of theirs: images, sound, texts to translate and texts to continue."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.signals import StepSignals
from torpor.core.space import DenseSpace, WaveSpace
from torpor.core.work import Generation, Outcome, Work
from torpor.targets.decoder.captioner import CaptionerTarget
from torpor.targets.decoder.contract import StepTarget
from torpor.targets.decoder.toy_steps import PeakTarget
from torpor.targets.decoder.toy_text import ToyText
from torpor.zoo.captioning.captioner import Captioner
from torpor.zoo.captioning.vocabulary import Vocabulary

TEXTS = (
    "the cat sat",
    "my dog 3",
    "a tree, a bird",
    "9",
    "99 zip ~~ 3",  # few edits reach the cap
    "(Z9~) 999 zip",  # at the cap
    "naïve cat",  # the tokenizer does not know all of it
    "a, b, c, d, e, f, g, hij",  # as many tokens as there may be
)
OTHER_TEXTS = ("An ant, (or) 77!", "go 4 it", "some fuzz")
"""Texts to fit on."""


class Translator(ToyText):
    """A toy with a life closer to that of real models.

    It cannot be asked to continue a prompt, its bound depends on the input, its matrix has more rows than its tokenizer
    has tokens, and those are tempting.
    """

    decoder_only = False

    def max_work(self, inputs: Sequence[str]) -> Work:
        return Work(torch.tensor([[len(self.codec.encode(text)), self.cap] for text in inputs]))

    def static_work(self) -> Work:
        return Work(torch.tensor([[self.space.max_tokens, self.cap]]))

    def embedding_matrix(self) -> Tensor:
        matrix = super().embedding_matrix()
        return torch.cat([matrix, 100 * matrix[-3:]])

    def soft_logits(self, embeddings: Tensor) -> Tensor:
        raise UsageError("expected a decoder-only language model")


class AnsweringModel(StepTarget):
    """A model behind an interface, with room for long prompts: it shows what it runs, and nothing inside."""

    mechanism = "text generation"

    def __init__(self, inner: ToyText | None = None) -> None:
        self.inner = inner or ToyText(cap=60, max_tokens=400)
        self.name, self.device, self.space = "toy-answers", self.inner.device, self.inner.space
        self.units, self.cap, self.eos = self.inner.units, self.inner.cap, self.inner.eos

    def run(self, inputs: Sequence[str]) -> Outcome:
        return self.inner.run(inputs)

    def signals(self, inputs: Sequence[str]) -> StepSignals:
        raise UsageError(f"expected signals of {self.name}, got a black box; ask it")

    def max_work(self, inputs: Sequence[str]) -> Work:
        return self.inner.max_work(inputs)

    def static_work(self) -> Work:
        return self.inner.static_work()

    def utility(self, outputs: Sequence[Generation], references: Sequence[str]) -> Tensor:
        return self.inner.utility(outputs, references)

    def with_cap(self, cap: int) -> AnsweringModel:
        return AnsweringModel(self.inner.with_cap(cap))

    def to(self, device: torch.device) -> AnsweringModel:
        return self


def random_captioner() -> CaptionerTarget:
    """Build an untrained captioner that is sure enough to say something else about each image."""
    torch.manual_seed(7)
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, 8, 3, 2, 1))
    words = Vocabulary.of(["a b c d e f g h"])
    network = Captioner(encoder, "gru", words, width=8, positions=4, hidden=16, attention=6, embedding=5)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(3)
    return CaptionerTarget(network, input_shape=(3, 8, 8), cap=20)


STEP_TARGETS: dict[str, Callable[[], StepTarget]] = {
    "peak": lambda: PeakTarget(cap=28),
    "sound": lambda: PeakTarget(cap=28, space=WaveSpace((64,))),
    "captioner": random_captioner,
    "translator": lambda: Translator(cap=30, max_tokens=24),
    "language-model": lambda: ToyText(cap=30, max_tokens=24),
}


BLACK_BOXES: dict[str, Callable[[], StepTarget]] = {"black-box": AnsweringModel}
"""Of which only attacks that ask can find anything out."""


def inputs_of(target: StepTarget, *, other: bool = False) -> Samples:
    """Return eight inputs, or others to fit on; the first image is black and the second one has saturated pixels."""
    if not isinstance(target.space, DenseSpace):
        return OTHER_TEXTS if other else TEXTS
    rng = torch.Generator().manual_seed(7 if other else 1)
    means = torch.linspace(-0.1, 0.8, 8).view(-1, *[1] * len(target.space.shape))
    noise = torch.rand(8, *target.space.shape, generator=rng) - 0.5
    return target.space.snap(means + 0.2 * noise)
