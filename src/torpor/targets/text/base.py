"""What all classifiers of texts share: tokens, texts of one length together, embeddings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NotRequired, Protocol, Self, TypedDict, Unpack

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.core.text import Codec, TextSpace
from torpor.core.work import Work
from torpor.data.sets import DataSet
from torpor.targets.early_exit.family import Classifier
from torpor.targets.weights import digest

TIE = 2e-5
"""A decision won by less is made by a run of that text alone: batched arithmetic may round differently."""
SAMPLES = 32
"""Texts that an audit takes by default: searches ask about a thousand candidates for each."""


class Wrapping(Codec, Protocol):
    """A tokenizer that puts tokens of its own around texts, such as one whose state the classifiers read."""

    @property
    def overhead(self) -> int:
        """How many of them."""

    def wrapped(self, text: str) -> tuple[list[int], list[bool]]:
        """Return the ids that a network reads, and which of them are the text's own."""


class EncoderModule(Protocol):
    """What enters an encoder, whatever its layers do."""

    words: nn.Embedding

    def enter(self, vectors: Tensor) -> Tensor:
        """Return what enters the first layer, ``[B, N, D]``, given the vectors of words ``[B, N, E]``."""


class Alike(NamedTuple):
    """Texts with as many tokens each.

    Attributes:
        rows: their places in the batch, int64 ``[G]``.
        ids: int64 ``[G, N]``.
    """

    rows: Tensor
    ids: Tensor


class TextOptions(TypedDict):
    """What the constructor of any classifier of texts takes beside what is its own.

    Attributes:
        longest: tokens of a text at most, those of the tokenizer's own counted.
        name: shown in reports.
        device: where to run; the CPU by default.
        source: makes the data to audit on from the user's ``--data-dir``; the user passes ``--inputs`` if None.
    """

    longest: int
    name: NotRequired[str]
    device: NotRequired[str | torch.device]
    source: NotRequired[Callable[[Path | None], DataSet] | None]


class TextClassifier(Classifier):
    """A classifier of texts. Those of a batch that have as many tokens run together: nothing is padded.

    Args:
        module: the network. It is put in evaluation mode and its weights are frozen.
        codec: the tokenizer.
        options: see :class:`TextOptions`.

    Attributes:
        unnamed: its name where the options have none.
    """

    space: TextSpace
    unnamed: ClassVar[str]
    per_layer: ClassVar[int]

    def __init__(
        self,
        module: Any,  # noqa: ANN401 - an EncoderModule
        codec: Wrapping,
        **options: Unpack[TextOptions],
    ) -> None:
        device = options.get("device", "cpu")
        self.module: Any = module.to(device).eval().requires_grad_(False)
        self.codec, self.longest, self.source = codec, options["longest"], options.get("source")
        self.name = options.get("name", self.unnamed)
        self.device, self.samples = torch.device(device), SAMPLES
        self.space = TextSpace(codec, self.longest - codec.overhead)

    @abstractmethod
    def most(self, lengths: Tensor) -> Tensor:
        """Return the most work of texts with so many tokens ``[B]``, int64 ``[B, U]``."""

    def tokenized(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, the tokenizer's own around them."""
        return [self.codec.wrapped(text)[0] for text in texts]

    def alike(self, texts: Sequence[str]) -> Iterator[Alike]:
        """Yield the texts with as many tokens each, shortest first."""
        ids = self.tokenized(texts)
        lengths = torch.tensor([len(own) for own in ids])
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().flatten()
            yield Alike(rows, torch.tensor([ids[row] for row in rows.tolist()], device=self.device))

    def max_work(self, inputs: Sequence[str]) -> Work:
        """Return everything that texts of their own lengths can make it do."""
        return Work(self.most(torch.tensor([len(own) for own in self.tokenized(inputs)])))

    @override
    def static_work(self) -> Work:
        return Work(self.most(torch.tensor([self.longest])))

    def embedding_matrix(self) -> Tensor:
        """Return the input embedding of every id ``[V, D]``."""
        matrix: Tensor = self.module.words.weight
        return matrix

    def features(self, texts: Sequence[str]) -> Tensor:
        """Return the mean of the input embeddings of each text's tokens ``[B, D]``."""
        rows = [self.module.words(torch.tensor(ids, device=self.device)).mean(0) for ids in self.tokenized(texts)]
        return torch.stack(rows)

    def embedded(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings, a leaf ``[B, P, D]``, ids, and which of them are the texts' own, both ``[B, P]``.

        Rows are filled up with zeros, ids with the first of all, neither of which is read.
        """
        wrapped = [self.codec.wrapped(text) for text in texts]
        longest = max(len(ids) for ids, _ in wrapped)
        ids = torch.tensor([[*own, *[0] * (longest - len(own))] for own, _ in wrapped], device=self.device)
        own = torch.tensor([[*mask, *[False] * (longest - len(mask))] for _, mask in wrapped], device=self.device)
        there = torch.tensor([[True] * len(ids) + [False] * (longest - len(ids)) for ids, _ in wrapped])
        vectors: Tensor = self.module.words(ids).detach() * there[..., None].to(self.device)
        return vectors.requires_grad_(), ids, own

    def to(self, device: torch.device) -> Self:
        """Move the network and return this target."""
        self.module.to(device)
        self.device = device
        return self

    @override
    def details(self) -> dict[str, Any]:
        return {**super().details(), "layers": len(self.module.layers)}

    def fingerprint(self) -> str:
        """See :meth:`Target.fingerprint`; tokenizer and all weights count."""
        tokens = getattr(self.codec, "fingerprint", str)
        return digest(f"{super().fingerprint()} {self.longest} {tokens()}", [self.module])
