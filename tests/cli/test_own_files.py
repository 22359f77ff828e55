from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from toy_audits import call

from torpor.audits.run.job import source
from torpor.data.cut_texts import cut_text
from torpor.targets.decoder.toy_text import ToyText


def test_own_images_of_a_target_that_exits_early_are_audited_without_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img").mkdir()
    for number in range(3):
        Image.new("L", (28, 28), 60 * number).save(tmp_path / "img" / f"{number}.png")
    common = ["sdn-digits", "--inputs", "img"]
    assert call("measure", *common)[0] == 0
    assert call("audit", *common, "--attacks", "pgd", "--steps", "2", "--out", "run")[0] == 0
    assert call("report", "run")[0] == 0
    clean, *_ = json.loads((tmp_path / "run" / "audit.json").read_text())["summary"]
    assert clean["utility"] is None
    assert clean["cut_n"] is None


def test_texts_that_are_longer_than_the_target_reads_are_cut_and_counted(tmp_path: Path) -> None:
    target = ToyText()
    most = target.space.max_tokens
    long = "ab " * most
    kept, lost = cut_text(long, target.space)
    assert long.startswith(kept)
    assert len(target.space.codec.encode(kept)) <= most
    assert lost == len(target.space.codec.encode(long)) - len(target.space.codec.encode(kept)) > 0
    (tmp_path / "texts.txt").write_text(f"{long}\nab\n")
    assert source(target, None, tmp_path / "texts.txt").load("test").cut == (lost, 0)
