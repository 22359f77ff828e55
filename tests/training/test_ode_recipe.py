from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from torpor.core.errors import UsageError
from torpor.data.images import Digits, to_unit
from torpor.training.classifiers import ClassifierRecipe, ClassifierTrainer, train_classifier
from torpor.training.ode import solved_cross_entropy
from torpor.training.registry import TRAINERS
from torpor.zoo.networks.odenet import OdeNet


def test_the_loss_falls_and_all_parts_learn(tmp_path: Path) -> None:
    pytest.importorskip("torchdiffeq", reason="needs torchdiffeq: pip install 'torpor[ode]'")
    trainer = TRAINERS["odenet-digits"]
    assert isinstance(trainer, ClassifierTrainer)
    recipe = replace(trainer.recipe, epochs=3)
    batch = Digits().load("train", 256)
    net = train_classifier(OdeNet, batch, recipe, tmp_path / "checkpoint", trainer.losses, trainer.optimizers)
    torch.manual_seed(recipe.seed)
    images, start = to_unit(batch.inputs), OdeNet()
    before, after = (solved_cross_entropy(each, images, batch.references, recipe, 0)[1] for each in (start, net))
    assert after < 0.9 * before
    for old, new in zip(start.state_dict().values(), net.state_dict().values(), strict=True):
        assert not old.equal(new)


def test_training_without_torchdiffeq_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(UsageError, match="expected torchdiffeq, got none"):
        solved_cross_entropy(OdeNet(), torch.zeros(1, 1, 32, 32), torch.zeros(1), ClassifierRecipe(epochs=1), 0)
