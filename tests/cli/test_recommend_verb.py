"""``torpor recommend`` as a user runs it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from toy_audits import NEEDLE, call, write_images

DIGITS = ("recommend", "sdn-digits", "--attacks", "deepsloth", "--eps", "16/255", "--steps", "10", "--limit", "12")


def test_a_cap_of_sdn_digits_end_to_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, err = call(*DIGITS, "--quantity", "p99(cost)<20x", "--utility-loss", "20%", "--out", out)
    assert code == 0, err
    assert "keeps p99(cost) < 20x" in said
    assert "choices were attacked" in said
    found = json.loads((out / "recommend.json").read_text())
    assert found["verdict"] == "pass"
    chosen = next(row for row in found["caps"] if row["chosen"])
    assert chosen["attacked"] < 20 < next(row for row in found["caps"] if row["caps"] == "none")["attacked"]
    drawn = ET.parse(out / "front.svg").getroot()
    assert drawn.tag.endswith("svg")
    assert len(drawn.findall(".//{*}circle")) == 2 * sum(row["attacked"] is not None for row in found["caps"])
    code, said, _ = call(*DIGITS, "--quantity", "max(slowdown)<0.5", "--utility-loss", "20%", "--out", out, "--json")
    assert code == 10
    assert "No cap keeps max(slowdown) < 0.5" in json.loads(said)["sentence"]


def test_workers_find_the_same(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data")
    words = ("recommend", NEEDLE, "--data-dir", data, "--attacks", "pgd", "--eps", "0.2", "--steps", "5")
    more = ("--limit", "9", "--batch-size", "4", "--quantity", "p99(cost)<2x", "--utility-loss", "1")
    for name, executor in (("one", "local"), ("two", "processes:2")):
        assert call(*words, *more, "--executor", executor, "--out", tmp_path / name)[0] in (0, 11)
    for file in ("recommend.json", "recommend.parquet", "front.svg"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(("words", "message"), [
    ((), "expected --quantity"),
    (("--quantity", "p99(utility)<2"), "expected a quantity of cost or slowdown"),
    (("--quantity", "p99(cost)<2x", "--utility-loss", "much"), "expected a loss of utility"),
    (("--quantity", "p99(cost)<2x", "--utility", "fun"), "expected --utility own or agreement"),
    (("--quantity", "p99(cost)<2x", "--caps", "jpeg"), "expected guards, which cap work"),
    (("--quantity", "p99(cost)<2x", "--caps", "steps"), "expected guards for early exit"),
    (("--quantity", "p99(cost)<2x", "--max-seconds", "0"), "expected --max-seconds greater than 0"),
    (("--quantity", "p99(cost)<2x", "--limit", "0"), "expected a limit of 1 or more"),
    (("--quantity", "p99(cost)<2x", "--threads", "0"), "expected from 1 to 1,024 threads"),
    (("--quantity", "p99(cost)<2x", "--threads", "9" * 20), "expected from 1 to 1,024 threads"),
])  # fmt: skip
def test_wrong_usage_is_one_sentence(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    code, out, err = call("recommend", "sdn-digits", *words, "--out", tmp_path / "out")
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
