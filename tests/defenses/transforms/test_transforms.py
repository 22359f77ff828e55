"""What holds for every transform: one table."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torpor.attacks.registry import load_attack
from torpor.core.batches import Samples, take
from torpor.core.errors import UsageError
from torpor.core.signals import CandidateSignals, GateSignals, StepSignals
from torpor.core.space import InputSpace, VideoSpace
from torpor.core.work import Outcome
from torpor.defenses.layer import frames_of
from torpor.defenses.registry import load_defense
from torpor.defenses.transforms.base import Transform, TransformLayer
from torpor.defenses.wrapped import Wrapped
from torpor.targets.base import Target
from torpor.targets.decoder.toy_text import ToyText
from torpor.targets.detector.toy_boxes import LampTarget, lit
from torpor.targets.detector.tracking import TrackerTarget
from torpor.targets.early_exit.exit_rules import Confidence
from torpor.targets.early_exit.sdn import ShallowDeepNetwork
from torpor.targets.early_exit.target import EarlyExitTarget
from torpor.targets.early_exit.toys import needle

IMAGE_TRANSFORMS = (
    "jpeg",
    "jpeg:90",
    "jpeg:25",
    "jpeg-random",
    "jpeg-blocks",
    "median",
    "median:5",
    "non-local-means",
    "bit-depth",
    "bit-depth:3",
    "resize-pad",
    "resize-pad:70",
)
TEXTS = ("normalize", "strip", "spelling")
SENTENCES = ("a  cat saw 3 doggs", "b\u200bird bird bird bird 12", "a tree")


def color_exits(height: int, width: int) -> EarlyExitTarget:
    """Build an untrained early-exit network on RGB images of any shape."""
    torch.manual_seed(1)
    values = 3 * height * width
    heads = [nn.Linear(values, 2) for _ in range(3)]
    return EarlyExitTarget(
        ShallowDeepNetwork([nn.Flatten(), nn.Identity(), nn.Identity()], heads),
        Confidence(0.6),
        input_shape=(3, height, width),
        name="color-exits",
    )


def targets(name: str) -> list[tuple[Target, Samples]]:
    """Return targets of every kind of space that a transform changes, with inputs."""
    if name in TEXTS:
        return [(ToyText(), SENTENCES)]
    lamps = LampTarget(12, 20)
    one = lamps.space
    cases: list[Target] = [needle(), color_exits(9, 14), color_exits(1, 1), color_exits(1, 5), lamps]
    tracker = TrackerTarget(lamps, frames=2)
    assert one.kind == "image"
    return [(target, pixels(target.space)) for target in [*cases, tracker]]


def pixels(space: InputSpace, count: int = 3) -> Tensor:
    """Draw smooth images or videos: each has its own brightness, and noise."""
    generator = torch.Generator().manual_seed(5)
    shape = space.shape  # type: ignore[attr-defined]
    base = torch.rand(count, *[1] * len(shape), generator=generator)
    drawn: Tensor = space.snap(base + 0.2 * torch.rand(count, *shape, generator=generator))
    return drawn


CASES = [
    pytest.param(
        name, target, inputs, id=f"{name}-{target.name}-{'x'.join(map(str, getattr(target.space, 'shape', ())))}"
    )
    for name in (*IMAGE_TRANSFORMS, *TEXTS)
    for target, inputs in targets(name)
]


def layered(name: str, target: Target) -> tuple[Wrapped, TransformLayer]:
    defended = load_defense(name).defend(target)
    assert isinstance(defended, Wrapped)
    assert isinstance(defended.layer, TransformLayer)
    return defended, defended.layer


def same(one: Any, other: Any) -> bool:  # noqa: ANN401 - outputs of any kind
    if isinstance(one, Tensor):
        return torch.equal(one, other) or torch.allclose(one, other, atol=1e-5)
    return repr(one) == repr(other)


def check_same(one: Outcome, other: Outcome) -> None:
    assert torch.equal(one.work.counts, other.work.counts)
    assert same(one.outputs, other.outputs)


@pytest.mark.parametrize(("name", "target", "inputs"), CASES)
def test_what_the_target_sees_is_valid_and_a_property_of_the_input(name: str, target: Target, inputs: Samples) -> None:
    _, layer = layered(name, target)
    seen = layer.seen(target.space, inputs)
    target.space.check(seen)
    assert same(target.space.snap(seen), seen)
    assert same(layer.seen(target.space, inputs), seen)
    for row in range(len(inputs)):
        one = torch.tensor([row])
        assert same(layer.seen(target.space, take(inputs, one)), take(seen, one))


@pytest.mark.parametrize(("name", "target", "inputs"), CASES)
def test_a_defended_target_runs_the_target_inside_and_pays_for_the_transform(
    name: str, target: Target, inputs: Samples
) -> None:
    defended, layer = layered(name, target)
    outcome = defended.run(inputs)
    inside = target.run(layer.seen(target.space, inputs))
    if not layer.transform.moves:
        assert same(outcome.outputs, inside.outputs)
    own = torch.full((len(inputs), 1), frames_of(target.space))
    assert torch.equal(outcome.work.counts, torch.cat([inside.work.counts, own], 1))
    assert (outcome.work.counts <= defended.max_work(inputs).counts).all()
    assert (outcome.work.counts <= defended.static_work().counts).all()
    assert defended.units[-1].flops == layer.transform.flops(target.space) > 0
    for row in range(len(inputs)):
        check_same(
            defended.run(take(inputs, torch.tensor([row]))),
            Outcome(take(outcome.outputs, torch.tensor([row])), outcome.work[row : row + 1]),
        )


@pytest.mark.parametrize(("name", "target", "inputs"), CASES)
def test_signals_tell_the_work_and_have_gradients(name: str, target: Target, inputs: Samples) -> None:
    defended, _ = layered(name, target)
    leaf = inputs.clone().requires_grad_() if isinstance(inputs, Tensor) else inputs
    signals = defended.signals(leaf)
    if isinstance(target.space, VideoSpace):  # those of the detector, frame by frame
        assert len(signals.work) == len(inputs) * target.space.shape[0]
    else:
        assert torch.equal(signals.work.counts, defended.run(inputs).work.counts)
    if isinstance(signals, StepSignals):
        assert signals.embeddings is not None
        loss, leaf = signals.logits.sum(), signals.embeddings
    elif isinstance(signals, CandidateSignals):
        loss = signals.scores.sum()
    else:
        assert isinstance(signals, GateSignals)
        loss = signals.exit_logits.square().sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert gradient.shape == leaf.shape
    assert gradient.isfinite().all()
    assert gradient.abs().amax() > 0


NEAR = {"non-local-means": 0.2, "bit-depth:3": 0.08, "bit-depth": 0.04}


@pytest.mark.parametrize("name", IMAGE_TRANSFORMS)
def test_the_surrogate_is_near_the_transform(name: str) -> None:
    defense = load_defense(name)
    assert isinstance(defense, Transform)
    inputs = pixels(LampTarget(12, 20).space)
    layer = TransformLayer(defense, ())
    near = defense.surrogate(inputs, layer._draws(inputs))
    assert (near.clamp(0, 1) - layer.seen(LampTarget(12, 20).space, inputs)).abs().mean() < NEAR.get(name, 0.03)


@pytest.mark.parametrize("name", ["jpeg-random", "resize-pad"])
def test_random_transforms_draw_anew_after_the_attack_and_for_other_images(name: str) -> None:
    target = color_exits(16, 16)
    inputs = pixels(target.space, count=1).expand(8, -1, -1, -1).clone()
    inputs[:, 0, 0, 0] = torch.arange(8) / 255
    defended, layer = layered(name, target)
    other = layer.reseeded()
    assert isinstance(other, TransformLayer)
    assert not torch.equal(layer.seen(target.space, inputs), other.seen(target.space, inputs))
    assert defended.reseeded().fingerprint() != defended.fingerprint()
    seen = layer.seen(target.space, inputs)[:, :, 1:, 1:]
    assert len({image.numpy().tobytes() for image in seen}) > 1


@pytest.mark.parametrize("name", sorted({*IMAGE_TRANSFORMS, *TEXTS} - {"jpeg-random", "resize-pad", "resize-pad:70"}))
def test_other_transforms_do_not_draw(name: str) -> None:
    layer = TransformLayer(load_defense(name), ())  # type: ignore[arg-type]
    assert layer.reseeded() is layer


@pytest.mark.parametrize("name", [*IMAGE_TRANSFORMS, *TEXTS])
def test_names_can_be_read_again(name: str) -> None:
    defense = load_defense(name)
    assert load_defense(defense.name) == defense
    assert defense.name.startswith(name)


@pytest.mark.parametrize(
    "name",
    [
        "jpeg:0",
        "jpeg:101",
        "jpeg:high",
        "jpeg-random:75",
        "jpeg-blocks:-1",
        "median:4",
        "median:1",
        "bit-depth:8",
        "non-local-means:0",
        "resize-pad:100",
        "normalize:NFC",
        "strip:2",
        "jpg",
    ],
)
def test_settings_that_do_not_exist_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        load_defense(name)


@pytest.mark.parametrize(("name", "target"), [("jpeg", ToyText()), ("normalize", needle()), ("spelling", needle())])
def test_transforms_refuse_inputs_of_another_kind(name: str, target: Target) -> None:
    with pytest.raises(UsageError, match="torpor list defenses"):
        load_defense(name).defend(target)


def test_boxes_that_are_found_in_moved_images_are_moved_back() -> None:
    target = LampTarget(40, 60)
    image, _ = lit(1, 40, 60)
    defended, layer = layered("resize-pad:90", target)
    big = torch.zeros_like(image)
    big[:, :, 12:28, 20:40] = 1
    (found,) = defended.run(big).outputs
    (raw,) = target.run(layer.seen(target.space, big)).outputs
    assert not torch.equal(found.boxes, raw.boxes)
    assert found.boxes[:, 0].min() >= 20 - 5
    assert found.boxes[:, 2].max() <= 40 + 5
    middle = (found.boxes[:, :2] + found.boxes[:, 2:]).mean(0) / 2
    assert torch.allclose(middle, torch.tensor([30.0, 20.0]), atol=2.5)
    signals = defended.signals(big)
    kept = signals.scores[0, :, 0] > target.nms.conf
    assert torch.allclose(signals.boxes[0][kept].sort(0).values, found.boxes.sort(0).values, atol=1e-4)


def test_a_video_is_changed_frame_by_frame() -> None:
    target = TrackerTarget(LampTarget(12, 20), frames=2)
    videos = pixels(target.space)
    defended, layer = layered("jpeg-random", target)
    frames = layer.seen(target.detector.space, videos.flatten(0, 1))
    assert torch.equal(layer.seen(target.space, videos).flatten(0, 1), frames)
    assert len(defended.run(videos).outputs[0]) == 2


def test_an_attack_through_bit_depth_reaches_what_a_non_adaptive_one_does_not() -> None:
    """At one bit, the deepest window wants 8 white pixels of 16, give or take none: a mean pixel is not enough."""
    target = needle()
    defended = load_defense("bit-depth:1").defend(target)
    inputs = target.space.snap(torch.linspace(0.7, 0.95, 12).view(-1, 1, 1, 1).expand(-1, 1, 4, 4))
    attack = load_attack("pgd", eps=0.4)
    static = defended.prices.cost(defended.static_work())
    non_adaptive = defended.prices.cost(defended.run(attack(target, inputs).inputs).work)
    adaptive = defended.prices.cost(attack(defended, inputs).attacked.work)
    assert (adaptive >= non_adaptive).all()
    assert (adaptive == static).sum() >= 1.5 * (non_adaptive == static).sum()


@pytest.mark.parametrize("name", ["jpeg:50", "median", "bit-depth:3"])
def test_an_adaptive_attack_on_digits_beats_the_non_adaptive_one(
    name: str, digits_target: EarlyExitTarget, digits_test: tuple[Tensor, Tensor]
) -> None:
    inputs, classes = digits_test[0][:24], digits_test[1][:24]
    defended = load_defense(name).defend(digits_target)
    attack = load_attack("pgd", eps="16/255")
    cost = defended.prices.cost
    non_adaptive = cost(defended.run(attack(digits_target, inputs, references=classes).inputs).work)
    adaptive = cost(attack(defended, inputs, references=classes).attacked.work)
    assert adaptive.mean() > 1.1 * non_adaptive.mean()
