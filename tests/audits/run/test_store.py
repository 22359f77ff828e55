from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from torpor.audits.run.store import Store, records_schema, records_table
from torpor.core.files import save_tensors
from torpor.metrics.efficacy import CLASS, EXITS

OWN = (CLASS, *EXITS)
SCHEMA = records_schema(OWN)


def table(samples: list[int]) -> pa.Table:
    values: dict[str, object] = {}
    for field in SCHEMA:
        one: object = 1.0 if pa.types.is_floating(field.type) else 1
        if pa.types.is_string(field.type):
            one = "clean"
        elif pa.types.is_boolean(field.type):
            one = True
        elif pa.types.is_list(field.type):
            one = [{"passes": 1, "cost": 2.0, "member": None}] if field.name == "curve" else [1, 0]
        values[field.name] = [one] * len(samples)
    return records_table({**values, "sample": samples}, len(samples), OWN)


def images(value: int) -> dict[str, Tensor]:
    return {"pgd-Linf-0.1/index": torch.tensor([value])}


def test_the_documented_columns_are_all_there_and_only_some_may_be_null() -> None:
    documented = (
        "sample attack defense norm eps reference cost_clean cost cost_static slowdown headroom work exit "
        "utility_clean utility agreement linf l2 l1 forwards backwards"
    )
    assert set(documented.split()) <= set(SCHEMA.names)
    assert SCHEMA.field("sample").type == SCHEMA.field("exit").type == pa.int64()
    assert SCHEMA.field("work").type == pa.list_(pa.int64())
    nullable = {field.name for field in SCHEMA if field.nullable}
    assert {"norm", "eps", "headroom"} <= nullable
    assert not nullable & {"sample", "attack", "cost", "cost_clean", "slowdown", "work"}


def test_shards_are_merged_in_order_whatever_the_order_of_writing(tmp_path: Path) -> None:
    store = Store(tmp_path, OWN)
    for number, seconds in ((1, 0.5), (0, 0.25)):
        store.write(number, table([10 * number, 10 * number + 1]), images(number), {"pgd-Linf-0.1": seconds})
    assert store.has(0)
    assert not store.has(2)
    assert store.seconds() == {"pgd-Linf-0.1": [0.25, 0.5]}
    assert [part["pgd-Linf-0.1/index"].item() for part in store.examples()] == [0, 1]
    store.merge()
    merged = pq.read_table(tmp_path / "records.parquet")
    assert merged["sample"].to_pylist() == [0, 1, 10, 11]
    assert merged.schema.equals(SCHEMA)
    store.clear()
    assert {path.name for path in tmp_path.iterdir()} == {"records.parquet"}
    store.clear()  # there may be nothing to delete


@pytest.mark.parametrize("suffix", ["parquet", "safetensors", "json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_shard_does_not_count(tmp_path: Path, suffix: str, damage: str) -> None:
    store = Store(tmp_path, OWN)
    store.write(0, table([0, 1]), images(0), {"pgd-Linf-0.1": 0.5})
    path = tmp_path / "shards" / f"000000.{suffix}"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    assert not store.has(0)
    store.write(0, table([0, 1]), images(0), {"pgd-Linf-0.1": 0.5})
    assert store.has(0)


def test_tensors_that_cannot_be_written_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        save_tensors(tmp_path / "taken", {"a": torch.zeros(1)})
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OSError, match="file"):
        save_tensors(tmp_path / "file" / "x.safetensors", {"a": torch.zeros(1)})
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "file"}
