"""What a user may have meant by a name that no target has: one sentence that says how to write it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable
from pathlib import Path

from torpor.core.errors import UsageError, did_you_mean
from torpor.core.registry import MARK

SAVED = "config.json"
"""What a folder holds in which transformers saved a model."""
WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".onnx", ".bin", ".h5")
"""Suffixes of files that hold weights, and no code that runs them."""
FACTORIES = ("build", "target", "make", "create", "load")
"""What functions that build targets are called."""
_HUB = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+(?:/[\w.-]+)?)/?")
_ON_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def misnamed(name: str, known: Iterable[str]) -> UsageError:
    """Return the error that says what to write in place of ``name``.

    Args:
        name: as the user typed it; neither a registered name nor ``pkg.module:factory``.
        known: every registered name.

    >>> print(misnamed("https://host/v1", ()))
    expected openai:URL for a server, got 'https://host/v1'; write openai:https://host/v1
    >>> print(misnamed("sdn-digit", ("sdn-digits",)))
    expected a target, got 'sdn-digit'; did you mean sdn-digits? see: torpor list targets
    """
    return UsageError(_address(name) or _file(name) or _folder(name) or _module(name) or _unknown(name, known))


def is_file_path(name: str) -> bool:
    """Tell whether a name is a path of a file or folder, or an address, perhaps with ``:factory`` behind it.

    >>> [is_file_path(name) for name in ("./my.py:build", "my:build", "https://host/v1", "pkg.py")]
    [True, False, True, True]
    """
    path = name.partition(MARK)[0]
    return "/" in name or os.sep in name or path.endswith(".py")


def _address(name: str) -> str:
    if found := _HUB.fullmatch(name):
        return f"expected hf:NAME for a model of the hub, got {name!r}; write hf:{found[1]}"
    if name.startswith(("http://", "https://")):
        return f"expected openai:URL for a server, got {name!r}; write openai:{name}"
    return ""


def _file(name: str) -> str:
    """Say how to name a function of a file."""
    text, _, attribute = name.partition(MARK)
    path = Path(text)
    if path.suffix == ".gguf":
        return f"expected hf:FILE for a GGUF file, got {name!r}; write hf:{text}"
    if path.suffix in WEIGHTS and path.suffix:
        return (
            f"expected code that builds a target, got the weights {name!r}; write a function that loads them and "
            "returns a Target, and pass my_module:function"
        )
    if path.suffix != ".py":
        return ""
    wanted = f"expected pkg.module:factory, got the file {name!r}"
    if not path.is_file():
        return f"{wanted}, which is not there; check the path, and write its module:FUNCTION"
    choices = [attribute] if attribute else functions(path)
    said = f"{path.stem}:{choices[0] if choices else 'FUNCTION'}"
    if not path.stem.isidentifier():
        better = re.sub(r"\W", "_", path.stem)
        return f"{wanted}, whose name is no module's; rename it, such as to {better}.py"
    inside = path.resolve().parent == Path.cwd().resolve()
    where = "" if inside else f"cd {path.parent}, and "
    others = f" (it also has {', '.join(choices[1:4])})" if len(choices) > 1 else ""
    return f"{wanted}; {where}write {said}{others}"


def _folder(name: str) -> str:
    path = Path(name)
    if not name or not path.is_dir():
        return ""
    if (path / SAVED).is_file():
        return f"expected hf:FOLDER for a model that transformers saved, got the folder {name!r}; write hf:{name}"
    return (
        f"expected a target, got the folder {name!r}, which holds no {SAVED} of a saved model; name the code that "
        "builds your target, pkg.module:factory, and pass data by --inputs or --data-dir"
    )


def _module(name: str) -> str:
    """Say how to name a function of a module whose file is here, and of a model that may be on the hub."""
    name = name.removesuffix(MARK)
    path = Path(*name.split(".")).with_suffix(".py") if name and all(map(str.isidentifier, name.split("."))) else None
    if path is not None and path.is_file():
        choices = functions(path)
        return (
            f"expected pkg.module:factory, got the module {name!r} alone; write {name}:{(choices or ['FUNCTION'])[0]}"
        )
    if path is not None and "." in name:
        parts = name.rpartition(".")
        if Path(*parts[0].split(".")).with_suffix(".py").is_file():
            return f"expected pkg.module:factory, got {name!r}; write {parts[0]}:{parts[2]}"
    if _ON_HUB.fullmatch(name) and not name.startswith("."):
        return f"expected hf:NAME for a model of the hub or a folder, got {name!r}; write hf:{name}"
    return ""


def _unknown(name: str, known: Iterable[str]) -> str:
    near = did_you_mean(name, known)
    if near:
        return f"expected a target, got {name!r}; {near}see: torpor list targets"
    return (
        f"expected a target, got {name!r}; name one of 'torpor list targets', hf:FOLDER_OR_NAME, torchvision:NAME, "
        "ultralytics:NAME.yaml, openai:URL, or your own code, pkg.module:factory"
    )


def functions(path: Path) -> list[str]:
    """Return the functions of a file that can be called without arguments; those that look like a factory come first.

    >>> functions(Path("no such file"))
    []
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    found = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not _required(node.args)
    ]
    return [node.name for node in sorted(found, key=_unlike_a_factory)]


def _unlike_a_factory(node: ast.FunctionDef) -> tuple[bool, bool, bool]:
    declared = node.returns is not None and ast.unparse(node.returns).endswith("Target")
    return not declared, node.name not in FACTORIES, not node.name.startswith(FACTORIES)


def _required(given: ast.arguments) -> bool:
    positional = len(given.posonlyargs) + len(given.args)
    return positional > len(given.defaults) or any(default is None for default in given.kw_defaults)
