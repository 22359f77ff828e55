"""Texts that audits save: whole, as string columns that pandas reads."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_resume import Killed, dying
from test_store import OWN, table
from toy_audits import call, records, snapshot

from torpor.audits.plan import Plan
from torpor.audits.run.engine import run_audit
from torpor.audits.run.rows import gather_examples, load_examples, save_examples
from torpor.audits.run.store import Store
from torpor.core.errors import DataError, UsageError
from torpor.core.text import Characters, TextSpace
from torpor.targets.decoder.toy_text import ToyText

TOY = "torpor.targets.decoder.toy_text:ToyText"
LINES = ("the cat sat", "my dog 3", "a tree, é bird", "9", "  two 2")
ODD = ("", "\0", "a\0", "ä" * 5000, "\U0001f600\u202e", " \n\r\n", "NA", "null")
"""Texts that a format may shorten, or take for something else."""


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_any_text_comes_back_whole(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("texts") / "attack-chars-0.3.safetensors"
    found = {"index": torch.arange(len(texts)), "clean": tuple(texts), "attacked": tuple(texts[::-1])}
    files = save_examples(path, found)
    assert [file.name for file in files] == [path.name, "attack-chars-0.3.texts.parquet"]
    again = load_examples(path)
    assert again["index"].equal(found["index"])
    assert (again["clean"], again["attacked"]) == (found["clean"], found["attacked"])
    assert pd.read_parquet(files[1])["attacked"].tolist() == texts[::-1]


def test_texts_of_any_length_pass_through_shards(tmp_path: Path) -> None:
    store = Store(tmp_path, OWN)
    for number, texts in enumerate((ODD[:4], ODD[4:])):
        index = torch.arange(4) + 4 * number
        found = {"index": index, "slowdown": torch.ones(4), "clean": texts}
        store.write(number, table(index.tolist()), {f"row/{name}": values for name, values in found.items()}, {})
        assert store.has(number)
    assert gather_examples(store, "row")["clean"] == ODD
    store.merge()
    path = tmp_path / "shards" / "000001.texts.parquet"
    content = path.read_bytes()
    for damaged in (content[:-20], b""):
        path.write_bytes(damaged)
        assert not store.has(1)
    path.unlink()
    assert not store.has(1)
    assert store.lost(2) == [1]


def test_what_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="UTF-8 can hold"):
        save_examples(tmp_path / "x.safetensors", {"index": torch.arange(1), "output": ("\ud800",)})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="UTF-8 can hold"):
        TextSpace(Characters(), 10).check(("a \udfff",))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return Plan(TOY, ("nmtsloth-char",), inputs=str(path), batch_size=2, timed=False)


@pytest.fixture(scope="module")
def folder(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_audit(plan, ToyText(cap=40), folder)
    return folder


def test_saved_texts_are_those_of_the_records(folder: Path) -> None:
    kept = records(folder).to_pandas()
    for path in sorted((folder / "examples").glob("*.parquet")):
        saved, rows = pd.read_parquet(path), kept[kept["attack"] == path.name.rsplit("-", 2)[0]]
        assert saved["index"].tolist() == rows["sample"].tolist() == list(range(len(LINES)))
        assert saved["clean"].tolist() == list(LINES)
        assert saved["attacked_output"].tolist() == rows["output"].tolist()
        outcome = ToyText(cap=40).run(tuple(saved["attacked"]))
        assert outcome.work.counts.tolist() == [list(counts) for counts in rows["work"]]


def test_an_audit_of_texts_that_is_killed_goes_on_to_the_same_files(
    plan: Plan, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in (2, 4, 9, 13):
        run = tmp_path / str(at)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying(os.replace, at))
            with pytest.raises(Killed):
                run_audit(plan, ToyText(cap=40), run)
        run_audit(plan, ToyText(cap=40), run)
        found, whole = snapshot(run), snapshot(folder)
        assert found.keys() == whole.keys()
        assert all(found[name] == whole[name] for name in whole if name.startswith(("examples", "records")))


def test_attack_writes_texts_beside_its_tensors(plan: Plan, tmp_path: Path) -> None:
    words = ("attack", TOY, "nmtsloth-char", "--inputs", plan.inputs, "--out", tmp_path / "found.safetensors")
    code, out, err = call(*map(str, words))
    assert code == 0, err
    assert "found.texts.parquet" in "".join(out.split())
    saved = pd.read_parquet(tmp_path / "found.texts.parquet")
    assert saved["clean"].tolist() == list(LINES)
    assert (
        ToyText().run(tuple(saved["attacked"])).work.counts.equal(load_examples(tmp_path / "found.safetensors")["work"])
    )
