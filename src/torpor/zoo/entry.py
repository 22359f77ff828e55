"""What every target of the zoo can do, load and show its card; and how its weights lie on disk."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save_file
from torch import nn

from torpor.core.errors import DataError, UsageError
from torpor.targets.base import Target
from torpor.targets.weights import load_weights

SHIPPED = Path(__file__).parent / "weights"

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class ZooEntry(ABC):
    """A target whose weights torpor ships or trains; how is :mod:`torpor.training`'s business.

    Attributes:
        name: on the command line.
    """

    name: str

    @abstractmethod
    def load(self, folder: Path | None = None) -> Target:
        """Load the trained target from ``folder``, by default the package's or the user's cache.

        Raises:
            UsageError: if the weights are missing or do not fit.
        """

    def download(self) -> Path:
        """Fetch the data from the hub unless they are there, and return their folder.

        Raises:
            UsageError: if torpor does not know where they are.
        """
        raise UsageError(f"expected a target whose data torpor can fetch, got {self.name}; leave --download out")

    @property
    def ships(self) -> bool:
        """Whether the weights come with the package."""
        return (SHIPPED / f"{self.name}.json").is_file()

    def folder(self) -> Path:
        """Return where the weights and the card are, or will be."""
        return SHIPPED if self.ships else cache_folder()

    def card(self, folder: Path | None = None) -> dict[str, Any]:
        """Read the model card.

        Raises:
            UsageError: if the target is not trained yet.
        """
        path = (folder or self.folder()) / f"{self.name}.json"
        if not path.is_file():
            raise UsageError(f"expected trained weights of {self.name}, got none; run: torpor zoo train {self.name}")
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise UsageError(f"expected a model card in {path}, got: {error}; train {self.name} again") from error


def cache_folder() -> Path:
    """Return the user's cache folder for trained weights (``TORPOR_CACHE``, else the XDG cache folder)."""
    own = os.environ.get("TORPOR_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torpor"


def save_card(path: Path, card: dict[str, Any]) -> Path:
    """Write a model card, whole or not at all, and return ``path``: where a card lies, the model is whole."""
    partial = Path(f"{path}.partial")
    try:
        partial.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def save_half(model: nn.Module, path: Path) -> None:
    """Write the weights of ``model`` to ``path``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file({name: value.half() if value.ndim > 1 else value for name, value in state.items()}, f"{path}.partial")
    os.replace(f"{path}.partial", path)


def load_half(model: Model, path: Path, name: str) -> Model:
    """Return ``model`` with the weights in ``path``, in evaluation mode.

    Args:
        model: of the same architecture, changed in place.
        path: of what :func:`save_half` wrote.
        name: of the target, for errors.

    Raises:
        UsageError: if the file is missing or does not fit.
    """
    try:
        return load_weights(model, path).eval()
    except DataError as error:
        raise UsageError(
            f"expected weights of {name} in {path}, got a file that does not fit ({error}); train it again"
        ) from error
