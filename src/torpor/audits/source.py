"""Which data an audit reads."""

from __future__ import annotations

from pathlib import Path

from torpor.core.errors import DataError
from torpor.core.text import TextSpace
from torpor.data.cut_texts import CutTexts
from torpor.data.own import own_inputs
from torpor.data.sets import DataSet
from torpor.targets.base import Target


def source(target: Target, data_dir: Path | str | None, inputs: Path | str | None) -> DataSet:
    """Return the user's own ``inputs``, else the target's data, which may lie in ``data_dir``.

    Raises:
        UsageError: if the inputs do not fit the target.
        DataError: if there are no data, or a text of the user's cannot be sent.
    """
    if inputs is not None:
        data = own_inputs(Path(inputs), target.space, bars=bool(getattr(target, "bars", False)))
        if isinstance(target.space, TextSpace):
            data = CutTexts(data, target.space)
            for number, (text, _) in enumerate(data.samples("test"), 1):
                if problem := target.space.problem(text):
                    raise DataError(f"expected {problem} in text {number} of {inputs}; change or remove it")
        return data
    data = target.data(None if data_dir is None else Path(data_dir))
    return CutTexts(data, target.space) if isinstance(target.space, TextSpace) else data
