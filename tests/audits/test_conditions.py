from __future__ import annotations

import pyarrow as pa
import pytest

from torpor.audits.conditions import ADAPTIVE, NON_ADAPTIVE, Condition, RowKey
from torpor.core.budget import Budget
from torpor.core.errors import DataError

KEYS = [
    RowKey("clean"),
    RowKey("pgd", Budget("L2", 0.5)),
    RowKey("pgd", Budget("L2", 0.25)),
    RowKey("pgd", Budget("Linf", 0.5)),
    RowKey("clean", None, Condition("jpeg:75")),
    RowKey("pgd", Budget("L2", 0.5), Condition("jpeg:75", attacker=NON_ADAPTIVE)),
    RowKey("pgd", Budget("L2", 0.5), Condition("jpeg:75", attacker=ADAPTIVE)),
    RowKey("pgd", Budget("L2", 0.5), Condition("jpeg:50", attacker=ADAPTIVE)),
]


def test_a_key_reads_back_from_what_it_writes_and_names_its_own_file() -> None:
    assert [RowKey.of(key.to_json()) for key in KEYS] == KEYS
    assert len({key.slug for key in KEYS}) == len({str(key) for key in KEYS}) == len(KEYS)


def test_a_key_picks_its_own_record_alone() -> None:
    table = pa.Table.from_pylist([key.to_json() for key in KEYS])
    assert [RowKey.of(table.filter(key.matches()).to_pylist()[0]) for key in KEYS] == KEYS
    assert {len(table.filter(key.matches())) for key in KEYS} == {1}


def test_a_radius_that_was_stored_with_less_precision_is_the_same() -> None:
    table = pa.Table.from_pylist([RowKey("pgd", Budget("Linf", 8 / 255)).to_json()])
    for eps, found in ((float(pa.scalar(8 / 255, pa.float32()).as_py()), 1), (8.001 / 255, 0)):
        assert len(table.filter(RowKey("pgd", Budget("Linf", eps)).matches())) == found


def test_tampering_is_written_where_there_is_some() -> None:
    key = RowKey("clean", None, Condition(tampering="sponge"))
    assert "tampering" not in KEYS[0].to_json()
    assert RowKey.of(key.to_json()) == key == key.clean
    assert (key.slug, str(key)) == ("clean-sponge", "clean after sponge")
    table = pa.Table.from_pylist([key.to_json(), {**KEYS[0].to_json(), "tampering": "none"}])
    assert table.filter(key.matches()).to_pylist() == [key.to_json()]


def test_a_budget_that_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected norm .*, in a row of pgd; run the audit again"):
        RowKey.of({"attack": "pgd", "norm": "L3", "eps": 1.0})
