"""CIFAR-10 (Krizhevsky 2009): photos of ten kinds of objects, from files that the user has."""

from __future__ import annotations

from pathlib import Path

from torpor.data.parquet import ParquetImages

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(folder: Path) -> ParquetImages:
    """Find CIFAR-10 in ``folder`` or in its subfolder ``cifar10``."""
    nested = folder / "cifar10"
    return ParquetImages(nested if nested.is_dir() else folder, (3, 32, 32), CIFAR10_CLASSES, "cifar10")
