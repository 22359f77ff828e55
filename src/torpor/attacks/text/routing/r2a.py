"""Route to Rome (R2A): surrogate routers that were taught the decisions of the real one, and a suffix made on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from torpor.attacks.text.experts.repetitioncurse import whole_words
from torpor.attacks.text.routing.black import Gadget, SuffixForAll, hill_climb
from torpor.core.batches import sample_generators
from torpor.core.errors import UsageError
from torpor.core.threat import Access, Paper, Stage


@dataclass(frozen=True, kw_only=True)
class R2A(SuffixForAll):
    """Teach several surrogates which texts the router sends on, and append the words that they all send on.

    Only a digest of the paper is known: a suffix, made on an ensemble of surrogate routers. Here these are bags of
    embedded tokens with a hidden layer, of several widths, taught what the router does with texts of the validation
    split and with random words after them; the suffix is climbed on their mean score, and the router is not asked.

    Attributes:
        texts: that the router is asked about, each as it is and with random words after it.
        surrogates: in the ensemble.
        steps: suffixes that are tried on it.
    """

    id: ClassVar[str] = "r2a"
    paper: ClassVar[Paper | None] = Paper("R2A (Route to Rome)", "", "arXiv", 2026, "arXiv:2604.15022")
    stage: ClassVar[Stage] = Stage.UNIVERSAL
    access: ClassVar[Access] = Access.TRANSFER

    texts: int = 500
    surrogates: int = 3
    steps: int = 400

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.surrogates, self.steps) < 1:
            raise UsageError(f"expected surrogates and steps of 1 or more, got {self.surrogates} and {self.steps}")

    @override
    def fit(self, target: Any, inputs: Sequence[str], *, references: object = None, seed: int = 0) -> Self:
        codec, rng = target.space.codec, sample_generators([""], seed, self.id)[0]
        words, texts = list(whole_words(codec)), tuple(inputs)[: self.texts]
        drawn = torch.randint(len(words), (len(texts), int(self.eps)), generator=rng).tolist()
        mixed = [
            self.sent(target, (text,), "".join(words[each] for each in row))[0]
            for text, row in zip(texts, drawn, strict=True)
        ]
        known = (*texts, *mixed)
        decided = target.expensive(target.run(known).work).to(torch.float32)
        ids = [torch.tensor(codec.encode(text)) for text in known]
        ensemble = [
            taught(codec.size, 16 * (1 + number), ids, decided, seed + number) for number in range(self.surrogates)
        ]
        some = texts[:32]

        def worth(suffix: str) -> float:
            asked = [torch.tensor(codec.encode(text)) for text in self.sent(target, some, suffix)]
            with torch.no_grad():
                return sum(float(model(asked).mean()) for model in ensemble) / len(ensemble)

        suffix, _ = hill_climb(worth, words, int(self.eps), self.steps, rng)
        return replace(self, gadget=Gadget(suffix, len(known)))


class Surrogate(nn.Module):
    """A bag of embedded tokens with a hidden layer.

    Args:
        size: ids in all.
        width: of embeddings and of the hidden layer.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(size, width)
        self.layers = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    @override
    def forward(self, texts: Sequence[Tensor]) -> Tensor:
        """Return how sure it is that each text is sent on, logits ``[B]``."""
        starts = torch.tensor([0, *[len(ids) for ids in texts[:-1]]]).cumsum(0)
        found: Tensor = self.layers(self.words(torch.cat(list(texts)), starts)).squeeze(-1)
        return found


def taught(size: int, width: int, texts: Sequence[Tensor], decided: Tensor, seed: int, epochs: int = 40) -> Surrogate:
    """Teach a surrogate what a router decided.

    Args:
        size: ids in all.
        width: of the surrogate.
        texts: ids of each.
        decided: 1 where the expensive model was asked, float32 ``[B]``.
        seed: of initialization.
        epochs: over all texts at once.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Surrogate(size, width)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2, weight_decay=1e-4)
    for _ in range(epochs):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(texts), decided).backward()
        optimizer.step()
    return model.eval()
