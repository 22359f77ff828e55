"""(p) How many files of torpor does a command open, and who asks for each? ``python -m benchmarks.imports [WORD ...]``.

No timing, only counts; by default of ``audit sdn-digits --attacks standard --limit 8`` into a folder that is deleted.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import FrameType

COMMAND = ("audit", "sdn-digits", "--attacks", "standard", "--limit", "8", "--out")
LAZY = ("importlib", "torpor.core.lazy", "torpor.core.registry")
"""Modules that import for others: who asked them is meant."""


class Importers(MetaPathFinder):
    """Remembers which module asked first for each module of torpor; finds none itself."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Remember who asks for ``fullname``."""
        if fullname.partition(".")[0] == "torpor":
            frame: FrameType | None = sys._getframe(1)
            while frame and _name(frame).startswith(LAZY):
                frame = frame.f_back
            self.known.setdefault(fullname, _name(frame) if frame else "")


def _name(frame: FrameType) -> str:
    name = str(frame.f_globals.get("__name__", ""))
    return "importlib" if name == "importlib._bootstrap" or "importlib" in frame.f_code.co_filename else name


def main(words: Sequence[str]) -> None:
    """Run a command and print what it opened to the standard error stream, the number of files last."""
    importers = Importers()
    sys.meta_path.insert(0, importers)
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["torpor", *(words or (*COMMAND, f"{folder}/audit"))]
        from torpor.cli.main import main as torpor

        try:
            torpor()
        except SystemExit as ended:
            if ended.code:
                raise
    for name, importer in sorted(importers.known.items()):
        print(f"{name} <- {importer}", file=sys.stderr)
    packages = Counter(".".join(name.split(".")[:2]) for name in importers.known)
    print(", ".join(f"{name} {count}" for name, count in sorted(packages.items())), file=sys.stderr)
    print(f"{len(importers.known)} files of torpor", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
