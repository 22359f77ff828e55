from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from planted import texts, write_chats, write_pngs
from typing_extensions import override

from torpor.audits.mining.clusters import clustered
from torpor.audits.mining.inputs import NaturalTexts, natural_inputs
from torpor.audits.mining.mine import mine, mine_tokens
from torpor.audits.mining.mined import MinedInputs
from torpor.audits.mining.ranking import typical
from torpor.audits.mining.surrogate import predicted, recall_on_sample
from torpor.core.batches import Samples
from torpor.core.errors import DataError, UsageError
from torpor.core.work import Outcome, PriceList
from torpor.data.images import Digits
from torpor.data.logs.reader import read_log
from torpor.reports.mined import mined_sentences
from torpor.targets.decoder.toy_text import ToyText, weight
from torpor.targets.early_exit.toys import WindowTarget, needle
from torpor.targets.resolve import load_target

SPELLED = ("call", "add", "bill", "box", "bring", "bus", "gate", "room")


class CountedText(ToyText):
    """Counts the texts that it runs."""

    ran = 0

    @override
    def run(self, inputs: Samples) -> Outcome:
        self.ran += len(inputs)
        return super().run(inputs)


def natural(found: Iterable[str], target: ToyText) -> NaturalTexts:
    return NaturalTexts("log", [(f"line {at}", text) for at, text in enumerate(found, 1)], target.space)


def places(found: MinedInputs, count: int) -> list[str]:
    return [each.place for each in found.top[:count]]


@pytest.mark.parametrize("planted", [1, 3, 7])
def test_planted_texts_have_the_first_ranks(planted: int) -> None:
    target = CountedText()
    log, where = texts(150, planted)
    found = mine(target, natural(log, target), top=10)
    assert places(found, planted) == [f"line {place + 1}" for place in where]
    assert (target.ran, found.ran, found.n, found.sample, found.recall) == (150, 150, 150, None, None)
    for each in found.top[:planted]:
        text = log[int(each.place.split()[1]) - 1]
        assert each.counts[1] == 1 + weight(text)
        assert (each.unit, each.cost) == ("decoder_step", 10.0 * each.counts[0] + 1000.0 * each.counts[1])
        assert each.unit_share is not None
        assert each.unit_share > 0.9
    assert found.tail.max == found.top[0].cost == max(each.cost for each in found.top)


@pytest.mark.parametrize("seed", range(3))
def test_planted_texts_have_the_first_ranks_within_a_budget(seed: int) -> None:
    log, where = texts(400, 5, seed=seed)
    target = CountedText()
    found = mine(target, natural(log, target), top=10, share=0.1, seed=seed)
    assert target.ran == found.ran == 40
    assert found.sample == 20
    assert places(found, 5) == [f"line {place + 1}" for place in where]
    again = mine(CountedText(), natural(log, target), top=10, share=0.1, seed=seed)
    assert again.to_json() == found.to_json()


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_planted_images_have_the_first_ranks(tmp_path: Path, share: float) -> None:
    gray = write_pngs(tmp_path, 300, 4)
    target = needle()
    found = mine(target, natural_inputs(tmp_path, target.space), top=4, share=share)
    assert sorted(places(found, 4)) == gray
    assert {each.counts for each in found.top} == {(1, 1, 1, 1)}
    assert found.tail.bound_share == 1
    assert found.tail.at_bound == 4
    assert len(found.clusters) == 1


def test_planted_blends_of_digits_are_found_by_a_trained_network(tmp_path: Path) -> None:
    target = load_target("sdn-digits")
    digits = Digits().load("test", 160).inputs
    blends = ((digits[:80].int() + digits[80:].int()) // 2).to(torch.uint8)
    depth = target.run(target.read(blends)).work.counts.sum(1)
    natural = target.run(target.read(digits)).work.counts.sum(1)
    planted = [f"blend{at:03}.png" for at in (depth > natural.max()).nonzero().flatten().tolist()]
    assert 3 <= len(planted) <= 40
    for name, images in (("digit", digits), ("blend", blends)):
        for at, image in enumerate(images):
            if name == "digit" or f"blend{at:03}.png" in planted:
                Image.fromarray(image[0].numpy()).save(tmp_path / f"{name}{at:03}.png")
    found = mine(target, natural_inputs(tmp_path, target.space), top=len(planted))
    assert sorted(places(found, len(planted))) == planted
    cost = [each.cost for each in found.top]
    assert cost == sorted(cost, reverse=True)


@pytest.mark.parametrize("share", [1.0, 0.35])
def test_planted_numbers_are_found_by_a_trained_speller(share: float) -> None:
    rng = np.random.default_rng(0)
    log = [f"{word} {rng.integers(100)} {other}" for word in SPELLED for other in SPELLED]
    for place in (11, 40):
        log[place] = "read 777777 and 373737 then 777373"
    target = load_target("speller")
    texts_of = NaturalTexts("log", [(f"line {at}", text) for at, text in enumerate(log, 1)], target.space)  # type: ignore[arg-type]
    found = mine(target, texts_of, share=share, top=5)
    assert found.top[0].place == "line 12"
    assert found.top[0].times == 2
    assert found.top[0].unit == "decoder_step"
    assert found.tail.max > 2 * found.tail.p50


def test_inputs_that_cost_as_much_and_are_not_listed_are_said() -> None:
    target = ToyText()
    found = mine(target, natural(["9a", "9b", "9c", "d"], target), top=2)
    assert found.said == ("1 input was not listed and cost as much as the last one that is.",)
    assert mine(target, natural(["9a", "9b", "9c", "d"], target), top=3).said == ()


def test_the_tail_is_that_of_all_occurrences() -> None:
    target = CountedText()
    found = mine(target, natural(["a", "9", "a", "a", "9"], target))
    cost = np.array([1010.0, 10010.0, 1010.0, 1010.0, 10010.0])
    assert (found.n, found.distinct, target.ran) == (5, 2, 2)
    assert found.tail.mean == pytest.approx(cost.mean())
    assert found.tail.p50 == np.median(cost)
    assert [each.times for each in found.top] == [2, 3]
    assert found.usual == (1, 1)
    assert found.tail.bound == target.prices.cost(target.max_work(("a",))).item()


def test_each_input_has_the_unit_that_makes_it_expensive() -> None:
    target = ToyText()
    found = mine(
        target,
        natural(["a", "b", "c", "x" * 100, "9"], target),
        prices=PriceList("tokens", (1.0, 1.0)),
        top=2,
    )
    assert [(each.place, each.unit) for each in found.top] == [("line 4", "prompt_token"), ("line 5", "decoder_step")]
    assert found.currency == "tokens"
    assert [each.cluster for each in found.top] == [1, 2]


def test_texts_that_look_alike_are_one_cluster() -> None:
    target = ToyText()
    log = [
        "list the totals of 99 rows",
        "list the totals of 98 rows",
        "list the totals of 97 rows",
        "mops 99 keep him busy",
        "a bird in a tree",
        "a dog",
        "the sun shone",
        "rivers flow",
        "stones",
    ]
    found = mine(target, natural(log, target), top=4)
    assert sorted(each.size for each in found.clusters) == [1, 3]
    alike = {each.cluster for each in found.top if "totals" in str(each.text)}
    assert len(alike) == 1
    assert {each.cluster for each in found.top} == {1, 2}


def test_counts_alone_are_clustered_by_their_size() -> None:
    target = ToyText()
    found = mine(target, natural(["9", "99", "9" * 12, "9" * 13], target))
    marked, clusters = clustered([replace(each, text=None) for each in found.top], None)
    assert len({each.cluster for each in marked[:2]}) == 1
    assert marked[0].cluster != marked[3].cluster
    assert sum(each.size for each in clusters) == 4


def test_a_budget_that_teaches_nothing_is_refused() -> None:
    target = ToyText()
    log, _ = texts(100, 0)
    with pytest.raises(
        UsageError, match=r"expected a budget of 20 runs or more, got 5% of 100 inputs, 5; raise it to 20%"
    ):
        mine(target, natural(log, target), share=0.05)
    with pytest.raises(UsageError, match="leave it out"):
        mine(target, natural(log[:9], target), share=0.5)


def test_no_recall_where_all_cost_the_same(tmp_path: Path) -> None:
    write_pngs(tmp_path, 60, 0)
    target = WindowTarget([0.9], [0.01])
    found = mine(target, natural_inputs(tmp_path, target.space), share=0.5)
    assert found.ran == 30
    assert found.recall is None


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_the_recall_is_that_on_the_inputs_that_were_not_drawn(slope: float) -> None:
    told, true, held = list[float](), list[float](), 0
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        features = rng.normal(size=(1000, 4))
        cost = slope * features[:, 0] + 0.7 * rng.normal(size=1000)
        rows = rng.permutation(1000)[:200]
        found = recall_on_sample(features, rows, cost[rows], 0.1, seed=0)
        rest = np.setdiff1d(np.arange(1000), rows)
        guess = predicted(features[rows], cost[rows], features[rest], 0)
        chosen = guess >= np.quantile(guess, 0.9)
        assert found is not None
        assert found.expensive == 20
        told.append(found.recall)
        true.append(float(chosen[cost[rest] >= np.quantile(cost[rest], 0.9)].mean()))
        held += found.low < true[-1] < found.high
    assert held >= 4
    assert np.mean(told) == pytest.approx(np.mean(true), abs=0.1)
    assert np.mean(true) == pytest.approx(0.1 if slope == 0 else 0.57, abs=0.05)


def test_equal_guesses_are_found_as_far_as_they_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.ones((1000, 1))
    cost = np.arange(200.0)
    monkeypatch.setattr("torpor.audits.mining.surrogate.predicted", lambda seen, cost, wanted, seed: wanted[:, 0])
    found = recall_on_sample(features, np.random.default_rng(0).permutation(1000)[:200], cost, 0.1, seed=0)
    assert found is not None
    assert found.expensive == 20
    assert 0 < found.found < 8  # a tenth of all are run, and no guess tells which


def test_the_share_of_the_costliest_says_of_how_many(tmp_path: Path) -> None:
    for count, said in ((3, "the costliest one of 3 takes 50.0 %"), (200, "the costliest 1 % take")):
        path = tmp_path / f"{count}.jsonl"
        path.write_text("".join(f'{{"input_length":{at % 3},"output_length":1}}\n' for at in range(count)))
        assert said in " ".join(mined_sentences(mine_tokens(read_log(path))))


def test_the_median_is_weighted() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        counts, times = rng.integers(0, 9, (7, 3)), rng.integers(1, 5, 7)
        spread = np.sort(np.repeat(counts, times, axis=0), axis=0)
        assert typical(counts, times).tolist() == spread[(len(spread) - 1) // 2].tolist()


def trace(folder: Path, rows: list[tuple[int, int]]) -> Path:
    path = folder / "trace.csv"
    body = "".join(f"{at},{read},{written}\n" for at, (read, written) in enumerate(rows))
    path.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{body}")
    return path


def test_recorded_tokens_are_ranked_without_a_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(int(read), int(written)) for read, written in rng.integers(10, 500, (300, 2))]
    rows[7], rows[200], rows[11] = (10, 9000), (8000, 10), (10, 7000)
    found = mine_tokens(read_log(trace(tmp_path, rows)), top=3)
    assert places(found, 3) == ["line 9", "line 202", "line 13"]
    assert [each.unit for each in found.top] == ["output_token", "prompt_token", "output_token"]
    assert [each.cluster for each in found.top] == [1, 2, 1]
    assert (found.target, found.tail.bound, found.tail.bounded) == (None, None, 0)
    assert found.tail.mean == pytest.approx(np.array(rows).sum(1).mean())
    dear = mine_tokens(read_log(trace(tmp_path, rows)), top=1, prices=PriceList("dollars", (10.0, 1.0, 1.0, 1.0)))
    assert places(dear, 1) == ["line 202"]


def test_caps_of_a_log_are_its_static_bound(tmp_path: Path) -> None:
    rows = [(10, 20), (10, 90), (10, 100), (10, 100), (10, 100)]
    found = mine_tokens(read_log(trace(tmp_path, rows)), cap=100)
    assert (found.tail.bound, found.tail.bound_share, found.tail.at_bound) == (110, 1, 3)
    assert found.tail.above_bound == 0
    assert found.said == ("3 requests wrote exactly 100 tokens, the most of all: a cap may have ended them.",)
    above = mine_tokens(read_log(trace(tmp_path, rows)), cap=50)
    assert above.tail.above_bound == 4


def test_a_log_without_recorded_tokens_is_refused(tmp_path: Path) -> None:
    log = read_log(write_chats(tmp_path / "log.jsonl", ["a"]))
    with pytest.raises(DataError, match=r"expected recorded tokens .* pass --target"):
        mine_tokens(log)


def test_a_target_of_texts_refuses_a_trace_and_one_of_images_a_log(tmp_path: Path) -> None:
    path = trace(tmp_path, [(1, 2)])
    with pytest.raises(UsageError, match="leave --target out"):
        natural_inputs(path, ToyText().space)
    with pytest.raises(UsageError, match="expected a folder of images"):
        natural_inputs(path, needle().space)


def test_files_that_are_broken_are_counted(tmp_path: Path) -> None:
    write_pngs(tmp_path, 3, 0)
    (tmp_path / "0001.png").write_bytes(b"\x89PNG broken")
    found = natural_inputs(tmp_path, needle().space)
    assert found.places == ["0000.png", "0002.png"]
    assert found.read([1, 0]).shape == (2, 1, 4, 4)
    assert found.read([0]).dtype == torch.uint8
    assert [each.said for each in found.left_out] == ["1 file was broken and left out"]
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="expected an encoded image"):
        natural_inputs(tmp_path, needle().space)


def test_texts_are_read_from_files_folders_and_conversations(tmp_path: Path) -> None:
    target = ToyText(max_tokens=8)
    (tmp_path / "lines.txt").write_bytes(b"one\n\n\xff\ntwo <pad>\nthree four five six\n")
    found = natural_inputs(tmp_path / "lines.txt", target.space)
    assert found.places == ["line 1", "line 5"]
    assert found.read([1]) == ("three fo",)
    assert [each.said for each in found.left_out] == [
        "1 line was broken and left out",
        "1 text was not of the kind that the target takes and left out",
        "1 text was longer than the target reads and cut",
    ]
    chats = natural_inputs(write_chats(tmp_path / "log.jsonl", ["a", "b"]), target.space)
    assert chats.read([0, 1]) == ("a", "b")
    assert "2 conversations were cut to the last turn" in chats.left_out[0].said
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("a\nb")
    (folder / "b.txt").write_bytes(b"\xff")
    inner = natural_inputs(folder, target.space)
    assert (inner.places, inner.read([0])) == (["a.txt"], ("a\nb",))
    assert inner.left_out[0].said == "1 file was broken and left out"
    assert natural_inputs(tmp_path / "log.jsonl", target.space, limit=1).places == ["line 1"]
