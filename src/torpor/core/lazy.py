"""Names of a package that load on first use, so that a package costs only what is used of it."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # all that `import torpor` loads is this file
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def lazy(package: str, names: Mapping[str, Iterable[str]]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package whose names live in modules that load on first use.

    Assign both where type checkers do not look, beside the imports that they see, as ``torpor/core/__init__.py`` does.
    No name may be that of a module of the package, which would hide it once it is loaded.

    Args:
        package: its name.
        names: by module, its name within the package, what it defines.

    >>> getattr_, _ = lazy("torpor.core", {"budget": ["Budget"]})
    >>> getattr_("Budget").__module__
    'torpor.core.budget'
    >>> getattr_("Nope")
    Traceback (most recent call last):
    AttributeError: module 'torpor.core' has no attribute 'Nope'
    """
    homes = {name: module for module, defined in names.items() for name in defined}

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, found)  # found at once the next time
        return found

    def known() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, known
