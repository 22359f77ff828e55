"""A regression set: expensive inputs with the work that they did, in a folder that a build can replay."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torpor.audits.mining.inputs import NaturalInputs
from torpor.audits.mining.ranking import ExpensiveInput
from torpor.audits.mining.set_folder import FILE, require_new
from torpor.core.batches import Samples
from torpor.core.conversation import MARK
from torpor.core.errors import DataError, UsageError
from torpor.core.files import require_file
from torpor.core.space import InputSpace, WaveSpace
from torpor.core.work import PriceList

SCHEMA = "torpor.set/1"
LARGEST = 2**26
"""Bytes of the file that describes a set."""
TEXTS = "inputs.jsonl"
FILES = "inputs"


@dataclass(frozen=True)
class ExpectedWork:
    """What an input of a set did when it was mined.

    Attributes:
        place: where it was, in words.
        counts: of each unit.
        cost: in the target's own prices.
    """

    place: str
    counts: tuple[int, ...]
    cost: float


@dataclass(frozen=True)
class RegressionSet:
    """A set as it is stored.

    Attributes:
        folder: where it lies.
        target: as the user named it.
        rule: exit rule that was asked for; None for the target's own.
        currency: that costs are in.
        units: names of the units.
        inputs: file or folder of the inputs, within the folder of the set.
        digest: of the inputs.
        expected: of each input, in the order of the inputs.
    """

    folder: Path
    target: str
    rule: str | None
    currency: str
    units: tuple[str, ...]
    inputs: str
    digest: str
    expected: tuple[ExpectedWork, ...]

    @property
    def path(self) -> Path:
        """Where the inputs are."""
        return self.folder / self.inputs


def write_set(
    folder: Path,
    target: str,
    inputs: NaturalInputs,
    top: Sequence[ExpensiveInput],
    space: InputSpace,
    units: Sequence[str],
    own: PriceList,
    rule: str | None = None,
) -> RegressionSet:
    """Write expensive inputs as files that ``--inputs`` reads, and beside them what they did.

    Args:
        folder: that is made; one that exists must be empty.
        target: as the user named it.
        inputs: that were mined.
        top: the costliest of them.
        space: of the target.
        units: names of its units.
        own: its own prices.
        rule: exit rule that was asked for.

    Raises:
        UsageError: if something is in the folder already, or nothing can be written there.
    """
    require_new(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stored = inputs.read([each.row for each in top])
        name = _write_inputs(folder, inputs.kind, stored, space)
        expected = tuple(
            ExpectedWork(
                each.place,
                each.counts,
                math.fsum(n * price for n, price in zip(each.counts, own.per_unit, strict=True)),
            )
            for each in top
        )
        found = RegressionSet(
            folder, target, rule, own.currency, tuple(units), name, inputs_digest(folder / name), expected
        )
        _write(found)
    except OSError as error:
        raise UsageError(f"expected a folder that can be written, got {error}; choose another than {folder}") from error
    return found


def read_set(folder: Path) -> RegressionSet:
    """Read a regression set.

    Raises:
        DataError: if its file is missing, damaged or of another schema.
    """
    path = require_file(folder / FILE)
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"expected up to {LARGEST:,} bytes in {path}, got more; mine the set again")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"expected JSON in {path}, got {error}; mine the set again") from error
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        got = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
        raise DataError(f"expected schema {SCHEMA!r} in {path}, got {got!r:.60}; mine the set again")
    try:
        return _checked(folder, raw)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"expected a set as torpor mine writes it in {path}, got {error!r:.80}; mine it again"
        ) from error


def inputs_digest(path: Path) -> str:
    """Return a digest of a file, or of the names and contents of the files in a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        digest.update(file.name.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(hashlib.sha256(require_file(file).read_bytes()).digest())
    return digest.hexdigest()


def _write_inputs(folder: Path, kind: str, stored: Samples, space: InputSpace) -> str:
    if kind == "text":
        lines = [text.removeprefix(MARK) if text.startswith(MARK) else json.dumps({"prompt": text}) for text in stored]
        (folder / TEXTS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return TEXTS
    inner = folder / FILES
    inner.mkdir()
    for number, each in enumerate(stored, 1):
        if isinstance(space, WaveSpace):
            from torpor.data.waves import write_wav

            (inner / f"{number:05}.wav").write_bytes(write_wav(each.numpy(), space.rate))
        else:
            from PIL import Image

            pixels = each.permute(1, 2, 0).numpy()
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(inner / f"{number:05}.png")
    return FILES


def _write(found: RegressionSet) -> None:
    from torpor.core.files import write_atomically

    parts: dict[str, Any] = asdict(found)
    del parts["folder"]
    write_atomically(found.folder / FILE, json.dumps({"schema": SCHEMA, **parts}, indent=1) + "\n")


def _checked(folder: Path, raw: dict[str, Any]) -> RegressionSet:
    texts = [raw[name] for name in ("target", "currency", "digest")]
    if not all(isinstance(each, str) for each in [*texts, raw["rule"] or "", *raw["units"]]):
        raise TypeError("other than texts")
    if raw["inputs"] not in (TEXTS, FILES):  # no path out of the folder
        raise ValueError(raw["inputs"])
    expected = []
    for each in raw["expected"]:
        counts, cost = tuple(map(int, each["counts"])), float(each["cost"])
        if len(counts) != len(raw["units"]) or not (math.isfinite(cost) and cost >= 0) or min(counts, default=0) < 0:
            raise ValueError(each)
        expected.append(ExpectedWork(str(each["place"]), counts, cost))
    if not expected:
        raise ValueError("no inputs")
    target, currency, digest = texts
    return RegressionSet(
        folder, target, raw["rule"], currency, tuple(raw["units"]), raw["inputs"], digest, tuple(expected)
    )
