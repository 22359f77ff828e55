"""Answers that a language model is told to give: how likely it is to."""

from __future__ import annotations

from torch import Tensor

from torpor.targets.decoder.contract import TextTarget


def chosen(scores: Tensor, ids: Tensor) -> Tensor:
    """Return the log-probability of each token of ``ids`` ``[..., T]`` by scores ``[..., T, V]``, ``[..., T]``.

    >>> import torch
    >>> chosen(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).exp().item()
    0.5
    """
    return scores.log_softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def answer_scores(target: TextTarget, embeddings: Tensor, answer: Tensor) -> Tensor:
    """Return the scores of each token of an answer after embedded texts, ``[B, T, V]``.

    Args:
        target: which is decoder-only.
        embeddings: of texts of the same length, ``[B, P, D]``.
        answer: ids, int64 ``[T]``.
    """
    before = target.embedding_matrix().detach()[answer[:-1]].expand(len(embeddings), -1, -1)
    return target.soft_continuation(embeddings, before)[:, embeddings.shape[1] - 1 :]
