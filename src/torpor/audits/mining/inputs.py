"""What is mined: inputs by number, each read when it is needed, with the place that it is from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from typing_extensions import override

from torpor.audits.mining.left_out import LeftOut, number_of, unread
from torpor.core.batches import Samples
from torpor.core.conversation import MARK, shown_turn, turn_of
from torpor.core.errors import DataError, UsageError
from torpor.core.space import ImageSpace, InputSpace, WaveSpace
from torpor.core.text import TextSpace
from torpor.data.cut_texts import cut_text
from torpor.data.files import Files
from torpor.data.logs.lines import BrokenLine, numbered_lines
from torpor.data.logs.reader import InputLog, read_log
from torpor.data.logs.request import LoggedRequest
from torpor.data.logs.rotated import log_kind, logs_in
from torpor.data.own import own_inputs


class NaturalInputs(ABC):
    """Inputs of a log or a folder.

    Attributes:
        source: where they are from.
        kind: ``"text"``, ``"image"`` or ``"wave"``.
        places: where each of them is, in words.
        times: how often each of them occurs.
        left_out: what was left out, or changed.
    """

    source: str
    kind: str
    places: Sequence[str]
    times: Sequence[int]
    left_out: Sequence[LeftOut]

    def __len__(self) -> int:
        return len(self.places)

    @abstractmethod
    def read(self, rows: Sequence[int]) -> Samples:
        """Return inputs as a data set stores them: texts, or integers ``[B, ...]``.

        Raises:
            DataError: if one cannot be read any more.
        """

    def shown(self, row: int) -> str | None:
        """Return the text that stands for an input; None if it is no text."""
        return None


class NaturalTexts(NaturalInputs):
    """Texts in memory, each of them once.

    Args:
        source: where they are from.
        found: ``(place, text)`` of each, as files hold it.
        space: of the target.
        left_out: before.

    >>> from torpor.targets.decoder.toy_text import ToyText
    >>> texts = NaturalTexts("log", [("line 1", "a"), ("line 2", "<pad>"), ("line 3", "a")], ToyText().space)
    >>> texts.read([0]), texts.places, texts.times, texts.left_out[0].said
    (('a',), ['line 1'], [2], '1 text was not of the kind that the target takes and left out')
    """

    kind = "text"
    places: list[str]
    times: list[int]

    def __init__(
        self, source: str, found: Iterable[tuple[str, str]], space: TextSpace, left_out: Sequence[LeftOut] = ()
    ) -> None:
        self.source, self._space = source, space
        self.texts, self._rows = list[str](), dict[str, int]()
        self.places, self.times = [], []
        self._cut = self._turns = self._unfit = 0
        self._first = ""
        for place, text in found:
            self._add(place, text)
        if not self.texts:
            why = self._first or "there are only blanks"
            raise DataError(f"expected texts that the target takes in {source}, got none: {why}; check the file")
        self.left_out = [*left_out, *self._said()]

    def _add(self, place: str, text: str) -> None:
        kept, lost = cut_text(text, self._space)
        problem = self._space.problem(kept)
        if problem and kept.startswith(MARK):  # of a conversation, a target without a chat template reads the turn
            kept, lost = cut_text(str(turn_of(kept)), self._space)
            problem = self._space.problem(kept)
            self._turns += problem is None
        if problem:
            self._unfit, self._first = self._unfit + 1, self._first or f"{place}: expected {problem}"
            return
        self._cut += lost > 0
        row = self._rows.setdefault(kept, len(self.texts))
        if row == len(self.texts):
            self.texts.append(kept)
            self.places.append(place)
            self.times.append(0)
        self.times[row] += 1

    def _said(self) -> list[LeftOut]:
        found = []
        if self._unfit:
            said = f"{number_of(self._unfit, 'text')} not of the kind that the target takes and left out"
            found.append(LeftOut(said, self._first))
        if self._cut:
            found.append(LeftOut(f"{number_of(self._cut, 'text')} longer than the target reads and cut"))
        if self._turns:
            said = f"{number_of(self._turns, 'conversation')} cut to the last turn of the user's"
            found.append(LeftOut(f"{said}, since the target has no chat template"))
        return found

    @override
    def read(self, rows: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.texts[row] for row in rows)

    @override
    def shown(self, row: int) -> str:
        return shown_turn(self.texts[row])


class NaturalFiles(NaturalInputs):
    """Images or sounds, a file each, read again whenever they are needed; files that cannot be read are counted.

    Args:
        whole: the files.
        space: of the target.
        letterbox: whether images keep their proportions.
        limit: files at most.
    """

    def __init__(self, whole: Files, space: InputSpace, *, letterbox: bool = False, limit: int | None = None) -> None:
        self.source, self.kind, self._space, self._letterbox = str(whole.path), space.kind, space, letterbox
        self._files, broken, first = list[Path](), 0, ""
        for file in whole.paths():
            if limit is not None and len(self._files) >= limit:
                break
            try:
                self._read(file)
            except DataError as error:
                broken, first = broken + 1, first or str(error)
            else:
                self._files.append(file)
        if not self._files:
            raise DataError(first)
        self.left_out = [LeftOut(f"{number_of(broken, 'file')} broken and left out", first)] if broken else []
        self.places, self.times = [file.name for file in self._files], [1] * len(self._files)

    @override
    def read(self, rows: Sequence[int]) -> torch.Tensor:
        return torch.stack([self._read(self._files[row]) for row in rows])

    def _read(self, file: Path) -> torch.Tensor:
        loaded: torch.Tensor = own_inputs(file, self._space, letterbox=self._letterbox).load("test", 1).inputs[0]
        return loaded


def natural_inputs(
    path: Path, space: InputSpace, *, letterbox: bool = False, limit: int | None = None
) -> NaturalInputs:
    """Return what lies at ``path`` as inputs of a target.

    Args:
        path: a log, a file of texts, a line each, or a folder of logs, texts, images or sounds.
        space: of the target.
        letterbox: whether images keep their proportions.
        limit: inputs at most, the first ones.

    Raises:
        UsageError: if there is nothing, or nothing of the target's kind.
        DataError: if nothing of it can be read.
    """
    if not path.exists():
        raise UsageError(f"expected a log or a folder of inputs, got {path}: no such file; check the path")
    if isinstance(space, TextSpace):
        if path.is_dir():
            logs = not list(path.glob("*.txt")) and bool(logs_in(path))
            return _texts(read_log(path, limit), space) if logs else _folder(path, space, limit)
        return _texts(read_log(path, limit) if log_kind(path) else _lines(path, limit), space)
    if log_kind(path) and not path.is_dir():
        raise UsageError(f"expected a folder of {space.kind}s for this target, got the log {path}; pass another target")
    if not isinstance(space, ImageSpace | WaveSpace):
        raise UsageError(f"expected a target of texts, images or sounds, got one of {space.kind}s; mine another")
    whole = own_inputs(path, space, letterbox=letterbox)
    assert isinstance(whole, Files)
    return NaturalFiles(whole, space, letterbox=letterbox, limit=limit)


def _texts(log: InputLog, space: TextSpace) -> NaturalTexts:
    found = [(log.place(row), text) for row, text in enumerate(log.texts) if text]
    without, left_out = len(log) - len(found), unread(log)
    if not found:
        raise UsageError(
            f"expected texts in {log.path}, got a trace of {without:,} requests without any; leave --target out to "
            "rank them by their recorded tokens"
        )
    if without:
        left_out.append(LeftOut(f"{number_of(without, 'request')} without a text and left out"))
    return NaturalTexts(str(log.path), found, space, left_out)


def _lines(path: Path, limit: int | None) -> InputLog:
    """Read a file of texts, a line each, as a log."""
    log = InputLog(path)
    for number, line in numbered_lines(path):
        log.add(number, line if isinstance(line, BrokenLine) else LoggedRequest(line))
        if limit is not None and len(log) >= limit:
            break
    if not len(log):
        raise DataError(f"expected texts in {path}, got none; write a text per line, or pass another path")
    return log


def _folder(path: Path, space: TextSpace, limit: int | None) -> NaturalTexts:
    whole = own_inputs(path, space)
    assert isinstance(whole, Files)
    found, broken, first = list[tuple[str, str]](), 0, ""
    for file in whole.paths():
        if limit is not None and len(found) >= limit:
            break
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            broken, first = broken + 1, first or f"{file.name}: {error}"
        else:
            found += [(file.name, text)] if text.strip() else []
    left_out = [LeftOut(f"{number_of(broken, 'file')} broken and left out", first)] if broken else []
    return NaturalTexts(str(path), found, space, left_out)
