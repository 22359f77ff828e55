"""The metrics of SlowFormer and DeSparsify, in closed form on a network of four tokens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmarks.mechanisms import tokens
from token_targets import bright, layers_of_bright
from toy_audits import write_images

from torpor.attacks.registry import load_attack
from torpor.core.work import Work
from torpor.data.sets import DataSet


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Return images of 2 x 2 pixels."""
    return bright().data(write_images(tmp_path_factory.mktemp("images"), side=2, test=40))


def test_attack_success_has_constants_of_the_network_where_recovery_has_clean_images(data: DataSet) -> None:
    target = bright()
    every = target.read(data.load("test", 40).inputs)
    assert isinstance(every, torch.Tensor)
    costs = target.prices.cost(target.run(every).work)
    least, most = tokens.clean_cost(target, data), float(target.prices.cost(target.static_work()))
    assert least == pytest.approx(costs.mean().item())
    black, work = Work(target.static_work().counts), target.run(every[:8]).work
    assert tokens.success(target, [black], least) == pytest.approx(100)
    expected = 100 * (costs[:8].mean().item() - least) / (most - least)
    assert expected != 0  # some images are cheaper than the mean without any attack, others costlier
    assert tokens.success(target, [work[:4], work[4:]], least) == pytest.approx(expected)


def test_the_token_usage_ratio_counts_tokens_of_all_layers() -> None:
    target, images = bright(), torch.tensor([0.0, 0.2, 0.6, 1.0]).view(1, 1, 2, 2)
    works = [target.run(images).work, target.run(torch.zeros_like(images)).work]
    assert tokens.usage(target, works) == pytest.approx(100 * (layers_of_bright(images).sum() + 16) / 32)


def test_rows_have_published_figures_of_the_same_metric_alone() -> None:
    single, universal, ensemble = (
        load_attack(name, norm="Linf", eps=16 / 255)
        for name in ("desparsify", tokens.UNIVERSAL, tokens.ensemble("avit-digits"))
    )
    assert tokens._published("ats-digits", single, tokens.RECOVERY) == "74 (DeiT-S)"
    assert tokens._published("avit-cifar10", universal, tokens.RECOVERY) == "25 (DeiT-S)"
    assert (
        tokens._published("avit-digits", load_attack(tokens.UNIVERSAL, norm="patch", eps=0.08), tokens.RECOVERY)
        == "100 (DeiT-S)"
    )
    assert tokens._published("avit-digits", ensemble, tokens.RECOVERY) == ""
    slow = load_attack("slowformer", norm="patch", eps=0.08)
    said = {metric: tokens._published("avit-digits", slow, metric) for metric in (tokens.SUCCESS, tokens.RECOVERY)}
    assert said == {tokens.SUCCESS: "100 (abstract)", tokens.RECOVERY: ""}
    assert tokens._published("ats-digits", slow, tokens.SUCCESS) == ""


def test_a_patch_is_compared_with_the_strongest_search(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = bright()
    monkeypatch.setattr(target, "data", lambda folder: data)
    monkeypatch.setattr(tokens, "ZOO", {"avit-toy": SimpleNamespace(load=lambda: target)})
    monkeypatch.setattr(tokens, "STRONGEST", "desparsify")  # instead of `standard`, which takes long
    monkeypatch.setattr(tokens, "PLANS", {"patch": (("patch", 0.25, ("slowformer:steps=20", "desparsify:steps=20")),)})
    rows = tokens.rows(6, tmp_path, "avit-toy-patch")
    found = {(row.attack, row.metric): row.ours for row in rows}
    images = target.read(data.load("test", 6).inputs)
    assert isinstance(images, torch.Tensor)
    black = images.clone()
    black[..., 0, 0] = 0  # the worst patch
    for name, inputs in (("clean", images), ("desparsify:steps=20", black)):
        assert found[name, "TUR, %"] == pytest.approx(100 * layers_of_bright(inputs).sum().item() / (6 * 16))
    assert found["desparsify:steps=20", "recovery of tokens outside the patch, %"] == 0
    share, best = "recovery as a share of desparsify's, %", found["desparsify:steps=20", tokens.RECOVERY]
    assert ("desparsify:steps=20", share) not in found
    for name in ("slowformer:steps=20", "control-noise", "control-flat"):
        assert found[name, share] == pytest.approx(100 * found[name, tokens.RECOVERY] / best)
    assert found["slowformer:steps=20", share] == pytest.approx(100)
