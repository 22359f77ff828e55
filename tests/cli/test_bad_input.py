from __future__ import annotations

import sys
from pathlib import Path

import pytest
from toy_audits import NEEDLE, call, snapshot, spawn, write_images

FACTORIES = """
from torch import nn
from torpor.targets import Confidence, EarlyExitTarget, ShallowDeepNetwork
from torpor.core.errors import MeterError

class Nothing(nn.Linear):
    def forward(self, x):
        return super().forward(x) * float("nan")

def net(first, second):
    return EarlyExitTarget(ShallowDeepNetwork([nn.Flatten(), nn.ReLU()], [first, second]), Confidence(0.99),
                           input_shape=(1, 4, 4), name="net")

def other(): return 3
def boom(): raise ZeroDivisionError("kaboom")
def key(): raise KeyError("weights")
def disk(): raise OSError("no weights here")
def leave(): raise SystemExit(0)
def needs(path): return path
def uncountable(): raise MeterError("expected known operators, got fft")
def nan_first(): return net(Nothing(16, 2), nn.Linear(16, 2))
def nan_last(): return net(nn.Linear(16, 2), Nothing(16, 2))
def free(): return net(nn.Identity(), nn.Identity())
def one_head(): return EarlyExitTarget(nn.Linear(2, 2), Confidence(0.5), input_shape=(1, 4, 4))
constant = 5
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with good and bad data, modules, and a file that must stay as it is."""
    base = tmp_path_factory.mktemp("bad")
    write_images(base / "data", test=6, train=20)
    write_images(base / "cut", test=6, train=20, broken=0)
    write_images(base / "large", test=6, train=20, side=5)
    write_images(base / "classes", test=6, train=20, classes=6)
    (base / "corrupt").mkdir()
    for split in ("test", "train"):
        (base / "corrupt" / f"{split}.parquet").write_text("no parquet")
    (base / "torpor_bad_factories.py").write_text(FACTORIES)
    (base / "torpor_bad_syntax.py").write_text("def (")
    (base / "torpor_bad_import.py").write_text("raise RuntimeError('not today')")
    (base / "torpor_bad_exit.py").write_text("raise SystemExit(0)")
    (base / "file").write_text("precious")
    return base


@pytest.fixture
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setenv("TORPOR_CACHE", str(place / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return place


def refused(inside: Path, *words: str) -> str:
    """Return the one sentence with which a command is refused, after a look at what it must leave alone."""
    before = {name: content for name, content in snapshot(inside).items() if not name.startswith("out/")}
    code, out, err = call(*words)
    assert code == 2, (code, out, err)
    assert out == ""
    *before_it, said = err.splitlines()
    assert all(line.startswith("About to attack ") for line in before_it), err
    assert said.startswith("torpor: expected ")
    after = {name: content for name, content in snapshot(inside).items() if not name.startswith("out/")}
    assert after == before
    return err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--attacks", "nope"], "an attack by its name"),
        (["--attacks", ""], "at least one attack"),
        (["--attacks", "control-noise"], "controls come on top"),
        (["--attacks", "pgd,control-nope"], "an attack by its name"),
        (["--data-dir", "missing"], "no such file; pass --data-dir"),
        (["--data-dir", "corrupt"], "expected a Parquet file"),
        (["--data-dir", "cut"], "in row 0 of"),
        (["--data-dir", "large"], "images of (4, 4) pixels, got (5, 5)"),
        (["--data-dir", "classes"], "classes from 0 to 1"),
        (["--eps=0"], "eps greater than 0"),
        (["--eps=-1"], "eps greater than 0"),
        (["--eps=nan"], "eps greater than 0, got nan"),
        (["--eps=inf"], "eps greater than 0, got inf"),
        (["--eps=abc"], "a number, a fraction"),
        (["--eps=1e99999999"], "eps greater than 0, got inf"),
        (["--seed", "99999999999999999999999"], "a seed from 0"),
        (["--eps=1/0"], "a number, a fraction"),
        (["--eps="], "a number, a fraction"),
        (["--eps=0.1,x"], "a number, a fraction"),
        (["--eps=300/255"], "at most 1"),
        (["--eps=1/300"], "one pixel level"),
        (["--eps=1e-9", "--norm", "L2"], "one pixel level"),
        (["--norm", "L7"], "norm Linf, L2, L1"),
        (["--limit", "0"], "limit of 1 or more"),
        (["--batch-size", "0"], "batch size of 1 or more"),
        (["--seed", "-1"], "a seed from 0"),
        (["--steps", "0"], "1 step or more"),
        (["--steps", "5", "--attacks", "square"], "no number of steps for square"),
        (["--steps", "5", "--attacks", "uap"], "no number of steps for uap"),
        (["--device", "cuda:99"], "a device that exists here"),
        (["--device", "xyz"], "a device that exists here"),
        (["--device", "meta"], "a device that computes"),
        (["--rule", "nonsense"], "an exit rule such as"),
        (["--rule", "drop:0.05"], "a named rule of toy-needle"),
        (["--rule", "confidence:nan"], "a confidence threshold"),
        (["--out", "file"], "an empty folder, got file"),
        (["--out", "file/below"], "a folder that can be written"),
        (["--out", "data"], "an empty folder, got data with other content"),
    ],
)
def test_an_impossible_audit(inside: Path, options: list[str], words: str) -> None:
    given = ["audit", NEEDLE, "--attacks", "pgd", "--eps", "0.2", "--data-dir", "data", "--out", "out/audit"]
    assert words in refused(inside, *given, *options)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nope", "expected a target, got"),
        ("", "expected a target, got"),
        ("nowhere:target", "No module named 'nowhere'"),
        (":target", "expected a target, got"),
        (".relative:target", "expected a target, got"),
        ("./file.py:target", "which is not there"),
        ("torpor_bad_syntax:target", "SyntaxError"),
        ("torpor_bad_import:target", "RuntimeError: not today"),
        ("torpor_bad_exit:target", "SystemExit: 0"),
        ("torpor_bad_factories:missing", "expected 'missing' in torpor_bad_factories"),
        ("torpor_bad_factories:", "write torpor_bad_factories:other"),
        ("torpor_bad_factories:constant", "a function that returns a Target, got int"),
        ("torpor_bad_factories:other", "to return a torpor Target, got int"),
        ("torpor_bad_factories:boom", "got ZeroDivisionError: kaboom"),
        ("torpor_bad_factories:key", "got KeyError: 'weights'"),
        ("torpor_bad_factories:disk", "got OSError: no weights here"),
        ("torpor_bad_factories:leave", "got SystemExit: 0"),
        ("torpor_bad_factories:needs", "which takes path"),
        ("torpor_bad_factories:uncountable", "expected known operators, got fft"),
        ("torpor_bad_factories:one_head", "as many stages as heads"),
        ("torpor_bad_factories:nan_first", "head 0 of net, got NaN logits"),
        ("torpor_bad_factories:nan_last", "head 1 of net, got NaN logits"),
        ("torpor_bad_factories:free", "costs"),
        ("sdn-vgg16-cifar10", "torpor zoo train sdn-vgg16-cifar10"),
    ],
)
def test_an_impossible_target(inside: Path, name: str, words: str) -> None:
    options = ["--data-dir", "data", "--attacks", "pgd", "--eps", "0.2", "--out", f"out/{abs(hash(name))}"]
    assert words in refused(inside, "audit", name, *options)
    if "nan" not in name:
        assert words in refused(inside, "bound", name)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["check", "missing", "mean(slowdown) < 1"], "which is no folder"),
        (["check", "data", "mean(slowdown) < 1"], "got no audit.json there"),
        (["check", "data", "mean(slowdwn) < 1"], "did you mean slowdown?"),
        (["report", "missing"], "which is no folder"),
        (["report", "data"], "got no audit.json there"),
        (["report", "file"], "which is no folder"),
        (["compare", "data", "cut"], "got no audit.json there"),
        (["measure", NEEDLE, "--limit", "0", "--data-dir", "data"], "limit of 1 or more"),
        (["measure", NEEDLE, "--batch-size", "0", "--data-dir", "data"], "batch size of 1 or more"),
        (["measure", NEEDLE], "pass --data-dir"),
        (["measure", NEEDLE, "--data-dir", "corrupt"], "expected a Parquet file"),
        (["measure", NEEDLE, "--data-dir", "data", "--device", "xyz"], "a device that exists here"),
        (["measure", NEEDLE, "--data-dir", "data", "--rule", "x"], "an exit rule such as"),
        (["measure", "torpor_bad_factories:nan_first", "--data-dir", "data"], "got NaN logits"),
        (["attack", NEEDLE, "nope", "--data-dir", "data", "--out", "out/a"], "an attack by its name"),
        (["attack", NEEDLE, "pgd", "--data-dir", "data", "--out", "out/a", "--limit", "0"], "limit of 1 or more"),
        (["attack", NEEDLE, "pgd", "--data-dir", "data", "--out", "out/a", "--seed", "-1"], "a seed from 0"),
        (["attack", NEEDLE, "pgd", "--data-dir", "data", "--out", "file/a"], "a file that can be written"),
        (["attack", NEEDLE, "pgd", "--data-dir", "data", "--out", "data"], "got the folder data"),
        (["attack", NEEDLE, "uap", "--data-dir", "classes", "--out", "out/a"], "classes from 0 to 1"),
        (["env", "--device", "xyz"], "a device that exists here"),
        (["list", "attacks", "--kind", "attack"], "'torpor list taxonomy' only"),
        (["zoo", "info", "nope"], "a target of the zoo"),
        (["zoo", "info", "sdn-vgg16-cifar10"], "torpor zoo train sdn-vgg16-cifar10"),
        (["zoo", "train", "nope"], "a target of the zoo"),
        (["zoo", "train", "sdn-resnet56-cifar10", "--data-dir", "missing", "--out", "out/zoo"], "pass --data-dir"),
        (["zoo", "train", "sdn-digits", "--epochs", "0"], "1 epoch or more"),
        (["zoo", "train", "sdn-digits", "--seed", "-1"], "a seed from 0"),
        (["zoo", "train", "sdn-digits", "--epochs", "1", "--out", "file"], "a folder that can be written"),
        (["zoo", "train", "sdn-digits", "--epochs", "1", "--device", "xyz"], "a device that exists here"),
    ],
)
def test_impossible_wishes_of_the_other_verbs(inside: Path, given: list[str], words: str) -> None:
    assert words in refused(inside, *given)


def test_the_real_command_says_one_sentence(inside: Path) -> None:
    done = spawn("audit", "torpor_bad_factories:boom", "--out", "out/real", cwd=inside)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("torpor: expected torpor_bad_factories:boom() to return")
    assert "Traceback" not in done.stderr
