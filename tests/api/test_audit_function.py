"""``torpor.audit`` finds what the command line finds, and takes objects where that takes names."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_audits import NEEDLE, call, records, write_images

import torpor
from torpor.core.errors import UsageError
from torpor.core.text import TextSpace
from torpor.data.given import given_inputs
from torpor.targets.early_exit.toys import needle

BRIGHT = torch.full((3, 1, 4, 4), 0.8)
"""Within Linf 0.35 of these, some input closes every exit of the needle; they themselves close none."""
NOTEBOOK = """
import dataclasses
import torch
import torpor

@dataclasses.dataclass(frozen=True, kw_only=True)
class Darker(torpor.Attack):
    id = "darker"
    paper = None
    share: float = 1.0

    def search(self, target, inputs, labels, seed):
        count = torch.ones(len(inputs), dtype=torch.int64)
        return torpor.Candidates(inputs - self.eps * self.share, count, 0 * count)

images = torch.full((2, 1, 4, 4), 0.8)
found = torpor.audit({target!r}, [Darker(eps=0.3, share=0.9)], inputs=images, timed=False)
row = found.rows[1]
print(row["attack"], row["slowdown_mean"], found.command)
try:
    torpor.audit({target!r}, [Darker(eps=0.3)], inputs=images, timed=False, executor="processes:2")
except torpor.TorporError as error:
    print(error)
"""


def test_it_is_the_audit_of_the_command_line(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", test=6)
    words = ["--attacks", "square:queries=20,control-noise", "--eps", "0.2,0.1", "--norm", "Linf", "--limit", "5"]
    code, _, error = call(
        "audit", NEEDLE, *words, "--defenses", "deadline:0.5", "--data-dir", data, "--out", tmp_path / "a"
    )
    assert code == 0, error
    found = torpor.audit(
        NEEDLE,
        ["square:queries=20", "control-noise"],
        eps=["0.2", 0.1],
        norm="Linf",
        limit=5,
        defenses=["deadline:0.5"],
        data_dir=data,
        out=tmp_path / "b",
    )
    plans = [json.loads((tmp_path / name / "plan.json").read_text()) for name in "ab"]
    assert plans[0] == plans[1]
    assert found.records.to_arrow().equals(records(tmp_path / "a"))
    assert str(found.command).endswith("--out b")
    assert str(torpor.load_audit(tmp_path / "a").command).removesuffix("a") == str(found.command).removesuffix("b")


def test_objects_are_audited_as_their_names_are(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data", test=6)
    square = torpor.load_attack("square", eps=0.2, queries=20)
    by_name = torpor.audit(NEEDLE, "square:queries=20", eps=0.2, norm="Linf", data_dir=data, timed=False)
    held = torpor.audit(needle(), [square], data_dir=data, timed=False)
    assert held.records.to_arrow().equals(by_name.records.to_arrow())
    assert by_name.command
    assert held.command is None
    stored = needle().data(data).load("test").inputs
    given = torpor.audit(needle(), [square], inputs=stored, timed=False)
    for column in ("cost", "cost_clean", "slowdown", "headroom"):
        assert given.records[column].tolist() == by_name.records[column].tolist()
    assert given.config["inputs"].startswith("6 images given in memory, ")


def test_arrays_are_stored_as_files_hold_them(tmp_path: Path) -> None:
    space = needle().space
    floats = given_inputs(BRIGHT.numpy().astype(np.float64), space)
    pixels = given_inputs((BRIGHT * 255).round().to(torch.uint8), space)
    assert floats.fingerprint() == pixels.fingerprint() != given_inputs(1 - BRIGHT, space).fingerprint()
    frozen = BRIGHT.numpy()[::-1].astype(np.float16)
    frozen.flags.writeable = False
    assert given_inputs(frozen, space).fingerprint() == pixels.fingerprint()
    handed_over = BRIGHT.clone()
    data = given_inputs(handed_over, space)
    handed_over.zero_()
    assert data.load("test").inputs.unique().tolist() == [204]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.full((2, 1, 4, 4), 1.5), "expected pixels in [0, 1], got values from 1.5 to 1.5"),
        (torch.zeros(1, 4, 4), "expected images of shape [B, 1, 4, 4], got [1, 4, 4]"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.int64), "expected floating-point images in [0, 1], got torch.int64"),
        (torch.zeros(0, 1, 4, 4), "expected at least one image, got an empty batch"),
        (
            ["a text"],
            "or an array of image inputs for this target, got a list of str",
        ),
        (3, "for this target, got int"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: object, said: str) -> None:
    with pytest.raises(torpor.TorporError) as error:
        torpor.audit(needle(), "square", inputs=inputs)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_texts_are_given_as_a_list() -> None:
    class Codec:
        special: frozenset[int] = frozenset()
        special_texts = ()
        size = 256
        is_tokenizer = True

        def encode(self, text: str) -> tuple[int, ...]:
            return tuple(text.encode())

        def decode(self, ids: object) -> str:
            raise NotImplementedError

    data = given_inputs(["one", "two"], TextSpace(Codec(), 9))  # type: ignore[arg-type]
    assert data.load("test").inputs == ("one", "two")
    for wrong in ("one", [1], torch.zeros(1)):
        with pytest.raises(UsageError, match="expected a path, a DataSet or a list of texts"):
            given_inputs(wrong, TextSpace(Codec(), 9))  # type: ignore[arg-type]


def test_what_only_this_program_has_is_not_for_workers() -> None:
    with pytest.raises(UsageError, match="expected target and inputs that a worker can load by name"):
        torpor.audit(needle(), "square", inputs=BRIGHT, executor="processes:2")


def test_attacks_at_other_budgets_than_the_audits_are_refused() -> None:
    square = torpor.load_attack("square", eps=0.2)
    for options in ({"eps": 0.1}, {"attacks": [square, torpor.load_attack("deepsloth", eps=0.1)]}):
        attacks = options.pop("attacks", [square])
        with pytest.raises(UsageError, match="expected attacks with the norm, radius and steps of the audit"):
            torpor.audit(needle(), attacks, inputs=BRIGHT, **options)  # type: ignore[arg-type]


def test_a_rule_is_for_targets_by_name() -> None:
    with pytest.raises(UsageError, match=r"expected a rule for a target by name, got 'entropy:0\.3' for toy-needle"):
        torpor.audit(needle(), "square", inputs=BRIGHT, rule="entropy:0.3")


def test_an_attack_of_a_notebook_runs_here_only(tmp_path: Path) -> None:
    script = tmp_path / "notebook.py"
    script.write_text(NOTEBOOK.format(target=NEEDLE))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    target = needle()
    dark = target.space.snap(torch.full((1, 1, 4, 4), 204 / 255 - 0.27))
    costs = [target.prices.cost(target.run(images).work).item() for images in (dark, BRIGHT[:1])]
    assert first == f"darker:share=0.9 {costs[0] / costs[1]} None"
    assert costs[0] > costs[1]
    assert second.startswith("expected inputs and attacks that a worker can load by name")


def test_a_temporary_folder_lives_as_long_as_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = torpor.audit(needle(), "deepsloth:steps=1", inputs=BRIGHT, timed=False)
    table, folder = found.records, found.folder
    assert folder.parent == tmp_path
    del found
    gc.collect()
    assert len(table) == 5 * len(BRIGHT)  # whoever holds the records holds the audit
    del table
    gc.collect()
    assert not folder.exists()
    with pytest.raises(torpor.TorporError):
        torpor.audit(needle(), "deepsloth:steps=1", inputs=BRIGHT, limit=2, batch_size=2, max_queries=1)
    assert not list(tmp_path.iterdir())


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    options = {"inputs": BRIGHT, "limit": 3, "timed": False}
    torpor.audit(needle(), "deepsloth:steps=1", progress=lambda *args: told.append(args), **options)  # type: ignore[arg-type]
    done = [steps for _, steps, _ in told]
    total = max(each for _, _, each in told)
    assert done == sorted(done)
    assert {each for _, _, each in told} == {total}
    assert done[0] == 0 < done[-1] < total
    assert any("deepsloth.steps=1" in text for text, _, _ in told)


def test_default_attacks_that_must_learn_are_left_out_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.audits.request.default_attacks", lambda target: ("uap", "deepsloth:steps=1"))
    with pytest.warns(UserWarning, match="without uap: there is nothing to learn from but what is audited"):
        found = torpor.audit(needle(), inputs=BRIGHT, timed=False)
    assert found.config["attacks"] == ["deepsloth:steps=1"]
