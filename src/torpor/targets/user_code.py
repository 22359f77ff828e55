"""The user's own code of a target: its module and all that it imports, and what these do not tell."""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import ModuleType

import torpor

MOST = 2000
"""Modules that are followed; a larger program is reported as not covered."""
_LIBRARIES = ("site-packages", "dist-packages")
_BY_NAME = frozenset({"import_module", "__import__", "exec", "eval", "run_path", "spec_from_file_location"})
_REMOTE = frozenset(
    {"requests", "httpx", "aiohttp", "urllib3", "urllib.request", "http.client", "socket", "grpc", "openai"}
    | {"anthropic", "boto3"}
)


def code_digests(roots: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return a digest of every module of the user's that ``roots`` need, by name, and what these do not cover.

    Modules of the standard library and of torpor are left out. Of installed packages the version stands in for the
    code, unless they are of the package of a root.

    Args:
        roots: names of modules that are loaded.

    >>> code_digests(["json"])[0].keys(), code_digests(["torpor"])
    (dict_keys(['json', 'json.decoder', 'json.encoder', 'json.scanner']), ({}, []))
    """
    todo = [name for name in dict.fromkeys(roots) if name.split(".")[0] != "torpor"]
    packages, folders = {name.split(".")[0] for name in todo}, set[Path]()
    found, unknown, installed = dict[str, str](), list[str](), set[str]()
    seen = set(todo)
    while todo:
        name = todo.pop(0)
        path = _file(name)
        if path is None:
            unknown += [f"the code of {name}, which has no file"] if name == "__main__" else []
            continue
        if not (is_users(path) or name.split(".")[0] in packages):
            installed |= {name.split(".")[0]} if set(_LIBRARIES) & set(path.parts) else set()
            continue
        if len(found) >= MOST:
            unknown.append(f"code beyond the first {MOST} modules")
            break
        try:
            content = path.read_bytes()
        except OSError:
            unknown.append(f"the code of {name}, whose file cannot be read")
            continue
        found[name] = hashlib.sha256(content).hexdigest()
        needs, doubts = _needs(name, path, content)
        unknown += doubts
        if any("by name" in doubt for doubt in doubts) and path.parent not in folders:
            folders.add(path.parent)
            needs += [loaded for loaded, where in _loaded() if path.parent in where.parents]
        todo += [need for need in dict.fromkeys(needs) if need not in seen]
        seen.update(needs)
    versions = {name: said for name in sorted(installed) if (said := _version(name))}
    return dict(sorted(found.items())) | versions, list(dict.fromkeys(unknown))


def is_users(path: Path) -> bool:
    """Tell whether a file is the user's own: not of Python, of torpor or of an installed package."""
    if any(part in _LIBRARIES for part in path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _others())


def from_user(kind: type) -> bool:
    """Tell whether a class is of the user's own code.

    >>> from_user(dict)
    False
    """
    return _module_from_user(kind.__module__)


@cache
def _module_from_user(name: str) -> bool:
    path = None if name.split(".")[0] in ("torpor", "torch", "builtins") else _file(name)
    return name == "__main__" or (path is not None and is_users(path))


@cache
def _version(package: str) -> str:
    """Return the version of what installs a package; empty where unknown."""
    with suppress(PackageNotFoundError):
        return f"{package} {version(package)}"  # most are called as what they install
    return ", ".join(f"{name} {version(name)}" for name in sorted(set(_distributions().get(package, ()))))


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()  # takes a second


@cache
def _others() -> tuple[Path, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return (Path(torpor.__file__).resolve().parent, *(Path(path).resolve() for path in paths if path))


def _file(name: str) -> Path | None:
    """Return the file of a module, whether it is loaded or not; None where there is none. Nothing is run."""
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    if module is None:
        origin, search = None, None
        for place in range(name.count(".") + 1):
            full = ".".join(name.split(".")[: place + 1])
            known = sys.modules.get(full)
            if known is not None:
                search, origin = getattr(known, "__path__", None), getattr(known, "__file__", None)
                continue
            if place and search is None:
                return None
            spec = PathFinder.find_spec(full, search)
            if spec is None:
                return None
            search, origin = spec.submodule_search_locations, spec.origin if spec.has_location else None
    return Path(origin).resolve() if origin else None


def _loaded() -> Iterator[tuple[str, Path]]:
    for name, module in list(sys.modules.items()):
        if origin := getattr(module, "__file__", None):
            yield name, Path(origin)


def _needs(name: str, path: Path, content: bytes) -> tuple[list[str], list[str]]:
    """Return the modules that a module may import, and what its code leaves open, in words."""
    needs, doubts = list(_held(sys.modules.get(name))), list[str]()
    if path.suffix != ".py":
        return needs, doubts
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return needs, [f"what {name} imports: its code cannot be read"]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            needs += [part for alias in node.names for part in _prefixes(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            needs += [*_prefixes(base), *(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")]
        called = getattr(node, "func", None)
        word = getattr(called, "id", getattr(called, "attr", None)) if isinstance(node, ast.Call) else None
        if word in _BY_NAME and not _of_module(called, node):
            doubts.append(f"code that {name} loads by name ({word})")
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
            doubts.append(f"settings that {name} reads from the environment")
    doubts += [f"what answers {name} ({remote})" for remote in sorted(_REMOTE & set(needs))]
    return needs, doubts


def _of_module(called: object, node: ast.AST) -> bool:
    """Tell whether a call is ``network.eval()``, which loads nothing."""
    return isinstance(called, ast.Attribute) and called.attr == "eval" and not getattr(node, "args", ())


def _held(module: ModuleType | None) -> Iterator[str]:
    """Yield the names of modules that a loaded module holds, or holds something of."""
    for value in list(vars(module).values()) if module is not None else ():
        if isinstance(value, ModuleType):
            yield value.__name__
        elif isinstance(value, type) or callable(value):
            owner = getattr(value, "__module__", None)
            if isinstance(owner, str):
                yield owner


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[: place + 1]) for place in range(len(parts)) if name)
