from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_audits import write_images

from torpor.audits.profile import clean_profile
from torpor.core.errors import DataError
from torpor.data.tensors import TensorImages
from torpor.targets.early_exit.toys import needle


def test_the_profile_is_that_of_the_records(tmp_path: Path) -> None:
    target = needle()
    data = target.data(write_images(tmp_path))
    batch = data.load("test")
    outcome = target.run(target.space.from_bytes(batch.inputs))
    cost = target.prices.cost(outcome.work)
    for batch_size in (5, 128):
        found = clean_profile(target, data, limit=None, batch_size=batch_size, seconds=False)
        assert found["n"] == 24
        assert found["cost_mean"] == pytest.approx(cost.mean().item())
        assert found["cost_max"] == cost.max().item()
        assert found["cost_static"] == sum(target.prices.per_unit)
        assert found["exit_histogram"] == torch.bincount(outcome.work.counts.sum(1) - 1, minlength=4).tolist()
        assert found["utility"] == pytest.approx(target.utility(outcome.outputs, batch.references).mean().item())
        assert found["efficacy_step"] == pytest.approx(1 - found["cost_mean"] / found["cost_static"])
        assert found["latency_s_p50"] > 0
        assert "seconds_per_unit" not in found
    assert clean_profile(target, data, limit=3, batch_size=2, seconds=False)["n"] == 3


def test_no_images_are_refused() -> None:
    nothing = TensorImages({"test": (torch.zeros(0, 1, 4, 4, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))})
    with pytest.raises(DataError, match="expected test samples for toy-needle, got none"):
        clean_profile(needle(), nothing, limit=None, batch_size=4, seconds=False)
