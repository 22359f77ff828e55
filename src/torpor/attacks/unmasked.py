"""Derivatives of what a network computed, whatever derivatives it declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map
from typing_extensions import override

from torpor.attacks.iterative import gradient_of
from torpor.core.dispatch import EagerMode
from torpor.core.signals import GateSignals
from torpor.core.space import InputSpace
from torpor.core.work import PriceList, Work
from torpor.targets.base import Target

MASKED = 0.01
"""Gradients that differ by more than this share of the longer one are not those of the same function."""

Operator = Callable[..., Any]
SMOOTH: Mapping[str, Callable[[Tensor], Tensor]] = {
    "aten::round": lambda values: values,
    "aten::floor": lambda values: values - 0.5,
    "aten::ceil": lambda values: values + 0.5,
    "aten::trunc": lambda values: values - 0.5 * values.detach().sign(),
    "aten::sign": torch.tanh,
    "aten::detach": lambda values: values,
}
"""What rounds or cuts gradients, and the smooth function that it is close to: its mean over one level."""
CASTS = ("aten::_to_copy", "aten::to")


class Tape(EagerMode):
    """Record every operator that runs, with its arguments and results, also those behind a custom backward pass.

    Args:
        sent: the inputs ``[B, ...]`` that a network is about to run on; it may overwrite them.
    """

    def __init__(self, sent: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sent, self.begun = sent, sent.detach().clone()
        self.operations: list[tuple[Operator, tuple[Any, ...], dict[str, Any], Any]] = []
        self.made = {id(sent)}
        self.came_back: list[tuple[Tensor, Tensor]] = []

    @override
    def __torch_dispatch__(
        self, func: Operator, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._look(args, kwargs)
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        self.made.update(id(each) for each in tree_flatten(result)[0])
        return result

    def _look(self, *given: object) -> None:
        """Keep what no operator made but may be the inputs, come back from outside of torch."""
        for each in tree_flatten(given)[0]:
            if isinstance(each, Tensor) and id(each) not in self.made and each.shape == self.sent.shape:
                self.made.add(id(each))
                self.came_back.append((each, each.detach().clone()))

    def replay(self, instead: Tensor) -> dict[int, Tensor]:
        """Run what was recorded once more on other inputs, with smooth functions in place of those that round.

        What no operator made and is nearly linear in the inputs left torch in between, and stays linear in them.

        Args:
            instead: of what everything was computed from, with the same values.

        Returns:
            What replaces it and each recorded result that depends on it, by ``id``.
        """
        shadows = {id(self.sent): instead}
        for each, values in self.came_back:
            if (again := _linear(values, self.begun, instead)) is not None:
                shadows[id(each)] = again

        def shadow(value: object) -> object:
            return shadows.get(id(value), value.detach()) if isinstance(value, Tensor) else value

        for operator, args, kwargs, result in self.operations:
            inputs, outputs = (
                [each for each in tree_flatten(part)[0] if isinstance(each, Tensor)]
                for part in ((args, kwargs), result)
            )
            if not any(id(each) in shadows for each in inputs):
                continue
            if result is args[0] and id(result) not in shadows:
                shadows[id(result)] = result.detach().clone()  # a constant that values are written into
            found = _again(operator, tree_map(shadow, args), tree_map(shadow, kwargs), result)
            for before, after in zip(outputs, found, strict=False):
                if after.is_floating_point():
                    shadows[id(before)] = after
        return shadows


def _again(operator: Operator, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> Sequence[Tensor]:
    """Return the results of an operator on smooth values; none if it takes none, so that they are constants."""
    try:
        again = _smooth(operator, args[0], result)
        if again is None:
            again = operator(*args, **kwargs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, IndexError):
        return ()
    return [each for each in tree_flatten(again)[0] if isinstance(each, Tensor)]


def _linear(values: Tensor, inputs: Tensor, instead: Tensor) -> Tensor | None:
    """Return values as a linear function of what replaces the inputs; None if they are none of the inputs."""
    from torpor.attacks.outside_torch import comparable, slopes

    if not comparable(values, inputs):
        return None
    slope = slopes(values, inputs)
    if not slope.any():
        return None
    smooth = slope * instead
    return values + (smooth - smooth.detach()).to(values.dtype if values.is_floating_point() else instead.dtype)


def _smooth(operator: Operator, values: object, result: object) -> Tensor | None:
    """Return what stands for the result of an operator that rounds or cuts gradients; None for any other."""
    if not isinstance(values, Tensor):
        return None
    name: str = operator.name().split(".")[0].removesuffix("_")  # type: ignore[attr-defined]
    if name in SMOOTH:
        return SMOOTH[name](values)
    if name in CASTS and isinstance(result, Tensor) and not result.is_floating_point() and values.is_floating_point():
        return None if result.dtype == torch.bool else SMOOTH["aten::trunc"](values)
    return None


@dataclass(frozen=True)
class Unmasked:
    """A target's signals with the derivatives of the operators that ran.

    A network may cut its gradients, replace them by a backward pass of its own, or round: the *forward* pass of each
    input is recorded, and differentiated operator by operator, with smooth functions in place of those that round
    (after BPDA: Athalye et al., "Obfuscated Gradients Give a False Sense of Security", ICML 2018). Work is that of the
    target itself. Inputs that leave torch and come back in the same layout, channel by channel nearly linear in what
    was sent, as from numpy that normalizes or rounds, have the derivative of that line; other functions outside of
    torch have none here either.

    Attributes:
        target: whose signals they are.

    >>> from torpor.targets.early_exit.toys import needle
    >>> point = torch.full((1, 1, 4, 4), 0.71).requires_grad_()
    >>> honest, replayed = (each.signals(point).margins.sum() for each in (needle(), Unmasked(needle())))
    >>> torch.autograd.grad(honest, point)[0].allclose(torch.autograd.grad(replayed, point)[0])
    True
    """

    target: Target

    @property
    def space(self) -> InputSpace:
        """See :class:`~torpor.attacks.iterative.Amplifiable`."""
        return self.target.space

    @property
    def prices(self) -> PriceList:
        """See :class:`~torpor.attacks.iterative.Amplifiable`."""
        return self.target.prices

    def max_work(self, inputs: Tensor) -> Work:
        """See :class:`~torpor.attacks.iterative.Amplifiable`."""
        return self.target.max_work(inputs)

    def signals(self, inputs: Tensor) -> GateSignals:
        """Return the target's signals; tensors that depend on ``inputs`` have the derivatives of what ran."""
        sent = inputs.detach().clone()
        with torch.no_grad(), Tape(sent) as tape:
            signals = cast(GateSignals, self.target.signals(sent))
        shadows = tape.replay(inputs.clone())
        values = {each.name: getattr(signals, each.name) for each in fields(signals)}
        smooth = {name: shadows[id(value)] for name, value in values.items() if id(value) in shadows}
        if signals.alarm is not None and "alarm" in smooth:  # what is rejected is decided by the detector itself
            smooth["alarm"] = signals.alarm + (smooth["alarm"] - smooth["alarm"].detach())
        return replace(signals, **smooth)

    def differs(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Tell where the target's own gradient is not the one of what ran, and where it is zero, bool ``[B]`` each.

        Where what ran has no gradient at all, as spikes have none, there is nothing to follow instead.
        """
        own, replayed = (_slope(each, inputs) for each in (self.target, self))
        lengths = torch.stack([own.norm(dim=1), replayed.norm(dim=1)])
        apart = (own - replayed).norm(dim=1) > MASKED * lengths.amax(0)
        return apart & (lengths[1] > 0), lengths[0] == 0


def _slope(target: Target | Unmasked, inputs: Tensor) -> Tensor:
    """Return the gradient of the sum of all margins, less what the target expects to cost, ``[B, pixels]``."""
    point = inputs.clone().requires_grad_()
    signals = cast(GateSignals, target.signals(point))
    expected = 0 if signals.expected is None else signals.expected.sum()
    return gradient_of(signals.margins.sum() - expected, point).flatten(1)
