"""Twenty mistakes of a first hour: each gets one sentence that says what to write instead."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from audit_factory import write_audit
from PIL import Image
from toy_audits import NEEDLE, call, write_images

MINE = """
import torch
from torch import nn
from torpor.data.tensors import TensorImages
from torpor.targets import Confidence, EarlyExitTarget

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList([nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)])
        self.heads = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)) for _ in range(2)
        )

class Needs(nn.Module):
    def __init__(self, width):
        super().__init__()

def made(side=4, labels=None):
    images = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
    data = TensorImages({"test": (images, torch.arange(6) % 2 if labels is None else labels)})
    shape = (1, side, side)
    return EarlyExitTarget(Network(), Confidence(0.9), input_shape=shape, name="mine", data=lambda folder: data)

def build() -> EarlyExitTarget:
    return made()

def other_shape():
    return made(side=8)

def float_labels():
    return made(labels=torch.rand(6))

def failing():
    raise ValueError("no checkpoint at weights.pt")

def network():
    return Network()

def forgotten():
    made()
"""
TEXT = "torpor.targets.decoder.toy_text:ToyText"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what a new user has in it."""
    base = tmp_path_factory.mktemp("mistakes")
    (base / "torpor_mine.py").write_text(MINE)
    (base / "below").mkdir()
    (base / "below" / "torpor_theirs.py").write_text(MINE)
    (base / "saved").mkdir()
    (base / "saved" / "config.json").write_text("{}")
    (base / "pictures").mkdir()
    Image.new("L", (4, 4)).save(base / "pictures" / "a.png")
    (base / "later").mkdir()
    (base / "later" / "audit.json").write_text('{"schema": "torpor.audit/9"}')
    (base / "weights.pt").write_bytes(b"")
    (base / "spoken.jsonl").write_text('{"messages": [{"role": "user", "content": "99"}]}\n')
    write_images(base / "data", test=4, train=4)
    return base


AUDIT = ("--attacks", "pgd", "--limit", "2", "--out", "out/run")
MISTAKES = {
    "an address": (("audit", "http://host/v1"), "write openai:http://host/v1"),
    "an address of the hub": (("audit", "https://huggingface.co/org/model"), "write hf:org/model"),
    "a file and a function": (("audit", "./torpor_mine.py:build"), "write torpor_mine:build"),
    "a file": (("audit", "torpor_mine.py"), "write torpor_mine:build (it also has made, other_shape, float_labels)"),
    "a file elsewhere": (("audit", "below/torpor_theirs.py:build"), "cd below, and write torpor_theirs:build"),
    "a module": (("audit", "torpor_mine"), "write torpor_mine:build"),
    "a dot": (("audit", "torpor_mine.build"), "write torpor_mine:build"),
    "weights": (("audit", "weights.pt"), "write a function that loads them"),
    "a model's folder": (("audit", "saved"), "write hf:saved"),
    "a name on the hub": (("audit", "org/model"), "write hf:org/model"),
    "a class": (("audit", "torpor_mine:Network"), "got Network, a network; return a target around it"),
    "a class that needs something": (("audit", "torpor_mine:Needs"), "which takes width"),
    "a network": (("audit", "torpor_mine:network"), "got Network, a network; return a target around it"),
    "no return": (("audit", "torpor_mine:forgotten"), "does the function end with return?"),
    "a shape": (("audit", "torpor_mine:other_shape", *AUDIT), "got [1, 1, 4, 4]; pass inputs of that shape, or build"),
    "another schema": (("check", "later", "mean(slowdown) < 2"), "got 'torpor.audit/9'; read it with the torpor that"),
    "cuda": (("audit", NEEDLE, "--device", "cuda:99"), "see: torpor env"),
    "missing data": (("audit", NEEDLE), "pass --data-dir or --inputs"),
    "a late deadline": (("audit", "sdn-digits", "--defenses", "deadline:99"), "from 2 to 6 for sdn-digits, got 99"),
    "a missing hub model": (("audit", "hf:org/no-such-model"), "no such folder"),
    "pictures for texts": (("audit", TEXT, "--inputs", "pictures", *AUDIT[2:]), "the target reads texts, got files of .png"),  # noqa: E501
    "a picture for texts": (("audit", TEXT, "--inputs", "pictures/a.png", *AUDIT[2:]), "the target reads texts"),
    "an unknown list": (("list", "foo"), "got 'foo'; write torpor list targets"),
    "float labels": (("audit", "torpor_mine:float_labels", *AUDIT), "pass labels.long() if they are class numbers"),
    "a factory's own error": (
        ("audit", "torpor_mine:failing"),
        "got ValueError: no checkpoint at weights.pt (line 35 of torpor_mine.py)",
    ),
    "a norm of images": (("audit", TEXT, "--norm", "Linf"), "which changes text inputs, got 'Linf'; pass one of these"),
    "a misspelled target": (("audit", "sdn-digit"), "did you mean sdn-digits? see: torpor list targets"),
    "a misspelled attack": (("audit", NEEDLE, "--attacks", "deepslot"), "did you mean deepsloth? see: torpor list attacks"),  # noqa: E501
    "an attack on texts": (("audit", "sdn-digits", "--attacks", "nmtsloth-char"), "an attack on early exit with image"),
    "a misspelled measure": (("check", "later", "mean(slowdwn) < 2"), "did you mean slowdown?; see: torpor list measures"),  # noqa: E501
    "a missing module": (("audit", "torpor_nowhere:build"), "run torpor in the folder of torpor_nowhere.py"),
    "a misspelled function": (("audit", "torpor_mine:buidl"), "did you mean build?"),
    "nothing": (("audit",), "or torpor.toml in this folder that names it, got neither"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_sentence_that_helps(folder: Path, monkeypatch: pytest.MonkeyPatch, mistake: str) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    words, said = MISTAKES[mistake]
    code, out, err = call(*words)
    assert code == 2
    assert out == "" or out.startswith("Chat template: ")
    (sentence,) = (line for line in err.splitlines() if not line.startswith("About to attack "))
    assert sentence.startswith("torpor: expected ")
    assert said in sentence
    assert len(sentence) < 420  # no long lists of names


def test_a_cuda_build_is_told_from_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None, raising=False)
    err = call("audit", NEEDLE, "--device", "cuda:99")[2]
    assert "which was built without CUDA" in err


def test_a_gate_on_an_audit_without_headroom_says_why(tmp_path: Path) -> None:
    run = write_audit(tmp_path / "run", {"deepsloth": (1.0, 1.0)}, no_headroom=(0, 1))
    code, out, _ = call("check", run, "mean(headroom) < 50%")
    assert code == 11
    assert "there is no headroom: every clean input is at the cap or the static bound from the start" in out


def test_a_module_that_a_library_hides_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "json.py").write_text("def build(): pass")
    err = call("audit", "json:build")[2]
    assert f"that is {json.__file__}, not the json.py here; rename yours" in err
