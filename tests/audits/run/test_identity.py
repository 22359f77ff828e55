from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from toy_audits import spawn, write_images

from torpor.audits.plan import Plan
from torpor.audits.run.identity import commit, identify, own_code, user_code
from torpor.data.images import Digits
from torpor.data.sets import Batch, DataSet
from torpor.data.tensors import TensorImages
from torpor.data.texts import Beginnings
from torpor.targets import Confidence, EarlyExitTarget
from torpor.targets.early_exit.toys import needle
from torpor.targets.user_code import code_digests
from torpor.targets.weights import digest, modules_in, plain_state

MAIN = """
import torch
from torch import nn
from torpor.data.tensors import TensorImages
from torpor.targets import Confidence, EarlyExitTarget
from helping.layers import Scale
import settings_of_mine

def build():
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    x = torch.randint(0, 256, (6, 1, 8, 8), generator=generator, dtype=torch.uint8)
    y = torch.zeros(6, dtype=torch.int64)
    net = nn.Module()
    net.stages = nn.ModuleList([nn.Sequential(Scale(), nn.Conv2d(1, 2, 3)), nn.Conv2d(2, 2, 3)])
    net.heads = nn.ModuleList([nn.Sequential(nn.Flatten(), nn.Linear(72, 3)),
                               nn.Sequential(nn.Flatten(), nn.Linear(32, 3))])
    data = TensorImages({"test": (x[:4], y[:4]), "train": (x[4:], y[4:])}, name="rnd")
    return EarlyExitTarget(net.eval(), Confidence(settings_of_mine.THRESHOLD), input_shape=(1, 8, 8), name="mine",
                           data=lambda folder: data)
"""
LAYERS = """
from torch import nn
from .deeper import FACTOR
class Scale(nn.Module):
    def forward(self, x):
        return x * FACTOR
"""


def write_code(place: Path) -> None:
    (place / "mine.py").write_text(MAIN)
    (place / "settings_of_mine.py").write_text("THRESHOLD = 0.4\n")
    (place / "helping").mkdir()
    (place / "helping" / "__init__.py").write_text("")
    (place / "helping" / "layers.py").write_text(LAYERS)
    (place / "helping" / "deeper.py").write_text("FACTOR = 1.0\n")
    (place / "unrelated.py").write_text("x = 1\n")


@pytest.mark.slow
def test_a_finished_audit_of_other_code_is_not_shown(tmp_path: Path) -> None:
    write_code(tmp_path)
    words = ("audit", "mine:build", "--attacks", "pgd", "--steps", "1", "--eps", "64/255", "--out", "run")
    assert spawn(*words, cwd=tmp_path).returncode == 0
    before = (tmp_path / "run" / "audit.json").read_bytes()
    (tmp_path / "unrelated.py").write_text("x = 2\n")
    (tmp_path / "helping" / "deeper.py").write_text("FACTOR = 9.0\n")
    (tmp_path / "mine.py").write_text(MAIN.replace("=torch.uint8)", "=torch.uint8) // 2", 1))
    again = spawn(*words, cwd=tmp_path)
    assert again.returncode == 2
    assert "with other settings, weights, data or versions, or of other code; pass another --out" in again.stderr
    assert "(what differs: data fingerprint, code helping.deeper, code mine)" in again.stderr
    assert (tmp_path / "run" / "audit.json").read_bytes() == before


def test_only_the_users_modules_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_code(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("mine")
    found = code_digests(["mine"])[0]
    assert found["torch"].startswith("torch ")  # a version stands for the code of what is installed
    names = set(found) - {"torch"}
    assert names == {"mine", "helping", "helping.layers", "helping.deeper", "settings_of_mine"}
    for name in names:
        sys.modules.pop(name, None)
    assert code_digests(["mine"])[0] == found  # files are found whether they are loaded or not


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import importlib\ndef f(name): return importlib.import_module(name)\n", "loads by name (import_module)"),
        ("import os\nX = os.environ.get('X')\n", "reads from the environment"),
        ("import requests\n", "what answers odd (requests)"),
        ("def f(\n", "its code cannot be read"),
    ],
)
def test_what_code_leaves_open_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    (tmp_path / "odd.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert words in "; ".join(code_digests(["odd"])[1])


def test_torpors_own_code_counts_but_not_what_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torpor

    copy = tmp_path / "torpor"
    for name, text in (("attacks/early_exit/pgd.py", "a"), ("cli/main.py", "b"), ("__init__.py", "")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text)
    monkeypatch.setattr(torpor, "__file__", str(copy / "__init__.py"))
    first = own_code.__wrapped__()
    (copy / "cli/main.py").write_text("c")
    assert own_code.__wrapped__() == first
    (copy / "attacks/early_exit/pgd.py").write_text("c")
    assert own_code.__wrapped__() != first
    assert user_code("torpor.targets.early_exit.toys:needle", [needle()]) == ({}, [])


class Scaled(nn.Module):
    """A layer whose setting is no parameter."""

    def __init__(self, scale: object) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("hidden", torch.zeros(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Do nothing."""
        return x


@pytest.mark.slow
def test_plain_attributes_buffers_and_layers_settings_are_in_the_digest() -> None:
    def plus(more: float) -> object:
        return lambda x: x + more

    pairs = [(1.0, 2.0), ((1, 2), (1, 3)), (torch.ones(2), torch.zeros(2)), ({"a": 1}, {"a": 2}), (plus(1), plus(2))]
    for one, other in pairs:
        assert plain_state([Scaled(one)]) != plain_state([Scaled(other)])
        assert plain_state([Scaled(one)]) == plain_state([Scaled(one)])
    changed = Scaled(1.0)
    changed.get_buffer("hidden").add_(1)
    assert digest("", [changed]) != digest("", [Scaled(1.0)])
    assert digest("", [nn.Dropout(0.1)]) != digest("", [nn.Dropout(0.2)])
    assert digest("", [nn.ReLU()]) != digest("", [nn.GELU()])
    assert plain_state([Scaled(object())]) == plain_state([Scaled(object())])  # no addresses
    target, other = (holding(scale) for scale in (1.0, 2.0))
    plan, data = Plan("torpor.targets.early_exit.toys:needle", ("pgd",)), Digits()
    assert target.fingerprint() == other.fingerprint()  # not an attribute that may count calls
    assert identify(plan, target, data).target != identify(plan, other, data).target


def holding(scale: float) -> EarlyExitTarget:
    """Return a target whose network holds a plain attribute."""
    torch.manual_seed(0)
    net = nn.Module()
    net.stages = nn.ModuleList([Scaled(scale), nn.Flatten()])
    net.heads = nn.ModuleList([nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), nn.Linear(16, 2)])
    return EarlyExitTarget(net, Confidence(0.5), input_shape=(1, 4, 4))  # type: ignore[arg-type]


class Yields(DataSet):
    """A data set of the user's own that has no fingerprint."""

    name = "mine"

    def __init__(self, shift: object) -> None:
        self.shift = shift

    def samples(self, split: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Yield tiny images."""
        for number in range(4):
            yield torch.full((1, 4, 4), number + int(str(self.shift)), dtype=torch.uint8), number % 2


class Words(Yields):
    """Texts of the user's own."""

    def samples(self, split: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Yield one."""
        yield f"{self.shift} more", None


class Shifted(TensorImages):
    """A data set that makes other samples than its tensors are."""

    shift = 0

    def samples(self, split: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Yield them."""
        for image, label in super().samples(split):
            yield image + self.shift, label


@pytest.mark.slow
def test_data_without_a_fingerprint_are_told_by_what_they_yield() -> None:
    plan, target = Plan("torpor.targets.early_exit.toys:needle", ("pgd",), limit=3), needle()
    one, same, other = (identify(plan, target, Yields(shift)) for shift in (0, 0, 1))
    assert one == same
    assert one.data != other.data
    assert any("training samples of mine" in unknown for unknown in one.uncovered)
    assert identify(plan, target, Digits()).uncovered == ()
    held = [identify(plan, target, Beginnings(Words(word), 1)).data for word in ("one", "two", "one")]
    assert held[0] == held[2] != held[1]
    pair = (torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    before = identify(plan, target, Shifted({"test": pair}))
    Shifted.shift = 3
    assert identify(plan, target, Shifted({"test": pair})).data != before.data


def test_bytes_of_files_count_whatever_their_number_of_rows(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", test=4, train=8)
    plan, target = Plan("torpor.targets.early_exit.toys:needle", ("pgd",)), needle()
    first = identify(plan, target, target.data(data))
    write_images(tmp_path / "data", test=4, train=8, broken=3)
    second = identify(plan, target, target.data(data))
    assert first.data == second.data
    assert [split for split in first.data_bytes if first.data_bytes[split] != second.data_bytes[split]] == ["test"]


def test_batches_are_told_apart_by_what_is_in_them() -> None:
    texts = [Batch(torch.arange(2), inputs, ()) for inputs in (("ab", "c"), ("a", "bc"), ("ab", "c"))]
    assert texts[0].digest() == texts[2].digest() != texts[1].digest()


def test_what_cannot_be_covered_is_said_in_audit_and_console(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", test=4, train=8)
    body = "    os.environ.get('X')\n    return needle()\n"
    (tmp_path / "asked.py").write_text(
        f"import os\nfrom torpor.targets.early_exit.toys import needle\n\ndef target():\n{body}"
    )
    done = spawn("audit", "asked:target", "--attacks", "pgd", "--eps", "0.2", "--data-dir", data, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "settings that asked reads from the environment" in " ".join(done.stdout.split())
    audit = json.loads((tmp_path / "runs" / "asked.target" / "audit.json").read_text())
    assert audit["identity"]["uncovered"] == ["settings that asked reads from the environment"]
    assert {"torpor", "asked"} <= set(audit["identity"]["code"])


def test_networks_are_found_in_whatever_holds_them() -> None:
    net = nn.Linear(1, 1)
    target = EarlyExitTarget.__new__(EarlyExitTarget)
    target.blocks = [(net, nn.Identity())]
    assert net in modules_in(target)


def test_a_commit_is_that_of_the_repository_in_which_torpor_runs(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert commit(tmp_path) is None
    git("init", "-q")
    assert commit(tmp_path) is None
    (tmp_path / "mine.py").write_text("a = 1\n")
    git("add", "mine.py")
    git("commit", "-q", "-m", "first")
    git("tag", "-a", "v1", "-m", "v1")
    clean = commit(tmp_path)
    assert clean is not None
    assert git("rev-parse", "HEAD").startswith(clean)
    (tmp_path / "below").mkdir()
    (tmp_path / "mine.py").write_text("a = 2\n")
    assert commit(tmp_path / "below") == f"{clean}-dirty"
