"""Texts that are longer than a target reads, cut and counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from torpor.core.conversation import SURROGATE, conversation_of, stored_turn, turn_of
from torpor.core.text import TextSpace
from torpor.data.sets import DataSet


class CutTexts(DataSet):
    """Texts of which each ends where the target stops to read; what is left out is counted in tokens.

    Texts that the target refuses for something else stay as they are.

    Args:
        data: the whole texts.
        space: of the target.
    """

    def __init__(self, data: DataSet, space: TextSpace) -> None:
        self.data, self.space, self.name = data, space, data.name
        self.cut = self._lost = dict[int, int]()

    def fingerprint(self) -> str:
        """Return that of the whole texts."""
        return self.data.fingerprint()

    @override
    def files(self) -> Mapping[str, Path]:
        return self.data.files()

    @override
    def samples(self, split: str) -> Iterator[tuple[Any, Any]]:
        return self._rest(split, 0)

    @override
    def _rest(self, split: str, first: int) -> Iterator[tuple[Any, Any]]:
        for number, (text, reference) in enumerate(self.data.samples_from(split, first), first):
            kept, lost = cut_text(text, self.space)
            self._lost[number] = lost
            yield kept, reference


def cut_text(text: str, space: TextSpace) -> tuple[str, int]:
    """Return the longest beginning of ``text``, in whole characters, that the target reads, and the tokens left out.

    Of a stored conversation it is the user's turn that is cut.
    """
    if space.problem(text) is None:
        return text, 0
    turn = turn_of(text)
    unread = conversation_of(turn) is not None and conversation_of(space.rejoined(str(turn), turn)) is None
    if unread or SURROGATE.search(turn) or space.fits(turn):
        return text, 0
    least, end = 0, len(turn)
    while end - least > 1:
        middle = (least + end) // 2
        if space.fits(space.rejoined(turn[:middle], turn)):
            least = middle
        else:
            end = middle
    kept = space.rejoined(turn[:least], turn)
    return stored_turn(kept), len(space.codec.encode(turn)) - len(space.codec.encode(kept))
