"""Vision transformers that skip: exact work, whatever runs beside it; the same work in signals; sound bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from token_targets import BUILT, pictures
from torch import Tensor, nn

from torpor.core.errors import UsageError
from torpor.meters.flops import count_flops, counting
from torpor.targets.tokens.avit import PatchHaltingTarget, copies
from torpor.targets.tokens.target import RUNGS, Passed, TokenTarget
from torpor.zoo.networks.adaptive import HaltingTransformer
from torpor.zoo.registry import avit_digits

CAPPED = [(name, rung) for name in BUILT for rung in (0, 2)]


@pytest.fixture(params=CAPPED, ids=lambda pair: f"{pair[0]}-rung{pair[1]}")
def target(request: pytest.FixtureRequest) -> TokenTarget:
    name, rung = request.param
    return BUILT[name](0).at_rung(rung)


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_batch_equals_batches_of_one(name: str, seed: int) -> None:
    target, images = BUILT[name](seed), pictures(24, seed)
    together = target.run(images)
    alone = [target.run(image[None]) for image in images]
    assert together.work.counts.tolist() == torch.cat([each.work.counts for each in alone]).tolist()
    torch.testing.assert_close(together.outputs, torch.cat([each.outputs for each in alone]), rtol=1e-4, atol=1e-5)
    assert len(set(target.tokens(together.work).tolist())) > 3  # work follows the input


def test_work_is_what_the_counter_sees(target: TokenTarget) -> None:
    for image in pictures(6):
        with counting() as counter:
            target.forward(image[None])
        assert counter.flops == target.prices.cost(target.run(image[None]).work).item()


@pytest.mark.parametrize("name", ["halting", "policies"])
def test_static_bound_is_the_whole_network(name: str) -> None:
    target = BUILT[name](0)
    whole = count_flops(target.module, torch.zeros(1, *target.space.shape)) + target.deciding()
    assert target.prices.cost(target.static_work()).item() == whole


def test_signals_tell_what_runs(target: TokenTarget) -> None:
    images = pictures(24)
    signals, outcome = target.signals(images.requires_grad_()), target.run(images.detach())
    assert signals.work.counts.tolist() == outcome.work.counts.tolist()
    assert signals.alive.round().sum((1, 2)).tolist() == target.tokens(outcome.work).tolist()
    torch.testing.assert_close(signals.scores, outcome.outputs, rtol=1e-4, atol=1e-4)
    assert signals.expected is not None
    (gradient,) = torch.autograd.grad(signals.expected.sum(), images)
    assert gradient.flatten(1).abs().amax(1).min() > 0


def test_a_layer_that_skips_both_halves_runs_no_patch() -> None:
    target, images = BUILT["policies"](0), pictures(4)
    policy = target.module.layer_policies[1]
    nn.init.zeros_(policy.weight)
    nn.init.constant_(policy.bias, -1)
    runs = target.signals(images).alive
    assert runs[:, 1].tolist() == [[0] * target.patches] * 4
    assert runs.round().sum((1, 2)).tolist() == target.tokens(target.run(images).work).tolist()
    assert runs.sum() > 0


@pytest.mark.parametrize("name", ["halting", "sampling"])
def test_margins_tell_which_patches_leave(name: str) -> None:
    target = BUILT[name](0)
    signals = target.signals(pictures(8))
    assert ((signals.margins >= 0).unflatten(1, (3, -1)) == (signals.alive[:, 1:] == 0)).all()


def test_caps_hold_and_bounds_fall() -> None:
    for name in BUILT:
        target, images = BUILT[name](0), pictures(16)
        ladder = [target.at_rung(rung) for rung in range(target.rungs())]
        assert len(ladder) == len(RUNGS)
        for rung in ladder:
            assert (rung.run(images).work.counts <= rung.max_work(images).counts).all()
        for higher, lower in pairwise(ladder):
            assert lower.prices.cost(lower.static_work()).item() < higher.prices.cost(higher.static_work()).item()
            assert lower.fingerprint() != higher.fingerprint()


def test_probes_do_the_work_that_they_name() -> None:
    for name in BUILT:
        target, image = BUILT[name](0), pictures(1)
        for work, call in target.probes(image):
            with counting() as counter:
                call()
            assert counter.flops == target.prices.cost(work).item()


def test_every_unit_has_a_probe_of_its_own_work() -> None:
    for name in BUILT:
        target = BUILT[name](0)
        rows = torch.cat([work.counts for work, _ in target.probes(pictures(1))]).double()
        assert torch.linalg.matrix_rank(rows) == len(target.units)


def test_one_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="2 layers or more, got 1"):
        PatchHaltingTarget(HaltingTransformer(dim=16, depth=1), name="short")


@pytest.mark.parametrize("part", ["head", "layers.1.fc2"])  # in a layer, no patch has a score to halt by
def test_numbers_are_demanded(part: str) -> None:
    target = BUILT["halting"](0)
    nn.init.constant_(target.module.get_submodule(part).bias, torch.nan)
    with pytest.raises(UsageError, match="got NaN"):
        target.run(pictures(2))


@pytest.mark.parametrize("name", ["avit-digits", "random"])
def test_halting_is_rounded_alike_among_any_neighbors(name: str) -> None:
    target = BUILT["halting"](0) if name == "random" else avit_digits()
    assert isinstance(target, PatchHaltingTarget)
    images = pictures(33) if name == "random" else target.data(None).load("test", 33).inputs / 255
    copied = torch.cat([target.forward(copies(image)).gap[:1] for image in images])
    for count in (1, 2, 16, 33):
        assert (target.forward(images[:count]).gap - copied[:count]).abs().max() < target.nearest(count) / 2


def test_an_image_alone_that_might_be_rounded_otherwise_is_run_among_copies() -> None:
    target, image = BUILT["halting"](0), pictures(1)
    asked: list[int] = []
    forward = target.forward

    def counted(inputs: Tensor) -> Passed:
        asked.append(len(inputs))
        return forward(inputs)

    target.forward = counted  # type: ignore[method-assign]
    plain = target.run(image)
    assert asked == [1]
    target.tie = 1e3  # type: ignore[misc]
    assert target.run(image).work.counts.equal(plain.work.counts)
    assert asked == [1, 1, 16]
