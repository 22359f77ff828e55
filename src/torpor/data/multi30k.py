"""Multi30k (Elliott et al., 2016): captions of photos in English, German and French."""

from __future__ import annotations

from pathlib import Path

from torpor.core.errors import DataError
from torpor.data.texts import ParquetTexts


def multi30k(folder: Path | None, source: str, reference: str | None = None) -> ParquetTexts:
    """Find Multi30k in ``folder`` or in its subfolder ``multi30k``.

    Args:
        folder: what the user gave as ``--data-dir``.
        source: column of the texts: ``"en"``, ``"de"`` or ``"fr"``.
        reference: column of what a target should answer; None where there is no such thing.

    Raises:
        DataError: without a folder.
    """
    if folder is None:
        raise DataError("expected Multi30k (train, validation and test.parquet), got no folder; pass --data-dir")
    nested = folder / "multi30k"
    return ParquetTexts(nested if nested.is_dir() else folder, source, reference, "multi30k")
