"""A user's own multi-exit encoder: its parts, or a BERT of transformers with a classifier after each layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.targets.decoder.generation.codec import HuggingFaceCodec
from torpor.targets.early_exit.exit_rules import ExitRule
from torpor.targets.text.exits import TextExitTarget

MOST = 512
"""Tokens of a text at most, where a tokenizer does not say."""


class _Layer(nn.Module):
    """A layer of transformers, which may return a tuple."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        found = self.layer(tokens)
        hidden: Tensor = found[0] if isinstance(found, tuple) else found
        return hidden


class EncoderParts(nn.Module):
    """An :class:`~torpor.targets.text.exits.ExitingModule` made of parts.

    Args:
        words: embeds ids.
        embeddings: makes what enters the first layer from vectors of words ``[B, N, E]``: called with
            ``inputs_embeds=``.
        layers: each maps ``[B, N, D]`` to ``[B, N, D]``, alone or first in a tuple.
        heads: one per layer, from ``[B, N, D]`` to logits ``[B, C]``.
        certainty: from ``[B, N, D]`` to a logit ``[B, 1]``: how sure an exit may be; None without the learned rule.
    """

    def __init__(
        self,
        words: nn.Embedding,
        embeddings: nn.Module,
        layers: Sequence[nn.Module],
        heads: Sequence[nn.Module],
        certainty: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.words, self.embeddings = words, embeddings
        self.layers, self.heads = nn.ModuleList(map(_Layer, layers)), nn.ModuleList(heads)
        self.certainty = certainty

    def enter(self, vectors: Tensor) -> Tensor:
        """Return what enters the first layer."""
        entering: Tensor = self.embeddings(inputs_embeds=vectors)
        return entering


def multi_exit_bert(
    model: Any,  # noqa: ANN401 - transformers' encoders have no common class
    tokenizer: Any,  # noqa: ANN401
    heads: Sequence[nn.Module],
    rule: ExitRule | str,
    *,
    certainty: nn.Module | None = None,
    name: str = "multi-exit-bert",
    data: Callable[[Path | None], DataSet] | None = None,
) -> TextExitTarget:
    """Return the target of an encoder of transformers with a classifier after each layer, as DeeBERT and PABEE have.

    Texts of a batch that have as many tokens run together, so that no mask is needed and nothing is padded.

    Args:
        model: with ``embeddings`` and ``encoder.layer``, such as ``BertModel`` or ``RobertaModel``.
        tokenizer: of transformers, with its special tokens.
        heads: one per layer, from hidden states ``[B, N, D]`` to logits ``[B, C]``; such as
            ``nn.Sequential(BertPooler(config), nn.Linear(D, C))``.
        rule: when texts leave: ``"entropy:0.3"``, ``"patience:4"``, ``"confidence:0.9"`` or ``"learned:0.9"``.
        certainty: from hidden states to a logit ``[B, 1]``, for the learned rule.
        name: shown in reports.
        data: makes the data to audit on from the user's ``--data-dir``; pass ``--inputs`` if None.

    Raises:
        UsageError: if the model has no such parts, or not as many layers as heads.
        MeterError: if an operator's FLOPs cannot be counted.
    """
    embeddings = getattr(model, "embeddings", None)
    layers = getattr(getattr(model, "encoder", None), "layer", None)
    words = getattr(embeddings, "word_embeddings", None)
    if embeddings is None or not isinstance(words, nn.Embedding) or layers is None:
        raise UsageError(
            f"expected an encoder with embeddings.word_embeddings and encoder.layer, got {type(model).__name__}; put "
            "its parts into EncoderParts, and that into TextExitTarget"
        )
    positions = int(getattr(model.config, "max_position_embeddings", MOST))
    longest = min(positions, int(getattr(tokenizer, "model_max_length", MOST)), MOST)
    parts = EncoderParts(words, embeddings, list(layers), heads, certainty)
    return TextExitTarget(parts, HuggingFaceCodec(tokenizer), rule, longest=longest, name=name, source=data)
