"""Write ``mtcnn.safetensors``, which ``mtcnn.py`` reads, from an installed facenet-pytorch 2.6.0 (MIT).

``pip install --no-deps facenet-pytorch==2.6.0 && python mtcnn_weights.py``; nothing of the package is imported.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def convert(data: Path, out: Path) -> None:
    """Write the weights of the three networks in ``data`` to one file."""
    weights: dict[str, Tensor] = {}
    for net in "pro":
        state = torch.load(data / f"{net}net.pt", map_location="cpu", weights_only=True)  # tensors alone, no code
        weights |= {f"{net}.{name}": value.contiguous() for name, value in state.items()}
    save_file(weights, out)
    print(f"{out}: {sum(value.numel() for value in weights.values()):,} weights")


if __name__ == "__main__":
    found = find_spec("facenet_pytorch")
    if found is None or found.origin is None:
        sys.exit("expected an installed facenet-pytorch, got none; pip install --no-deps facenet-pytorch==2.6.0")
    convert(Path(found.origin).parent / "data", Path("mtcnn.safetensors"))
