"""Attacks that train a small network before they attack: what they share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from torpor.attacks.base import Attack
from torpor.attacks.universal import to_learn_from
from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.targets.base import Target

PREFIX = "network."


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network that an attack trained, and what that took.

    Attributes:
        weights: of the network.
        forwards: images that went forward through the target meanwhile.
    """

    weights: Mapping[str, Tensor]
    forwards: int


@dataclass(frozen=True, kw_only=True)
class NetworkAttack(Attack):
    """Base of attacks that train a network on validation images, and then use it on each sample.

    Attributes:
        trained: None before :meth:`fit`.
    """

    learns: ClassVar[bool] = True
    learns_from_data: ClassVar[bool] = True
    fit_limit: ClassVar[int] = 500

    trained: TrainedNetwork | None = field(default=None, compare=False, repr=False)

    @abstractmethod
    def build(self, channels: int) -> nn.Module:
        """Build the untrained network for images of so many channels, from torch's global generator."""

    @abstractmethod
    def train(self, target: Any, network: nn.Module, inputs: Tensor, seed: int) -> int:  # noqa: ANN401
        """Train ``network`` on valid images ``[N, C, H, W]`` and return how many went forward through the target."""

    @override
    def fit(self, target: Any, inputs: Tensor, *, references: Tensor | None = None, seed: int = 0) -> Self:
        inputs = target.space.snap(target.space.check(inputs)).to(target.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.build(inputs.shape[1]).to(inputs.device)
        forwards = self.train(target, network, inputs, seed)
        weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        return replace(self, trained=TrainedNetwork(weights, forwards))

    @override
    def fitted(self, target: Target, data: DataSet, seed: int) -> Self:
        inputs, references = to_learn_from(target, data, self.fit_limit)
        return self.fit(target, inputs, references=references, seed=seed)

    @override
    def state(self) -> Mapping[str, Tensor]:
        if self.trained is None:
            return {}
        named = {f"{PREFIX}{name}": value for name, value in self.trained.weights.items()}
        return {"forwards": torch.tensor(self.trained.forwards), **named}

    @override
    def with_state(self, state: Mapping[str, Tensor]) -> Self:
        weights = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
        return replace(self, trained=TrainedNetwork(weights, int(state["forwards"])))

    @property
    @override
    def forwards_before(self) -> int:
        return 0 if self.trained is None else self.trained.forwards

    def network(self, inputs: Tensor) -> nn.Module:
        """Return the trained network for images ``[B, C, H, W]``, frozen.

        Raises:
            UsageError: if nothing was trained.
        """
        if self.trained is None:
            raise UsageError(f"expected a fitted attack, got {self.id} before fit(); fit it on other inputs first")
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and dropped
            network = self.build(inputs.shape[1])
        network.load_state_dict(dict(self.trained.weights))
        return network.to(inputs.device).eval().requires_grad_(False)
