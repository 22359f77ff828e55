"""Density and energy of sponge images and uniform images on an accelerator that skips zeros."""

from __future__ import annotations

from pathlib import Path

from benchmarks.mechanisms._activity import measured
from benchmarks.mechanisms.row import Row
from torpor.attacks.activity.genetic import SpongeImages
from torpor.attacks.activity.sponge import SpongeVision
from torpor.attacks.activity.uniform import UniformInputs
from torpor.attacks.base import Attack
from torpor.attacks.controls.dense import Flat, Noise
from torpor.attacks.early_exit.climbs import AutoExpected
from torpor.targets.zero_skipping.target import ZeroSkippingTarget
from torpor.zoo.registry import sparse_digits, sparse_resnet56_cifar10

SMALL, WHOLE = 8 / 255, 1.0
DENSITY, ENERGY = "density", "energy ratio"
ELSEWHERE = "of ResNet-18 on ImageNet, from the output in the repository"
PAPERS = "sponge-vision:loss=norms,origin=random"
PUBLISHED = {
    ("clean", DENSITY): f"0.664 {ELSEWHERE}",
    ("control-noise, any image", DENSITY): f"0.594 {ELSEWHERE}",
    ("uniform-inputs", DENSITY): f"0.666 {ELSEWHERE}",
    (f"{PAPERS}, any image", DENSITY): f"0.648 {ELSEWHERE}, after 5 epochs",
    ("sponge-ga, any image", DENSITY): f"0.635 {ELSEWHERE}, after 10 generations",
}


def rows(limit: int, data_dir: Path | None) -> list[Row]:
    """Return the rows of digits, and of a few images of CIFAR-10 where there are data: double precision is slow."""
    found = _rows(sparse_digits(), limit, None, 100, search=True)
    return found if data_dir is None else found + _rows(sparse_resnet56_cifar10(), min(limit, 4), data_dir, 40)


def _rows(
    target: ZeroSkippingTarget, limit: int, folder: Path | None, steps: int, *, search: bool = False
) -> list[Row]:
    attacks: list[tuple[str, Attack]] = []
    for eps, where in ((SMALL, ""), (WHOLE, ", any image")):
        attacks += [
            (f"control-noise{where}", Noise(eps=eps)),
            (f"control-flat{where}", Flat(eps=eps)),
            (f"sponge-vision{where}", SpongeVision(eps=eps, steps=steps)),
            (f"sponge-vision:form=pgd{where}", SpongeVision(eps=eps, steps=steps, form="pgd")),
            (f"{PAPERS}{where}", SpongeVision(eps=eps, steps=steps, loss="norms", origin="random")),
            (f"apgd-expected of standard{where}", AutoExpected(eps=eps, steps=steps)),
        ]
        attacks += [(f"sponge-ga{where}", SpongeImages(eps=eps, epochs=10))] if search else []
    attacks.append(("uniform-inputs", UniformInputs()))
    metrics = ((DENSITY, target.density), (ENERGY, target.energy_ratio))
    return measured(target, attacks, metrics, PUBLISHED, limit, folder)
