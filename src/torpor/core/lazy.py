"""Names that load on first use, and old names: each of these warns, and goes in the next release but one."""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # all that `import torpor` loads is this file
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from importlib.abc import Loader
    from types import ModuleType
    from typing import Any, ParamSpec, TypeVar

    Given = ParamSpec("Given")
    Result = TypeVar("Result")
else:
    Loader = object  # importlib.abc takes longer to import than this file


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


class MovedModule(Loader):
    """Finds a module under its old name, once nothing else did."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return a module that re-exports what the module of today defines."""
        if not fullname.startswith("torpor."):
            return None
        from torpor.core.moved import new_name

        return None if new_name(fullname) is None else ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python to make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Let ``module`` look up its names in the module of today."""
        from torpor.core.moved import new_name

        old = module.__name__
        new = new_name(old)
        assert new is not None
        warnings.warn(f"{old} is now {new}; import from there", DeprecationWarning, stacklevel=2)
        vars(module)["__getattr__"] = lambda name: getattr(importlib.import_module(new), name)


def find_moved() -> None:
    """Find modules under their old names from now on."""
    if not any(isinstance(finder, MovedModule) for finder in sys.meta_path):
        sys.meta_path.append(MovedModule())


class Renamed:
    """An attribute under its old name.

    Args:
        new: the name that it has now.

    >>> class Lamp:
    ...     watts = 7
    ...     power = Renamed("watts")
    >>> with warnings.catch_warnings(record=True, action="always") as told:
    ...     Lamp().power
    7
    >>> str(told[0].message)
    'Lamp.power is now Lamp.watts'
    """

    def __init__(self, new: str) -> None:
        self.new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self.old = name

    def __get__(self, instance: object, owner: type) -> Any:  # noqa: ANN401 - what the attribute is
        warnings.warn(
            f"{owner.__name__}.{self.old} is now {owner.__name__}.{self.new}", DeprecationWarning, stacklevel=2
        )
        return getattr(owner if instance is None else instance, self.new)


def renamed_argument(old: str, new: str) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """Return a decorator of a function that takes a keyword argument under its old name too.

    >>> @renamed_argument("power", "watts")
    ... def shine(*, watts):
    ...     return watts
    >>> with warnings.catch_warnings(record=True, action="always") as told:
    ...     shine(power=7)
    7
    >>> str(told[0].message)
    'power of shine is now watts'
    """

    def decorated(function: Callable[Given, Result]) -> Callable[Given, Result]:
        from functools import wraps

        @wraps(function)
        def taking(*args: Given.args, **named: Given.kwargs) -> Result:
            if old in named:
                text = f"{old} of {function.__qualname__.removesuffix('.__init__')} is now {new}"
                warnings.warn(text, DeprecationWarning, stacklevel=2)
                named[new] = named.pop(old)
            return function(*args, **named)

        return taking

    return decorated
