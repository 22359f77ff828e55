"""Which data an audit reads."""

from __future__ import annotations

from pathlib import Path

from torpor.core.errors import DataError
from torpor.core.text import TextSpace
from torpor.data.sets import DataSet
from torpor.targets.base import Target


def source(target: Target, data_dir: Path | str | None, inputs: Path | str | None) -> DataSet:
    """Return the user's own ``inputs``, else the target's data, which may lie in ``data_dir``.

    Raises:
        UsageError: if the inputs do not fit the target.
        DataError: if there are no data, or a text of the user's cannot be sent.
    """
    if inputs is None:
        data = target.data(None if data_dir is None else Path(data_dir))
    else:
        from torpor.data.own import own_inputs

        data = own_inputs(Path(inputs), target.space, letterbox=getattr(target, "letterbox", False))
    if not isinstance(target.space, TextSpace):
        return data
    from torpor.data.cut_texts import CutTexts

    cut = CutTexts(data, target.space)
    for number, (text, _) in enumerate(cut.samples("test") if inputs is not None else (), 1):
        if problem := target.space.problem(text):
            raise DataError(f"expected {problem} in text {number} of {inputs}; change or remove it")
    return cut
