"""Whether a model and its stored weights belong together: every weight is from the file, and no other is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from torpor.core.errors import DataError
from torpor.targets.decoder.generation.library import computed_weights
from torpor.targets.decoder.generation.stored import Stored, listed

TIED = 4
"""Times that a stored tensor may be used: T5's embeddings are those of encoder, decoder and head too."""
FLOATING = ("F16", "BF16", "F32", "F64")
OLD_BUFFERS = {"position_ids", "bias", "masked_bias", "num_batches_tracked"}
"""Integers that older checkpoints hold; the mask of an attention was called its bias."""
SPARE_PARTS, SPARE_ELEMENTS, SPARE_BUFFERS = 1024, 2**20, 2**26
"""What a model may have beyond what is stored, such as positions that are computed and masks."""


@contextmanager
def as_large_as(stored: Mapping[str, Stored]) -> Iterator[None]:
    """Stop the building of a model as soon as it is larger than what is stored, before memory is asked for.

    transformers builds models without memory first; that alone is watched.

    Raises:
        DataError: if the model is larger.
    """
    sizes = {"parts": TIED * len(stored) + SPARE_PARTS, "numbers": TIED * sum(one.size for one in stored.values())}
    limits = {"parameters": sizes["numbers"] + SPARE_ELEMENTS, "buffers": sizes["numbers"] + SPARE_BUFFERS}
    found = {"parameters": 0, "buffers": 0, "parts": 0}

    def count(kind: str, name: str, tensor: Tensor | None) -> None:
        if tensor is None or tensor.device.type != "meta":
            return
        found[kind] += tensor.numel()
        found["parts"] += 1
        if found[kind] > limits[kind] or found["parts"] > sizes["parts"]:
            raise DataError(
                f"expected a configuration of the stored model ({len(stored)} tensors), got one of far more or larger "
                f"{kind} ({name} of {'x'.join(map(str, tensor.shape))}); load the one that belongs to the weights"
            )

    def parameter(module: nn.Module, name: str, tensor: nn.Parameter) -> None:
        count("parameters", name, tensor)

    def buffer(module: nn.Module, name: str, tensor: Tensor) -> None:
        count("buffers", name, tensor)

    handles = (
        hooks.register_module_parameter_registration_hook(parameter),
        hooks.register_module_buffer_registration_hook(buffer),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_fit(model: Any, info: Mapping[str, Any], stored: Mapping[str, Stored] | None, place: str) -> None:  # noqa: ANN401
    """Refuse a model some of whose weights are not those of its files.

    What transformers says of its loading is checked, and also that a model of this many numbers can be made of
    what is stored.

    Args:
        model: as transformers loaded it.
        info: what transformers says of its loading.
        stored: tensors in its files, where these are known.
        place: that the model is from, for errors.

    Raises:
        DataError: if weights are missing, not used, of another shape or kind, or not finite.
    """
    odd = {
        "of another shape": sorted(entry[0] for entry in info.get("mismatched_keys", ())),
        "missing": sorted(info.get("missing_keys", ())),
        "unexpected": sorted(info.get("unexpected_keys", ())),
    }
    told = "; ".join(f"{what}: {listed(names)}" for what, names in odd.items() if names)
    told = told or "; ".join(info.get("error_msgs", ()))[:200]
    if told:
        raise DataError(
            f"expected the weights of {type(model).__name__} in {place}, got other keys ({told}); save the model again "
            "with save_pretrained"
        )
    tensors = _distinct(model)
    if without := sorted(name for name, tensor in tensors.items() if tensor.device.type == "meta"):
        raise DataError(f"expected all weights in {place}, got none for {listed(without)}; save the model again")
    if stored is not None:
        _check_stored(model, tensors, stored, place)
    if wrong := sorted(name for name, tensor in model.named_parameters() if not _is_finite(tensor)):
        raise DataError(f"expected finite weights in {place}, got NaN or infinity in {listed(wrong)}; save it again")


def _check_stored(model: Any, tensors: Mapping[str, Tensor], stored: Mapping[str, Stored], place: str) -> None:  # noqa: ANN401
    computed = [re.compile(pattern) for pattern in computed_weights(model)]
    needed = sum(
        tensor.numel() for name, tensor in tensors.items() if not any(pattern.search(name) for pattern in computed)
    )
    held = sum(one.size for one in stored.values())
    if needed > held:
        raise DataError(
            f"expected {needed:,} numbers of {type(model).__name__} in {place}, got {held:,}; save the model again"
        )
    buffers = {name.rpartition(".")[2] for name, _ in model.named_buffers()} | OLD_BUFFERS
    whole = sorted(
        name for name, one in stored.items() if one.dtype not in FLOATING and name.rpartition(".")[2] not in buffers
    )
    if whole:
        raise DataError(
            f"expected weights in float32, float16 or bfloat16 in {place}, got {stored[whole[0]].dtype} in "
            f"{listed(whole)}, whose work is not known; save the model in one of these"
        )


def _distinct(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers that are saved, tied ones once."""
    seen: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor):
            seen.setdefault(id(tensor), (name, tensor))
    return dict(seen.values())


@torch.no_grad()
def _is_finite(tensor: Tensor) -> bool:
    # a sum of finite numbers may overflow, so infinity is looked at closely
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())


def check_ids(ids: Iterable[int], known: int) -> None:
    """Refuse a tokenizer with ids that the model does not know.

    Args:
        ids: of the tokenizer.
        known: ids that the model knows.

    Raises:
        DataError: if there is such an id.

    >>> check_ids([0, 1], 2)
    """
    largest = max(ids, default=0)
    if largest >= known:
        raise DataError(f"expected a tokenizer of up to {known} ids, got the id {largest}; load the model's own")
