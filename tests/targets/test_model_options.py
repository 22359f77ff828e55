"""Options behind hf:NAME: what they change, what they need, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from chat_models import chat, chat_folder

from torpor.core.errors import UsageError
from torpor.targets import model_options
from torpor.targets.model_options import Options
from torpor.targets.resolve import load_target

TEXT = ("the dog sat",)


def test_a_cap_and_a_type_are_those_of_the_target() -> None:
    target = chat(":cap=5:dtype=bfloat16")
    assert (target.cap, target.model.dtype) == (5, torch.bfloat16)
    assert len(target.run(TEXT).outputs[0].ids) <= 5
    assert "with a cap of the user's" in target.details()["deployment"]
    assert len({chat(each).fingerprint() for each in ("", ":cap=5", ":dtype=bfloat16")}) == 3


@pytest.mark.parametrize(
    ("option", "package"),
    [("device_map=auto", "accelerate"), ("bits=4", "bitsandbytes"), ("bits=8", "bitsandbytes"), ("gguf=a", "gguf")],
)
def test_packages_that_are_missing_are_named(option: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_options, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=f"^expected {package} for {option}, got none; pip install {package}$"):
        load_target(f"hf:{chat_folder()}:{option}")


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ("cap=0", "a cap of 1 token or more"),
        ("cap=many", "hf:cap to be a whole number"),
        ("dtype=int3", "float32 or bfloat16 or float16"),
        ("bits=3", "weights of 4 or 8 bits"),
        ("bits=4:gguf=a", "bits or gguf, got both"),
        ("tap=3", "an option of hf among .*did you mean"),
        ("raw=true:raw=true", "raw once"),
    ],
)
def test_options_that_cannot_be_are_refused(option: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        Options.split(f"model:{option}")


def test_names_with_colons_are_names() -> None:
    assert Options.split("a:b:cap=3") == ("a:b", Options(cap=3))
    assert Options.split("org/model") == ("org/model", Options())


def test_a_folder_of_gguf_files_is_one_only_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_options, "find_spec", lambda name: object())
    (tmp_path / "a.gguf").write_bytes(b"")
    assert Options.split(str(tmp_path)) == (str(tmp_path), Options(gguf="a.gguf"))
    assert Options.split(str(tmp_path / "a.gguf")) == (str(tmp_path), Options(gguf="a.gguf"))
    (tmp_path / "b.gguf").write_bytes(b"")
    with pytest.raises(UsageError, match=r"one GGUF file in .*, got 2"):
        Options.split(str(tmp_path))
    with pytest.raises(UsageError, match="expected a saved model, got"):
        load_target(f"hf:{tmp_path}/b.gguf")
