"""``make test-versions``: generation, with the oldest and the newest transformers that pyproject.toml admits.

Each Python named on the command line gets a venv of its own under ``.venv-versions``. Other packages are those of
constraints.txt, but for what transformers itself asks for. A Python that is not here, or that torch has no wheel for,
is skipped with a reason; if all are, nothing was tested, and the exit code is 1.

With ``--few`` the files that meet transformers' own code run, not those that repeat it for many models and settings,
the oldest transformers on the first Python and the newest on the others.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
VENVS = ROOT / ".venv-versions"
FEW = ("calls", "features", "library", "loading", "signals")
"""Files that tell within a minute whether a version of transformers is one that torpor knows."""
PINS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
TOOLS = ("pytest", "pytest-xdist", "hypothesis")
FREE = ("transformers", "tokenizers", "huggingface_hub", "safetensors")
"""Packages whose version transformers decides."""


def ends(requirement: Requirement, known: Iterable[str]) -> tuple[str, ...]:
    """Return the oldest and the newest version that a requirement admits, once if they are one.

    >>> ends(Requirement("transformers>=5.2,<6"), ["4.57.0", "5.2.0", "5.10.1", "5.9.0", "6.0.0"])
    ('5.2.0', '5.10.1')
    """
    admitted = sorted(requirement.specifier.filter(known), key=Version)
    return tuple(dict.fromkeys((*admitted[:1], *admitted[-1:])))


def main(pythons: Iterable[str], *, few: bool) -> int:
    """Test every pair; return the exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = [Requirement(one) for one in project["optional-dependencies"]["language"]]
    wanted = next(one for one in extra if one.name == "transformers")
    results: list[tuple[str, bool | None]] = []
    for number, command in enumerate(pythons):
        python, release = venv(command, Requirement(f"python{project['requires-python']}"))
        if python is None:
            results.append((f"{command}: skipped: {release}", None))
            continue
        versions = ends(wanted, index_versions(python, "transformers"))
        for version in (versions[-1:] if number else versions[:1]) if few else versions:
            pair = f"Python {release}, transformers {version}"
            began = time.monotonic()
            passed = install(python, version) and passes(python, FEW if few else ("*",))
            said = "passed" if passed else "failed"
            results.append((f"{pair}: {said}, {time.monotonic() - began:.0f} s", passed))
    print(*(line for line, _ in results), sep="\n")
    outcomes = [passed for _, passed in results if passed is not None]
    return 0 if outcomes and all(outcomes) else 1


def venv(command: str, admitted: Requirement) -> tuple[str | None, str]:
    """Return the Python of a venv and its version, or None and why there is none."""
    asked = told(command, "-c", "import platform, sys; print(platform.python_version(), sys.executable)")
    if asked is None or asked.returncode:
        return None, "no such Python here"
    version, found = asked.stdout.strip().split(" ", 1)
    if not admitted.specifier.contains(version):
        return None, f"Python {version}, but torpor needs {admitted.specifier}"
    folder = VENVS / version
    if not (folder / "bin" / "python").exists():
        subprocess.run([found, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    (torch,) = (pin.split("==")[1] for pin in PINS if pin.startswith("torch=="))
    if torch not in (Version(known).public for known in index_versions(python, "torch")):
        return None, f"no wheel of torch {torch} for Python {version}"
    return python, version


def index_versions(python: str, package: str) -> list[str]:
    """Return all releases of a package that pip sees wheels of, for this Python.

    Raises:
        SystemExit: if there is none.
    """
    found = told(python, *pip("index"), "versions", package, "--only-binary=:all:")
    lines = [] if found is None else re.findall(r"^Available versions: (.*)$", found.stdout, re.MULTILINE)
    if not lines:
        raise SystemExit(f"expected releases of {package} on the package index, got none; look at pip's settings")
    return lines[0].split(", ")  # type: ignore[no-any-return]


def install(python: str, version: str) -> bool:
    """Install torpor and a version of transformers; tell whether that went well."""
    kept = VENVS / "constraints.txt"
    kept.write_text("\n".join(pin for pin in PINS if pin.split("==")[0] not in FREE), encoding="utf-8")
    packages = ("--editable", f"{ROOT}[language]", *TOOLS, f"transformers=={version}")
    return not subprocess.run([python, *pip("install"), "--quiet", "--constraint", str(kept), *packages]).returncode


def passes(python: str, names: Iterable[str]) -> bool:
    """Run generation tests, by the end of their files' names; tell whether all passed."""
    files = sorted(
        path for name in names for path in ROOT.glob(f"tests/targets/decoder/generation/test_generation_{name}.py")
    )
    command = (python, "-m", "pytest", "--numprocesses", "2", "-p", "no:cacheprovider", *map(str, files))
    return not subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": ""}).returncode


def pip(verb: str) -> tuple[str, ...]:
    """Return how pip is called."""
    return ("-m", "pip", "--disable-pip-version-check", verb)


def told(command: str, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Run a command for what it says; None if there is no such command. A ``python3.13`` of pyenv is one."""
    chosen = {"PYENV_VERSION": command.removeprefix("python")} if re.fullmatch(r"python3\.\d+", command) else {}
    try:
        return subprocess.run([command, *arguments], capture_output=True, text=True, env={**os.environ, **chosen})
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("pythons", nargs="+", metavar="PYTHON", help="a name or path")
    options.add_argument("--few", action="store_true", help="only what a minute per pair can tell")
    sys.exit(main(**vars(options.parse_args())))
