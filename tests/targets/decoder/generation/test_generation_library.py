"""What torpor needs of transformers is looked for before a model is used, and is named in one file."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from generation_models import folder, hub, network, tokenizer

import torpor
from torpor.core.errors import UsageError
from torpor.targets.decoder.generation import from_transformers
from torpor.targets.decoder.generation.library import METHODS, TESTED, cache_name, check_library
from torpor.targets.resolve import load_target

SOURCE = Path(torpor.__file__).parent
PROJECT = Path(__file__).parents[4] / "pyproject.toml"


def refused(message: str) -> None:
    """Check that no way of loading a model gets past the probe."""
    model, path = network("gpt2"), folder("gpt2")
    ways: tuple[Callable[[], Any], ...] = (
        lambda: from_transformers(model, tokenizer(ends=False)),
        lambda: load_target(f"hf:{path}"),
    )
    for way in ways:
        with pytest.raises(UsageError, match=message) as caught:
            way()
        said = str(caught.value)
        assert said.startswith(f"expected transformers {TESTED}, ")
        assert f"got {hub().__version__} " in said
        assert said.endswith(f"; pip install 'transformers{TESTED}'")
        assert "\n" not in said


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_is_gone_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub().GenerationMixin, name, None)
    refused(f"without GenerationMixin.{name};")


def test_other_arguments_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(self: object, outputs: object, arguments: object, is_encoder_decoder: bool = False) -> None: ...

    def wanting(
        self: object, outputs: object, model_kwargs: object, step: int, is_encoder_decoder: bool = False
    ) -> None: ...

    name = "_update_model_kwargs_for_generation"
    monkeypatch.setattr(hub().GenerationMixin, name, renamed)
    refused(f"whose GenerationMixin.{name} takes no model_kwargs;")
    monkeypatch.setattr(hub().GenerationMixin, name, wanting)
    refused(f"whose GenerationMixin.{name} needs step;")


@pytest.mark.parametrize("name", ["is_croppable", "batch_repeat_interleave", "reorder_cache"])
def test_a_cache_of_another_kind_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:

    class Other:
        def __init__(self, *parts: object, config: object = None) -> None:
            self.self_attention_cache = self.cross_attention_cache = self
            wanted = ("layers", "is_sliding", "is_croppable", "get_seq_length", "reorder_cache")
            for one in {*wanted, "batch_repeat_interleave"} - {name}:
                setattr(self, one, None)

    monkeypatch.setattr(hub(), "DynamicCache", Other)
    refused(f"whose DynamicCache has no {name};")


def test_a_cache_under_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(self: object, input_ids: object, next_sequence_length: int, is_first_iteration: bool) -> None: ...

    monkeypatch.setattr(hub().GenerationMixin, "prepare_inputs_for_generation", prepare)
    with pytest.raises(UsageError, match="takes no cache or past_key_values"):
        check_library(hub())


def test_the_installed_version_has_everything() -> None:
    check_library(hub())
    assert cache_name() in ("cache", "past_key_values")


def test_the_versions_named_are_those_of_the_project() -> None:
    extras = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert f"transformers{TESTED}" in extras["language"]


def private(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that a file reads from objects."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            yield node.attr


def own(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that a file defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_private_names_of_transformers_are_in_one_file() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}
    defined = {name for tree in trees.values() for name in own(tree)}
    foreign = {path: set(private(tree)) - defined for path, tree in trees.items() if "generation" in path.parts}
    library = SOURCE / "targets" / "decoder" / "generation" / "library.py"
    names = {"_beam_search", "_update_model_kwargs_for_generation", "_keys_to_ignore_on_load_missing"}
    assert foreign.pop(library) == names
    assert not any(foreign.values())
