"""Make detectors of other libraries by name, with weights from safetensors, or random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from torpor.core.errors import UsageError
from torpor.targets.detector.adapters.library import library
from torpor.targets.detector.adapters.torchvision_models import from_torchvision
from torpor.targets.detector.adapters.ultralytics_models import from_ultralytics
from torpor.targets.detector.detection import DetectorTarget
from torpor.targets.weights import load_weights


def load_torchvision(given: str) -> DetectorTarget:
    """Make a target of a detector of torchvision.

    Args:
        given: its name, as in ``torchvision.models.get_model``; and ``@FILE.safetensors``, its state dict, unless its
            weights are to be random, the same each time.

    Raises:
        UsageError: if there is no such detector, or its weights cannot be read.
    """
    name, _, weights = given.partition("@")
    models = library("torchvision.models")
    known = models.list_models(module=models.detection)
    if name not in known:
        raise UsageError(f"expected one of {', '.join(known)}, got torchvision:{name}; check the name")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.get_model(name, weights=None, weights_backbone=None)
    return from_torchvision(_with_weights(model, weights), name=_name(name, weights))


def load_ultralytics(given: str) -> DetectorTarget:
    """Make a target of an ultralytics model.

    Args:
        given: the name of its configuration, such as ``yolov8n.yaml``; and ``@FILE.safetensors``, its state dict,
            unless its weights are to be random, the same each time.

    Raises:
        UsageError: if there is no such model, or its weights cannot be read.
    """
    name, _, weights = given.partition("@")
    if not name.endswith((".yaml", ".yml")) or Path(name).name != name:
        raise UsageError(
            f"expected the name of a configuration, such as ultralytics:yolov8n.yaml, got {name}; weights follow as "
            "@FILE.safetensors, since reading others may run code"
        )
    tasks = library("ultralytics.nn.tasks")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model = tasks.DetectionModel(name, verbose=False)
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UsageError(
                f"expected a configuration of a detector that ultralytics knows, got {name}: {type(error).__name__}; "
                "check the name"
            ) from error
    return from_ultralytics(_with_weights(model, weights), name=_name(Path(name).stem, weights))


def _name(name: str, weights: str) -> str:
    return name if weights else f"{name}-random"


def _with_weights(model: Any, weights: str) -> Any:  # noqa: ANN401
    if not weights:
        return model
    path = Path(weights).expanduser()
    if path.suffix != ".safetensors":
        raise UsageError(
            f"expected weights in a safetensors file, got {path}, which may run code when it is read; write the "
            "model's state dict with safetensors.torch.save_file"
        )
    return load_weights(model, path)
