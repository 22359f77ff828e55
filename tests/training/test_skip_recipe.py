"""Where the training of a network that skips layers starts."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from torpor.training.registry import TRAINERS
from torpor.training.skipping import PretrainedSkipTrainer
from torpor.zoo.early_exits import EARLY_EXITS
from torpor.zoo.networks.skipnet import SkipNetwork


def test_training_starts_from_the_residual_network_that_ships() -> None:
    trainer = TRAINERS["skipnet-cifar10"]
    assert isinstance(trainer, PretrainedSkipTrainer)
    model = trainer.start()
    assert isinstance(model, SkipNetwork)
    base = load_file(EARLY_EXITS["sdn-resnet56-cifar10"].folder() / "sdn-resnet56-cifar10.safetensors")
    ours = model.state_dict()
    pairs = {  # of 9 blocks of each width, 6 are taken
        "stem.1.weight": "stages.0.conv.weight",
        "blocks.0.branch.0.weight": "stages.0.block1.conv1.weight",
        "blocks.5.branch.3.weight": "stages.1.block8.conv2.weight",
        "blocks.6.shortcut.0.weight": "stages.2.block10.shortcut.0.weight",
        "blocks.17.branch.4.running_var": "stages.6.block26.bn2.running_var",
        "head.2.bias": "stages.6.linear.bias",
    }
    for mine, theirs in pairs.items():
        assert torch.equal(ours[mine], base[theirs].float()), mine
    assert (ours["blocks.17.gate.3.bias"] == 2).all()  # gates start open
