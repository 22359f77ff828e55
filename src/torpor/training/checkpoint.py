"""The state of a training: one file, replaced after every epoch, from which an interrupted training resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from torpor.core.errors import UsageError


class Checkpoint:
    """Weights, the optimizers' state and the number of epochs done.

    Args:
        path: of the file.
        plan: all that decides the result, as JSON, with the number of ``epochs``.
        weights: of the model; they are read, and written in place.
        optimizers: of the model.
    """

    def __init__(
        self,
        path: Path,
        plan: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> None:
        self.path, self.weights, self.optimizers = path, weights, optimizers
        self.plan = json.loads(json.dumps(plan))

    def save(self, epoch: int, seconds: float) -> None:
        """Write the state after ``epoch`` epochs, which took ``seconds``."""
        tensors = {f"model.{name}": value.detach().contiguous() for name, value in self.weights.items()}
        for which, optimizer in enumerate(self.optimizers):
            for number, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{which}.{number}.{slot}": value.contiguous() for slot, value in slots.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        metadata = {"epoch": str(epoch), "seconds": str(seconds), "plan": json.dumps(self.plan)}
        save_file(tensors, partial, metadata=metadata)
        os.replace(partial, self.path)

    def restore(self) -> tuple[int, float]:
        """Load a state of the same plan and return the epochs done and the seconds they took, else zeros.

        Raises:
            UsageError: if the file is damaged, or of another plan that is not finished and would be lost.
        """
        if not self.path.is_file():
            return 0, 0.0
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata()
                epoch, seconds = int(metadata["epoch"]), float(metadata["seconds"])
                if not self._is_mine(json.loads(metadata["plan"]), epoch):
                    return 0, 0.0
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not iterable itself
            with torch.no_grad():
                for name, value in self.weights.items():
                    value.copy_(tensors[f"model.{name}"])
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"expected a training checkpoint, got a damaged file: {error}; delete {self.path}"
            ) from error
        for which, optimizer in enumerate(self.optimizers):
            slots: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"optimizer.{which}."):
                    number, slot = name.split(".")[2:]
                    slots.setdefault(int(number), {})[slot] = value
            optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        return epoch, seconds

    def _is_mine(self, theirs: dict[str, Any], epoch: int) -> bool:
        if theirs == self.plan:
            return True
        if epoch < theirs["epochs"]:
            changed = sorted(name for name in {*theirs, *self.plan} if theirs.get(name) != self.plan.get(name))
            raise UsageError(
                f"expected a checkpoint of this recipe, got one after {epoch} epochs of another in {self.path} "
                f"(other {', '.join(changed)}); finish that training, delete it, or pass another folder"
            )
        return False
