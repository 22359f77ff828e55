"""The example of a cascade: counts against the FLOP counter, the bound, and the reference implementation."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from torpor.attacks import load_attack
from torpor.core.errors import DataError
from torpor.core.units import Unit
from torpor.core.work import Work
from torpor.meters.flops import counting
from torpor.targets.detector.nms import NMS, suppress

EXAMPLES = Path(__file__).parents[1] / "examples"
SIDE = 64


@pytest.fixture(scope="module")
def module() -> Any:  # noqa: ANN401 - the example
    sys.path.insert(0, str(EXAMPLES))
    try:
        import mtcnn
    finally:
        sys.path.remove(str(EXAMPLES))
    return mtcnn


def head_of(found: torch.nn.ModuleDict, net: str, head: str) -> torch.nn.Conv2d | torch.nn.Linear:
    """Return the layer that scores boxes."""
    layer = found[net].get_submodule(head)
    assert isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    return layer


def networks(module: Any) -> torch.nn.ModuleDict:  # noqa: ANN401
    """Return networks with random weights whose scores lie on both sides of every threshold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found: torch.nn.ModuleDict = module.stages()
    sides = (12, 24, 48)
    images = [torch.rand(64, 3, side, side, generator=torch.Generator().manual_seed(side)) * 255 for side in sides]
    for (net, head), pixels, threshold in zip(HEADS, images, module.THRESHOLDS, strict=True):
        layer = head_of(found, net, head)
        with torch.no_grad():
            layer.weight.mul_(20)
            odds = (found[net](pixels)[0]).logit().median()
            assert layer.bias is not None
            layer.bias[1] += torch.tensor(threshold).logit() - odds
    return found


HEADS = (("p", "conv4_1"), ("r", "dense5_1"), ("o", "dense6_1"))


@pytest.fixture(scope="module")
def target(module: Any) -> Any:  # noqa: ANN401
    return module.MTCNN(networks(module), SIDE)


@pytest.fixture(scope="module")
def images() -> Tensor:
    rng = torch.Generator().manual_seed(1)
    smooth = torch.nn.functional.interpolate(torch.rand(3, 3, 8, 8, generator=rng), (SIDE, SIDE), mode="bilinear")
    return (smooth * 255).round() / 255


def test_work_is_what_the_counter_counts(target: Any, images: Tensor) -> None:  # noqa: ANN401
    for image in images.split(1):
        with counting() as counter:
            outcome = target.run(image)
        work = dict(zip((unit.name for unit in target.units), outcome.work.counts[0].tolist(), strict=True))
        assert work["r_crop"] > work["o_crop"] > 0
        assert counter.flops == sum(work[unit.name] * unit.flops for unit in target.units if unit.stage != "nms")


def test_p_net_is_priced_at_every_scale(target: Any) -> None:  # noqa: ANN401
    def macs(side: int) -> int:  # of P-Net on a square, by hand
        first, after = side - 2, -(-(side - 2) // 2)
        second, third = after - 2, after - 4
        return first**2 * 10 * 27 + second**2 * 16 * 90 + third**2 * (32 * 144 + 6 * 32)

    assert target.units[0].flops == sum(2 * macs(int(SIDE * scale + 1)) for scale in target.scales)
    assert len(target.scales) == 4


def test_one_image_at_a_time(target: Any, images: Tensor) -> None:  # noqa: ANN401
    together = target.run(images).work.counts
    assert torch.equal(together, torch.cat([target.run(image).work.counts for image in images.split(1)]))
    assert torch.equal(target.signals(images).work.counts, together)


def test_nothing_exceeds_the_static_bound(target: Any, module: Any, images: Tensor) -> None:  # noqa: ANN401
    most = target.static_work().counts[0]
    eager = networks(module)
    for net, head in HEADS:
        bias = head_of(eager, net, head).bias
        assert bias is not None
        bias.data[1] += 1000  # all cells are faces
    work = module.MTCNN(eager, SIDE).run(images).work.counts
    assert (work <= most).all()
    cells = sum(rows * columns for rows, columns in (module._shape(SIDE, scale) for scale in target.scales))
    assert (work[:, 1] >= cells).all()
    assert (target.run(images).work.counts < most)[:, 1:].all()


def test_of_neighbors_that_overlap_one_is_left(module: Any) -> None:  # noqa: ANN401
    shape = (5, 4)
    boxes = module._cells(shape, 1.0)
    assert module._most_apart(boxes, shape, 0.5) == 3 * 2  # shifted by 2 of 12 pixels either way
    assert module._most_apart(boxes, shape, 0.9) == 5 * 4
    index, _ = module._suppress(boxes, torch.rand(20, generator=torch.Generator().manual_seed(0)), 0.5)
    assert len(index) <= 6


def test_a_box_inside_of_another_is_suppressed(module: Any) -> None:  # noqa: ANN401
    boxes = torch.tensor([[0.0, 0, 9, 9], [2, 2, 5, 5], [20, 20, 29, 29]])
    index, pairs = module.suppress_contained(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.7)
    assert (index.tolist(), pairs) == ([0, 2], 2)  # IoU 0.16, but all of the small one
    assert module.suppress_contained(boxes[:0], torch.zeros(0), 0.7)[1] == 0


def test_probes_do_the_work_that_they_state(target: Any, images: Tensor) -> None:  # noqa: ANN401
    seen = torch.zeros(len(target.units), dtype=torch.int64)
    for work, call in target.probes(images[:1]):
        assert isinstance(work, Work)
        with counting() as counter:
            call()
        units: tuple[Unit, ...] = target.units
        assert counter.flops == sum(
            n * (unit.flops or 0) for n, unit in zip(work.counts[0].tolist(), units, strict=True) if unit.stage != "nms"
        )
        seen += work.counts[0]
    assert (seen > 0).all()


def test_attacks_follow_what_the_second_network_says_too(target: Any, module: Any, images: Tensor) -> None:  # noqa: ANN401
    leaf = images[:2].clone().requires_grad_()
    found = target.signals(leaf)
    cells = sum(rows * columns for rows, columns in (module._shape(SIDE, scale) for scale in target.scales))
    assert found.scores.shape == (2, cells + module.SHOWN, 1)
    looked = found.scores[:, cells:, 0]
    crops = target.run(images[:2]).work.counts[:, 3]
    assert torch.equal((looked > 0).sum(1), crops.clamp_max(module.SHOWN))
    assert torch.autograd.grad(looked.sum(), leaf)[0].abs().amax((1, 2, 3)).gt(0).all()


def test_overload_makes_it_costlier(target: Any, images: Tensor) -> None:  # noqa: ANN401
    attack = load_attack("overload", eps="8/255", steps=8)
    result = attack(target, images[:1], seed=0)
    assert result.attacked.work.counts[0, 3] > result.clean.work.counts[0, 3]


def test_weights_come_from_a_file(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"mtcnn\.safetensors"):
        module.build()
    (tmp_path / "data").mkdir()
    wanted = module.stages()
    for net in "pro":
        torch.save(wanted[net].state_dict(), tmp_path / "data" / f"{net}net.pt")
    sys.path.insert(0, str(EXAMPLES))
    try:
        import mtcnn_weights
    finally:
        sys.path.remove(str(EXAMPLES))
    mtcnn_weights.convert(tmp_path / "data", tmp_path / "mtcnn.safetensors")
    for name, value in module.build().networks.state_dict().items():
        assert torch.equal(value, wanted.state_dict()[name])


def reference() -> tuple[Any, Any]:
    """Return facenet-pytorch's networks and cascade; of torchvision, it needs suppression alone."""

    def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
        assert not groups.any()
        settings = NMS(conf=0, iou=iou, max_nms=10**9, max_det=10**9)
        return suppress(boxes, scores[:, None], settings).index

    spec = find_spec("facenet_pytorch")
    if spec is None or spec.origin is None:
        pytest.skip("facenet-pytorch is not installed")
    with pytest.MonkeyPatch.context() as patch:
        transforms, ops = ModuleType("torchvision.transforms"), ModuleType("torchvision.ops.boxes")
        patch.setattr(transforms, "functional", ModuleType("functional"), raising=False)
        patch.setattr(ops, "batched_nms", batched_nms, raising=False)
        package = ModuleType("facenet_pytorch")
        patch.setattr(package, "__path__", [str(Path(spec.origin).parent)], raising=False)
        for name, part in (
            *(("torchvision", ModuleType("torchvision")), ("torchvision.transforms", transforms)),
            *(("torchvision.ops", ModuleType("torchvision.ops")), ("torchvision.ops.boxes", ops)),
            ("facenet_pytorch", package),
        ):
            patch.setitem(sys.modules, name, part)
        from facenet_pytorch.models import mtcnn  # type: ignore[import-not-found, unused-ignore]
        from facenet_pytorch.models.utils import detect_face  # type: ignore[import-not-found, unused-ignore]
    return mtcnn, detect_face


def test_it_finds_what_facenet_pytorch_finds(target: Any, module: Any, images: Tensor) -> None:  # noqa: ANN401
    mtcnn, detect = reference()
    theirs = [kind(pretrained=False).eval() for kind in (mtcnn.PNet, mtcnn.RNet, mtcnn.ONet)]
    for net, key in zip(theirs, "pro", strict=True):
        net.load_state_dict(target.networks[key].state_dict())
    compared = 0
    for image, found in zip(images, target.run(images).outputs, strict=True):
        pixels = (image * 255).round().permute(1, 2, 0)
        with torch.no_grad():
            boxes, _ = detect.detect_face(
                pixels, module.LEAST_FACE, *theirs, module.THRESHOLDS, module.FACTOR, torch.device("cpu")
            )
        assert torch.allclose(torch.as_tensor(boxes[0][:, :4].astype("float32")), found.boxes, atol=1e-3)
        compared += len(found)
    assert compared > 0
