from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.training.checkpoint import Checkpoint
from torpor.training.loop import LoopRecipe, begin, decayed, run_epochs, shuffled

ROWS = torch.arange(20.0).view(10, 2) / 20


def fit(folder: Path, *, attacked: bool = False, clip: float = 5.0) -> tuple[dict[str, Tensor], list[int]]:
    """Train a linear model to add, with dropout; return its weights and the rows of each step."""
    recipe, seen = LoopRecipe(epochs=2, seed=3), []
    model = begin(lambda: nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.1)), recipe.seed, "cpu")

    def loss(rows: Tensor, epoch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        seen.extend(rows.tolist())
        found = (model(ROWS[rows]).squeeze(1) - ROWS[rows].sum(1)).square().mean()
        if attacked:
            model[0](ROWS[rows]).sum().backward()
        return found, found

    optimizer = torch.optim.SGD(decayed(model.parameters(), 0.1), lr=0.1)
    state = Checkpoint(folder / "c", asdict(recipe), model.state_dict(), [optimizer])
    run_epochs(model, state, recipe, lambda epoch, rng: shuffled(10, 3, rng), loss, clip=clip)
    assert not model.training
    return model.state_dict(), seen


def test_gradients_that_the_loss_itself_leaves_do_not_matter(tmp_path: Path) -> None:
    plain, attacked = (fit(tmp_path / str(attacked), attacked=attacked)[0] for attacked in (False, True))
    assert all(value.equal(attacked[name]) for name, value in plain.items())


def test_every_epoch_sees_whole_batches_of_other_rows(tmp_path: Path) -> None:
    seen = fit(tmp_path)[1]
    assert len(seen) == 2 * 9
    assert len(set(seen[:9])) == len(set(seen[9:])) == 9
    assert seen[:9] != seen[9:]


def test_gradients_are_clipped(tmp_path: Path) -> None:
    start = begin(lambda: nn.Sequential(nn.Linear(2, 1)), 3, "cpu").state_dict()
    weights = fit(tmp_path, clip=1e-9)[0]
    assert torch.allclose(weights["0.bias"], start["0.bias"], atol=1e-7)
    assert not torch.allclose(fit(tmp_path / "free")[0]["0.bias"], start["0.bias"], atol=1e-3)


def test_fewer_samples_than_a_batch_holds_are_refused() -> None:
    with pytest.raises(UsageError, match="expected 4 samples or more, got 3; use a smaller batch size"):
        shuffled(3, 4, torch.Generator())
