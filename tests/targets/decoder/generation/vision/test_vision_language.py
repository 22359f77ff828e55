"""Vision-language models: processors to the last bit, runs as transformers runs them, prices as the counter counts."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from generation_models import EOS, hub
from PIL import Image
from torch import Tensor
from vision_models import KINDS, SIZES, by_transformers, folder, images, loaded, network, processor

from torpor.attacks.registry import attack_class, load_attack
from torpor.cli.options import with_options
from torpor.core.errors import UsageError
from torpor.targets import from_transformers
from torpor.targets.decoder.generation.loading import VISION_LANGUAGE
from torpor.targets.decoder.generation.pricing import forwards_counted
from torpor.targets.decoder.generation.vision.kinds import KINDS as PREPROCESSORS
from torpor.targets.decoder.generation.vision.kinds import PROCESSORS
from torpor.targets.decoder.generation.vision.resampling import resized
from torpor.targets.decoder.generation.vision.target import VisionLanguageTarget
from torpor.targets.model_options import Options
from torpor.targets.resolve import load_target

QUICK = ("idefics3", "llava", "qwen2_5_vl")
kinds = pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
SHAPES = [
    ((9, 31), (8, 32)),
    ((31, 9), (32, 8)),
    ((13, 7), (64, 64)),
    ((64, 64), (13, 64)),
    ((51, 30), (97, 55)),
    ((5, 5), (1, 1)),
    ((33, 47), (33, 100)),
]


def test_kinds_are_listed_alike() -> None:
    assert tuple(PREPROCESSORS) == tuple(PROCESSORS) == VISION_LANGUAGE


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(("before", "after"), SHAPES)
def test_resizing_is_that_of_pillow(number: int, before: tuple[int, int], after: tuple[int, int]) -> None:
    levels = np.random.default_rng(0).choice([0, 3, 120, 255], (*before, 3)).astype("uint8")
    wanted = np.array(Image.fromarray(levels).resize(after[::-1], resample=number))
    found = resized(torch.from_numpy(levels).double().permute(2, 0, 1), after, number)
    assert torch.equal(found.permute(1, 2, 0), torch.from_numpy(wanted).double())


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"smolvlm", "qwen2_5_vl"}))
@pytest.mark.parametrize("size", [(16, 16), (9, 31), (31, 9), (40, 24), (24, 56)])
def test_pixels_are_those_of_the_processor(kind: str, size: tuple[int, int]) -> None:
    part = processor(kind).image_processor
    mirror = PREPROCESSORS[kind](part, network(kind).config)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    wanted = part(images=[image.numpy()], return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    found = mirror(image.unsqueeze(0) / 255)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() < 1e-5
    counts = mirror.counts(size)
    assert counts.get("image_tile", 1) == (found.shape[1] if kind in ("idefics3", "llava_next") else 1)
    assert counts.get("image_patch", len(found)) == len(found)


@kinds
def test_runs_are_those_of_transformers_alone_and_in_a_batch(kind: str) -> None:
    target, inputs = loaded(kind), images(kind, 5)
    together = target.run(inputs)
    alone = [target.run(image.unsqueeze(0)) for image in inputs]
    assert torch.equal(together.work.counts, torch.cat([one.work.counts for one in alone]))
    for one, other, image in zip(together.outputs, alone, inputs, strict=True):
        assert one == other.outputs[0]
        assert list(one.ids) == by_transformers(target, image)
    assert len({one.ids for one in together.outputs}) > 2  # it looks at the images
    assert len({len(one.ids) for one in together.outputs}) > 1


def test_only_batches_make_it_compare_rows() -> None:
    target, inputs = (
        from_transformers(network("llava"), processor("llava"), image_size=SIZES["llava"]),
        images("llava", 3),
    )
    one = target.run(inputs[:1])
    assert target.decoder.size.layers == ()
    assert target.run(inputs).outputs[0] == one.outputs[0]
    assert len(target.decoder.size.layers) == 2
    assert target.rows_at_once(0) > 1


@kinds
def test_work_times_prices_is_what_the_counter_counts(kind: str) -> None:
    target, inputs = loaded(kind), images(kind, 3, seed=3)
    for row in range(3):
        with forwards_counted(target.model) as flops:
            work = target.run(inputs[row : row + 1]).work
        assert target.prices.cost(work).tolist() == [float(sum(flops))]


@pytest.mark.parametrize("kind", ["idefics3", pytest.param("qwen2_5_vl", marks=pytest.mark.slow)])
def test_larger_images_are_more_tiles_tokens_and_flops(kind: str) -> None:
    small, large = (
        from_transformers(network(kind), processor(kind), image_size=size) for size in (SIZES[kind], (32, 32))
    )
    assert [unit.flops for unit in small.units] == [unit.flops for unit in large.units]
    names, before, after = [unit.name for unit in small.units], small.least_work().counts, large.least_work().counts
    for name in ("image_token", names[0], "attended_key"):
        assert after[0, names.index(name)] > before[0, names.index(name)]
    with forwards_counted(large.model) as flops:
        work = large.with_cap(1).run(torch.zeros(1, 3, 32, 32)).work
    assert large.prices.cost(work).tolist() == [float(sum(flops))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["bfloat16", "beams", "processed"])
def test_other_ways_to_decode_are_exact_too(kind: str, way: str) -> None:
    model = network(kind)
    if way == "bfloat16":
        model = model.to(torch.bfloat16)
    elif way == "beams":
        model.generation_config.num_beams = 3
    else:
        model.generation_config.no_repeat_ngram_size, model.generation_config.repetition_penalty = 2, 1.3
    target, inputs = from_transformers(model, processor(kind), image_size=SIZES[kind]), images(kind, 4, seed=5)
    assert isinstance(target, VisionLanguageTarget)
    for image, output in zip(inputs, target.run(inputs).outputs, strict=True):
        with forwards_counted(model) as flops:
            alone = target.run(image.unsqueeze(0))
        assert alone.outputs == (output,)
        assert list(output.ids) == by_transformers(target, image)
        assert target.prices.cost(alone.work).tolist() == [float(sum(flops))]


def test_prices_are_those_of_a_hand_count() -> None:
    target = loaded("idefics3")
    width, layers, patches, vision = 32, 2, 16, 16
    kept = 2 * width * (width + 2 * 16 + width) * layers + 3 * 2 * width * 48 * layers
    tile = patches * 2 * (3 * 16 * vision) + layers * patches * 2 * (4 * vision**2 + 2 * vision * 24)
    tile += layers * 2 * 2 * patches**2 * vision + 4 * 2 * (4 * vision) * width
    prices = {unit.name: unit.flops for unit in target.units}
    assert prices["image_token"] == prices["prompt_token"] == kept
    assert prices["decoder_step"] == kept + 2 * width * target.model.config.text_config.vocab_size
    assert prices["attended_key"] == layers * 2 * 2 * width
    assert prices["image_tile"] == tile
    assert target.least_work().counts[0, :2].tolist() == [3, 12]  # two tiles and the whole image, four tokens each


@kinds
def test_signals_are_those_of_the_run_and_reach_the_pixels(kind: str) -> None:
    target = loaded(kind)
    inputs = images(kind, 3).requires_grad_()
    signals, outcome = target.signals(inputs), target.run(inputs.detach())
    assert torch.equal(signals.work.counts, outcome.work.counts)
    assert torch.where(signals.mask, signals.logits.argmax(-1) == signals.ids, True).all()
    assert signals.hidden is not None
    signals.logits.softmax(-1)[..., EOS].sum().backward()
    assert inputs.grad is not None
    assert (inputs.grad.abs().sum((1, 2, 3)) > 0).all()
    assert target.features(inputs.detach()).shape[0] == 3


def test_a_model_that_writes_the_token_of_an_image_has_signals_all_the_same() -> None:
    model = network("llava")
    token = model.config.image_token_id
    with torch.no_grad():
        model.get_output_embeddings().weight[token] = model.get_output_embeddings().weight[EOS] * 2
    target = from_transformers(model, processor("llava"), image_size=SIZES["llava"])
    inputs = images("llava", 4)
    said = [one.ids for one in target.run(inputs).outputs]
    assert any(token in ids[:-1] for ids in said)
    signals = target.signals(inputs)
    assert torch.where(signals.mask, signals.logits.argmax(-1) == signals.ids, True).all()


def test_gradients_are_those_of_finite_differences() -> None:
    target, image = loaded("llava"), images("llava", 1)
    way = torch.rand(image.shape, generator=torch.Generator().manual_seed(2)).mul(9).round() / 255

    def seen(inputs: Tensor) -> Tensor:
        return target.reader(inputs)["pixel_values"].double().pow(2).sum()

    inputs = (image * 0.8 + 0.05).requires_grad_()
    (gradient,) = torch.autograd.grad(seen(inputs), inputs)
    step = seen(inputs.detach() + way) - seen(inputs.detach() - way)
    assert torch.isclose(step / 2, (gradient * way).sum().double(), rtol=0.05)


def test_what_is_shown_is_told_and_counts() -> None:
    target = loaded("idefics3")
    told = target.details()
    assert told["prompt"] == "Describe the image."
    assert told["chat_template"].endswith("...)")
    image = {"width": 24, "height": 12, "image_tile": 3, "image_tokens": 12, "tokens": 52}
    assert told["image"] == image
    json.dumps(told)
    asked = load_target(with_options(f"hf:{folder('idefics3')}", {"prompt": "Count: 1%", "image_size": "24x12"}))
    assert asked.details()["prompt"] == "Count: 1%"
    assert asked.fingerprint() != target.fingerprint()
    raw = load_target(f"hf:{folder('idefics3')}:raw=true:image_size=24x12")
    assert raw.details()["chat_template"] is None
    assert raw.fingerprint() != target.fingerprint()


def test_the_model_s_own_size_is_the_default() -> None:
    assert from_transformers(network("llava"), processor("llava")).details()["image"]["width"] == 16


def test_a_processor_with_other_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = processor("idefics3")
    own = type(made.image_processor)._preprocess

    def shifted(self: object, *args: object, **kwargs: object) -> object:
        found = own(self, *args, **kwargs)
        found["pixel_values"] = found["pixel_values"] + 1 / 255
        return found

    monkeypatch.setattr(type(made.image_processor), "_preprocess", shifted)
    with pytest.raises(UsageError, match=r"expected the pixels that Idefics3ImageProcessorPil gives .*, got others"):
        from_transformers(network("idefics3"), made)


@pytest.mark.parametrize("resample", [0, 4])
def test_other_filters_are_refused(resample: int) -> None:
    made = copy.copy(processor("llava"))
    made.image_processor.resample = resample
    with pytest.raises(UsageError, match="expected Lanczos, bilinear or bicubic"):
        from_transformers(network("llava"), made, image_size=(40, 40))


def test_tiles_that_would_pass_for_padding_are_refused() -> None:
    made = processor("idefics3")
    made.image_processor.do_normalize = False
    with pytest.raises(UsageError, match="takes such tiles for padding"):
        from_transformers(network("idefics3"), made)


def test_other_models_take_no_prompt_and_no_size() -> None:
    from generation_models import folder as other

    with pytest.raises(UsageError, match=r"expected a model of images and texts \(idefics3, .* got gpt2"):
        load_target(f"hf:{other('gpt2')}:prompt=hello")
    with pytest.raises(UsageError, match="expected a width and a height such as 640x480, got image_size=640"):
        Options(image_size="640")
    with pytest.raises(UsageError, match="expected 16,777,216 pixels at most, got image_size=9999x9999; choose less"):
        Options(image_size="9999x9999")


@pytest.mark.parametrize("attack", ["verbose-images", "lingoloop", "vlminferslow", "standard-decoder", "nicg-slowdown"])
def test_attacks_make_answers_longer(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.attacks.decoder.standard.PASSES", 120)
    target, inputs = loaded("idefics3"), images("idefics3", 2)
    kind = attack_class(attack)
    assert kind.applies_to(target)
    result = load_attack(attack, eps=0.1, steps=None if attack == "standard-decoder" else 6)(target, inputs)
    assert (target.iterations(result.attacked.work) > target.iterations(result.clean.work)).any()
    for image, output in zip(result.inputs, result.attacked.outputs, strict=True):
        assert list(output.ids) == by_transformers(target, image)


@pytest.mark.parametrize("attack", ["verbose-images", "lingoloop", "vlminferslow", "standard-decoder", "nicg-slowdown"])
def test_attacks_run_in_half_precision(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torpor.attacks.decoder.standard.PASSES", 60)
    height, width = SIZES["llava"]
    target = load_target(f"hf:{folder('llava')}:dtype=bfloat16:image_size={width}x{height}")
    assert isinstance(target, VisionLanguageTarget)
    result = load_attack(attack, eps=0.1, steps=None if attack == "standard-decoder" else 1)(target, images("llava", 1))
    assert result.candidates.backwards.any() == (attack != "vlminferslow")
    signals = target.signals(images("llava", 1))
    assert signals.hidden is not None
    assert {signals.logits.dtype, signals.hidden.dtype} == {torch.float32}


def test_a_model_of_another_kind_is_refused() -> None:
    hf = hub()
    config = hf.Blip2Config()
    model = SimpleNamespace(config=config, input_modalities=("image", "text"), main_input_name="pixel_values")
    with pytest.raises(UsageError, match=r"of images and texts \(idefics3, smolvlm, llava, .*\), .* got blip-2"):
        from_transformers(model, processor("llava"))


def test_a_tokenizer_alone_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a processor with a tokenizer and an image processor, got"):
        from_transformers(network("llava"), processor("llava").tokenizer)


def test_a_folder_without_an_image_processor_is_refused(tmp_path: Path) -> None:
    shutil.copytree(folder("llava"), tmp_path / "llava", ignore=shutil.ignore_patterns("*processor_config.json"))
    with pytest.raises(UsageError, match=r"expected a image processor in .*, got none"):
        load_target(f"hf:{tmp_path / 'llava'}")


def test_a_prompt_that_leaves_no_position_is_refused() -> None:
    model = network("llava")
    model.config.text_config.max_position_embeddings = 40
    with pytest.raises(UsageError, match="expected a cap of 1 to"):
        from_transformers(model, processor("llava"))
