from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from planted import NEEDLE, TOY_TEXT, texts, write_pngs
from spoken import tone, wav

from torpor.audits.mining.inputs import NaturalTexts, natural_inputs
from torpor.audits.mining.mine import mine
from torpor.audits.mining.regression_set import RegressionSet, read_set, write_set
from torpor.audits.mining.replay import replayed, set_target
from torpor.audits.mining.set_folder import is_set
from torpor.core.conversation import MARK
from torpor.core.errors import DataError, UsageError
from torpor.core.text import TextSpace
from torpor.core.work import PriceList
from torpor.data.files import Files
from torpor.data.own import own_inputs
from torpor.targets.base import Target
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.early_exit.toys import WindowTarget, needle


def write(folder: Path, target: Target, name: str, source: Path, top: int = 4) -> RegressionSet:
    inputs = natural_inputs(source, target.space)
    found = mine(target, inputs, top=top)
    units = [unit.name for unit in target.units]
    return write_set(folder, name, inputs, found.top, target.space, units, target.prices)


def verdicts(held: RegressionSet, target: Target, tolerance: float = 0.0) -> list[str]:
    return [each.verdict.value for each in replayed(held, target, tolerance)]


@pytest.fixture
def toy_set(tmp_path: Path) -> RegressionSet:
    (tmp_path / "log.txt").write_text("\n".join(texts(40, 3)[0]))
    return write(tmp_path / "set", ToyText(), TOY_TEXT, tmp_path / "log.txt")


def test_a_set_comes_back_as_it_was_written(toy_set: RegressionSet) -> None:
    assert is_set(toy_set.folder)
    assert read_set(toy_set.folder) == toy_set
    assert len(toy_set.expected) == 4
    assert verdicts(toy_set, ToyText()) == ["pass"] * 4


def test_an_input_that_costs_more_fails_and_says_which_unit(toy_set: RegressionSet) -> None:
    slower = ToyText()
    slower._matrix[:, 0] += slower._matrix[:, 0].clamp_min(0)  # digits weigh twice as much
    results = replayed(toy_set, slower, 0.05)
    assert [each.verdict.value for each in results] == ["fail"] * 4
    assert all("decoder_step ran" in each.notes[0] for each in results)
    assert verdicts(toy_set, slower, 2.0) == ["pass"] * 4
    capped = replayed(toy_set, ToyText(cap=3), 0)
    assert [each.verdict.value for each in capped] == ["pass"] * 4  # less is no regression, and said
    assert "3 times" in capped[0].notes[0]


def test_units_that_cost_more_fail(toy_set: RegressionSet) -> None:
    class Dearer(ToyText):
        def price(self, units: object) -> PriceList:
            return PriceList("flops", (10.0, 1100.0))

    assert verdicts(toy_set, Dearer(), 0.05) == ["fail"] * 4
    assert verdicts(toy_set, Dearer(), 0.2) == ["pass"] * 4


def test_another_currency_is_refused(toy_set: RegressionSet) -> None:
    class InTokens(ToyText):
        def price(self, units: object) -> PriceList:
            return PriceList("tokens", (1.0, 1.0))

    with pytest.raises(UsageError, match="expected a target with costs in flops, got toy-text in tokens"):
        replayed(toy_set, InTokens(), 0)
    with pytest.raises(UsageError, match="expected a finite tolerance"):
        replayed(toy_set, ToyText(), float("nan"))


def test_inputs_that_are_not_those_that_were_mined_are_inconclusive(toy_set: RegressionSet) -> None:
    toy_set.path.write_text(toy_set.path.read_text().replace("9", "0", 1))
    assert verdicts(toy_set, ToyText()) == ["inconclusive"] * 4
    toy_set.path.unlink()
    assert verdicts(toy_set, ToyText()) == ["inconclusive"] * 4


def test_a_target_that_does_not_take_an_input_any_more_is_inconclusive(toy_set: RegressionSet) -> None:
    target = ToyText()
    target.codec.special_texts = (*target.codec.special_texts, "9")
    assert verdicts(toy_set, target) == ["inconclusive"] * 4


def test_a_set_does_not_decide_which_code_runs(toy_set: RegressionSet) -> None:
    with pytest.raises(UsageError, match=f"pass --target {TOY_TEXT}"):
        set_target(toy_set, None)
    assert set_target(toy_set, TOY_TEXT).name == "toy-text"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "torpor.set/2"),
        ("inputs", "../outside"),
        ("inputs", "/etc"),
        ("expected", []),
        ("expected", [{"place": "a", "counts": [1], "cost": 1.0}]),
        ("expected", [{"place": "a", "counts": [1, 2], "cost": "NaN"}]),
        ("expected", 3),
        ("target", 3),
        ("units", None),
        ("rule", 4),
    ],
)
def test_a_damaged_set_is_refused(toy_set: RegressionSet, key: str, value: object) -> None:
    path = toy_set.folder / "set.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(DataError, match=r"expected .* mine "):
        read_set(toy_set.folder)
    path.write_text("{")
    with pytest.raises(DataError, match="expected JSON"):
        read_set(toy_set.folder)


def test_images_are_stored_without_a_loss(tmp_path: Path) -> None:
    write_pngs(tmp_path / "images", 30, 3)
    held = write(tmp_path / "set", needle(), NEEDLE, tmp_path / "images", top=5)
    assert sorted(path.name for path in held.path.iterdir()) == [f"{n:05}.png" for n in range(1, 6)]
    source = natural_inputs(tmp_path / "images", needle().space)
    rows = [list(source.places).index(each.place) for each in held.expected]
    assert own_inputs(held.path, needle().space).load("test").inputs.equal(source.read(rows))
    assert verdicts(held, needle()) == ["pass"] * 5
    wider = WindowTarget([0.5, 0.5, 0.5], [0.2, 0.2, 0.04], name="toy-needle")
    assert "fail" in verdicts(held, wider)


def test_sounds_are_stored_without_a_loss(tmp_path: Path) -> None:
    from torpor.core.space import WaveSpace

    (tmp_path / "sounds").mkdir()
    for digit in range(3):
        (tmp_path / "sounds" / f"{digit}.wav").write_bytes(wav(tone(digit, 0)))
    space = WaveSpace((900,), rate=8000)
    source = natural_inputs(tmp_path / "sounds", space)
    from torpor.audits.mining.ranking import ExpensiveInput

    top = [ExpensiveInput(row, source.places[row], 1, 1.0, None, None, (1,), "u", None) for row in (2, 0)]
    held = write_set(tmp_path / "set", "t", source, top, space, ["u"], PriceList("flops", (1.0,)))
    stored = own_inputs(held.path, space)
    assert isinstance(stored, Files)
    assert stored.load("test").inputs.equal(source.read([2, 0]))
    assert np.abs(source.read([0]).numpy()).max() > 0


def test_conversations_are_stored_whole(tmp_path: Path) -> None:
    class Chats(TextSpace):
        def problem(self, text: object) -> str | None:
            return None

        def fits(self, text: str) -> bool:
            return True

    space = Chats(ToyText().codec, 99)
    stored = MARK + json.dumps({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]})
    inputs = NaturalTexts("log", [("line 1", stored), ("line 2", "plain\ntext ")], space)
    found = mine(ToyText(), NaturalTexts("log", [("line 1", "a"), ("line 2", "b")], ToyText().space)).top
    held = write_set(tmp_path / "set", "t", inputs, found, space, ["p", "d"], PriceList("flops", (1.0, 1.0)))
    first, second = own_inputs(held.path, space).load("test").inputs
    assert json.loads(first.removeprefix(MARK))["messages"] == json.loads(stored.removeprefix(MARK))["messages"]
    assert second == "plain\ntext "


def test_a_folder_that_holds_something_is_refused(toy_set: RegressionSet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which holds files"):
        write(toy_set.folder, ToyText(), TOY_TEXT, tmp_path / "log.txt")
    with pytest.raises(UsageError, match="expected a new or an empty folder"):
        write(tmp_path / "log.txt", ToyText(), TOY_TEXT, tmp_path / "log.txt")
