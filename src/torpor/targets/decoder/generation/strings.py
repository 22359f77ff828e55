"""Stop strings: texts that end an output, which transformers looks for in its last tokens."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.targets.decoder.generation.foreign import read_by_others


class StopStrings:
    """Tell which rows have just written a stop string, as transformers' own criterion does.

    Args:
        tokenizer: of what is generated.
        strings: any of which ends an output.

    Raises:
        UsageError: if the tokenizer cannot write one of them.
    """

    def __init__(self, tokenizer: Any, strings: Sequence[str]) -> None:  # noqa: ANN401
        transformers: Any = importlib.import_module("transformers")
        self.strings = tuple(strings)
        with read_by_others("stop strings that the tokenizer can write", repr(self.strings), "correct stop_strings"):
            self.criterion = transformers.StopStringCriteria(tokenizer, list(strings))
        self.window = int(self.criterion.maximum_token_len)

    def __call__(self, ids: Tensor, padding: Sequence[int] = (), hole: int = 0) -> Tensor:
        """Return which rows end here, bool ``[B]``.

        Args:
            ids: all tokens of each row ``[B, T]``, prompt and padding included.
            padding: tokens of padding in each row; empty for none.
            hole: where the padding begins.
        """
        if ids.shape[1] - hole - max(padding, default=0) >= self.window or not any(padding):
            found: Tensor = self.criterion(ids[:, -self.window :], None)
            return found
        alone = [torch.cat([row[:hole], row[hole + count :]]) for row, count in zip(ids, padding, strict=True)]
        return torch.cat([self.criterion(row[-self.window :].unsqueeze(0), None) for row in alone])


def stop_strings(config: Any, tokenizer: Any) -> StopStrings | None:  # noqa: ANN401 - transformers' own classes
    """Take the stop strings out of a generation config, which ``generate`` would not take without a tokenizer.

    Raises:
        UsageError: if outputs are searched by beams, which torpor does not stop so.
    """
    strings = [config.stop_strings] if isinstance(config.stop_strings, str) else list(config.stop_strings or ())
    config.stop_strings = None
    if strings and (config.num_beams or 1) > 1:
        raise UsageError(
            f"expected a generation config without stop_strings where outputs are searched by beams, got {strings}; "
            "unset one of them"
        )
    return StopStrings(tokenizer, strings) if strings else None
