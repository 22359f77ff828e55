"""What tamperings share: an own copy of a target, images to learn from, and a short training of some weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from torpor.core.errors import DataError
from torpor.data.sets import DataSet
from torpor.targets.base import Target
from torpor.targets.weights import modules_in

CLIP = 5.0
"""Largest norm of a gradient."""

TargetT = TypeVar("TargetT", bound=Target)


def own_copy(target: TargetT) -> TargetT:
    """Return a target of the same weights that shares none of them, and nothing else that training changes."""
    return copy.deepcopy(target)


@contextmanager
def learning(target: Target, trained: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let some weights of a target learn; afterwards its networks are frozen and in evaluation mode as before."""
    for weight in trained:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for module in modules_in(target):
            module.eval().requires_grad_(False)


def labeled(target: Target, train: DataSet, most: int) -> tuple[Tensor, Tensor]:
    """Return images ``[N, C, H, W]`` of the training split as ``target`` reads them, and their classes ``[N]``.

    Args:
        target: to be tampered with.
        train: data.
        most: images at most.

    Raises:
        DataError: if they have no classes.
    """
    batch = train.load("train", most)
    if not isinstance(batch.references, Tensor):
        raise DataError(f"expected images with classes to train {target.name} on, got none; pass labeled data")
    return target.read(batch.inputs), target.labels((), batch.references)


def poisoned_rows(count: int, rate: float, seed: int) -> Tensor:
    """Return which rows are poisoned, bool ``[count]``: a share of them, one at least, drawn by the seed.

    >>> poisoned_rows(10, 0.2, 0).sum().item(), poisoned_rows(10, 0.001, 0).sum().item()
    (2, 1)
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    found = torch.zeros(count, dtype=torch.bool)
    found[order[: max(1, round(rate * count))]] = True
    return found


def descend(
    loss: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    count: int,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    after_epoch: Callable[[], object] = lambda: None,
) -> None:
    """Step down a loss of batches of row numbers, in an order that follows from the seed.

    Args:
        loss: of the rows of a batch.
        optimizer: of what learns.
        count: rows.
        epochs: passes over them.
        batch_size: rows of a step; the last batch may be smaller.
        seed: of the order.
        after_epoch: called after each pass, such as to lower the learning rate.
    """
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # of dropout
    for _ in range(epochs):
        for rows in torch.randperm(count, generator=rng).split(batch_size):
            optimizer.zero_grad()
            loss(rows).backward()
            learned = [weight for group in optimizer.param_groups for weight in group["params"]]
            torch.nn.utils.clip_grad_norm_(learned, CLIP)
            optimizer.step()
        after_epoch()
