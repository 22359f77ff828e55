"""Engorgio: one prompt after which a language model does not end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from torpor.attacks.base import Candidates
from torpor.attacks.iterative import gradients_of
from torpor.attacks.text.search.constraints import insertable, readable
from torpor.attacks.text.search.goal import decoder_steps
from torpor.attacks.universal import Learned, Universal
from torpor.core.batches import Samples
from torpor.core.errors import UsageError
from torpor.core.text import pack, unpack
from torpor.core.threat import Paper
from torpor.targets.decoder.contract import TextTarget

PATIENCE = 50  # stop once the drawn trigger stayed the same this many times
READINGS = 20  # how often the trigger is read out


@dataclass(frozen=True, kw_only=True)
class Engorgio(Universal):
    """Learn the distributions of a trigger's tokens, and of a made-up continuation, that put off the end token.

    Each row of ``theta`` is a distribution over tokens; one forward pass over soft Gumbel-softmax draws of all rows
    gives the loss ``mean cross-entropy(prediction, next row) + alpha * sum of end-token probabilities``: the
    continuation should be what the model would write itself, and should not end. It rarely is what the model writes, so
    this loss proves nothing. The trigger is read out by ``argmax``, where the released code draws it, 20 times on the
    way, and the one after which the target, as deployed, really generates longest is kept. The prompt holds no other
    text, so a target that decodes greedily gives every sender of the trigger that length. Of one that samples it is a
    single draw, and the best of 20 is flattered: measure the trigger again with other seeds.

    Special tokens cannot be sent, so no row of the trigger holds them. The start is all zeros: the seed of the draws
    matters much, as the paper's authors say too.

    Attributes:
        steps: of Adam, at a learning rate of 0.1.
        alpha: weight of the end token.
        tail: rows of the continuation, as far as the target has room for them; its cap if None.
        escape: where the end token counts, in ``"all"`` rows or only in the ``"tail"``.
    """

    id: ClassVar[str] = "engorgio"
    paper: ClassVar[Paper | None] = Paper(
        "An Engorgio Prompt Makes Large Language Model Babble on", "Dong et al.", "ICLR", 2025, "arXiv:2412.19394"
    )
    norms: ClassVar[tuple[str, ...]] = ("prompt",)
    radii: ClassVar[Mapping[str, float]] = {}
    kinds: ClassVar[tuple[str, ...]] = ("text",)
    needs: ClassVar[tuple[str, ...]] = ("decoder_only", "embedding_matrix", "soft_continuation", "score", "cap")
    learns_from_data: ClassVar[bool] = False

    norm: str = "prompt"
    eps: float = 32
    steps: int = 3000
    alpha: float = 1.0
    tail: int | None = None
    escape: Literal["all", "tail"] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.alpha < 0 or (self.tail is not None and self.tail < 1):
            raise UsageError(
                f"expected 1 step or more, alpha of 0 or more and 1 row or more of tail, got {self.steps}, "
                f"{self.alpha} and {self.tail}"
            )

    @classmethod
    def applies_to(cls, target: Any) -> bool:  # noqa: ANN401 - one that reads text
        """Tell whether ``target`` continues its prompt: the continuation's tokens are inputs like the trigger's."""
        return super().applies_to(target) and bool(target.decoder_only)

    def learn(self, target: TextTarget, inputs: object, references: object, seed: int) -> Learned:
        """Learn a trigger from the target alone; :attr:`Learned.perturbations` holds its bytes, uint8 ``[1, WIDTH]``.

        Raises:
            UsageError: if the target is not decoder-only, or no trigger can be sent as text.
        """
        self.check(target)
        matrix = target.embedding_matrix().detach()
        room = target.space.max_tokens
        length = min(int(self.eps), room)
        rows = max(min(length + (self.tail or target.cap), room), length + 1)
        theta = torch.zeros(rows, len(matrix), device=matrix.device, requires_grad=True)
        forbidden = torch.zeros(rows, len(matrix), dtype=torch.bool)
        forbidden[:length] = ~insertable(target.space.codec, len(matrix))
        forbidden = forbidden.to(matrix.device)
        optimizer = torch.optim.Adam([theta], lr=0.1)
        generator = torch.Generator().manual_seed(seed)
        readings: dict[tuple[int, ...], None] = {}
        drawn, unchanged, zero_gradient, step, backwards = None, 0, False, 0, 0
        for step in range(1, self.steps + 1):
            scores = theta.masked_fill(forbidden, -torch.inf)
            noise = -torch.empty(rows, len(matrix)).exponential_(generator=generator).log().to(matrix.device)
            soft = (scores + noise).softmax(-1)
            embeddings = soft @ matrix
            loss = self._loss(target, soft, embeddings, scores, length)
            if not loss.isfinite():
                break
            theta.grad, through = gradients_of(loss, [theta, embeddings])
            backwards = step
            if step == 1:  # only what comes through the target says whether it has a gradient
                zero_gradient = bool((through == 0).to(torch.float32).mean() > 0.5)
            optimizer.step()
            hard = tuple(soft[:length].argmax(-1).tolist())
            unchanged = unchanged + 1 if hard == drawn else 0
            drawn = hard
            done = unchanged == PATIENCE or step == self.steps
            if done or step % max(1, self.steps // READINGS) == 0:
                best = theta.detach().masked_fill(forbidden, -torch.inf)[:length].argmax(-1)
                readings[tuple(best.tolist())] = None
            if done:
                break
        texts = [text for ids in readings if (text := readable(target.space, ids, length)) is not None]
        if not texts:
            raise UsageError(f"expected a trigger that survives the tokenizer of {target.name}, got none; try a seed")
        lengths = decoder_steps(target, texts)
        return Learned(pack([texts[lengths.index(max(lengths))]]), step + len(texts), backwards, zero_gradient)

    def _loss(self, target: TextTarget, soft: Tensor, embeddings: Tensor, scores: Tensor, length: int) -> Tensor:
        """Return the loss of one draw.

        Args:
            target: the language model.
            soft: drawn weights of tokens ``[M, V]``.
            embeddings: their mixed embeddings ``[M, D]``.
            scores: unnormalized log-probabilities of tokens ``[M, V]``, ``-inf`` where forbidden.
            length: rows of the trigger.
        """
        trigger, continuation = embeddings.unsqueeze(0).split([length, len(embeddings) - length], 1)
        predicted = target.soft_continuation(trigger, continuation)[0].log_softmax(-1)
        following = scores[1:].softmax(-1)
        mimicry = -(following * predicted[:-1]).sum(-1).mean()
        ends = predicted[..., list(target.eos)].exp().sum(-1)
        return mimicry + self.alpha * (ends if self.escape == "all" else ends[length:]).sum()

    def search(self, target: TextTarget, inputs: Samples, labels: object, seed: int) -> Candidates:
        """Send the learned trigger whatever the clean text; see :meth:`Attack.search`."""
        if self.learned is None:
            raise UsageError(f"expected a fitted attack, got {self.id} before fit(); fit it first")
        (trigger,) = unpack(self.learned.perturbations)
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        zero_gradient = torch.full((len(inputs),), self.learned.zero_gradient)
        return Candidates((trigger,) * len(inputs), forwards=nothing, backwards=nothing, zero_gradient=zero_gradient)
