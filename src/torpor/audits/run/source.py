"""Which data an audit reads."""

from __future__ import annotations

from pathlib import Path

from torpor.core.errors import DataError
from torpor.core.text import TextSpace
from torpor.data.sets import DataSet
from torpor.targets.base import Target


def source(target: Target, data_dir: Path | str | None, inputs: Path | str | DataSet | None) -> DataSet:
    """Return the user's own ``inputs``, else the target's data, which may lie in ``data_dir``.

    Raises:
        UsageError: if the inputs do not fit the target.
        DataError: if there are no data, or a text of the user's cannot be sent.
    """
    if inputs is None:
        data = target.data(None if data_dir is None else Path(data_dir))
    elif isinstance(inputs, DataSet):
        data = inputs
    else:
        from torpor.data.own import own_inputs

        data = own_inputs(Path(inputs), target.space, letterbox=getattr(target, "letterbox", False))
    if not isinstance(target.space, TextSpace):
        return data
    from torpor.data.cut_texts import CutTexts

    data = CutTexts(data, target.space)
    if inputs is not None:
        place = data.name if isinstance(inputs, DataSet) else inputs
        for number, (text, _) in enumerate(data.samples("test"), 1):
            if problem := target.space.problem(text):
                raise DataError(f"expected {problem} in text {number} of {place}; change or remove it")
    return data
