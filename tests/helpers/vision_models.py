"""Tiny random vision-language models of each kind, saved to folders and loaded as ``hf:FOLDER``."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path
from typing import Any

import torch
from generation_models import CAP, EOS, PAD, hub, tokenizer
from torch import Tensor

from torpor.targets.decoder.generation.vision.target import VisionLanguageTarget
from torpor.targets.resolve import load_target

KINDS = ("idefics3", "smolvlm", "llava", "llava_next", "qwen2_vl", "qwen2_5_vl")
SIZES = {"idefics3": (12, 24), "llava": (20, 26), "llava_next": (20, 40), "qwen2_vl": (16, 24)}
SIZES |= {"smolvlm": SIZES["idefics3"], "qwen2_5_vl": (24, 32)}
"""Height and width of the images of tests."""
_FOLDER = tempfile.TemporaryDirectory()
_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}:{% for line in message['content'] %}"
    "{% if line['type'] == 'image' %}IMAGE{% else %}{{ line['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
_SPECIAL = {
    "idefics3": ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"]
    + [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)],
    "llava": ["<image>"],
    "llava_next": ["<image>"],
    "qwen2_vl": ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
}
_VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
_TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.4, "tie_word_embeddings": False,
    "pad_token_id": PAD, "eos_token_id": EOS,
}  # fmt: skip
_SPECIAL |= {"smolvlm": _SPECIAL["idefics3"], "qwen2_5_vl": _SPECIAL["qwen2_vl"]}
Part = Any
"""One of transformers' objects."""


def _image(kind: str) -> str:
    return "<|vision_start|><|image_pad|><|vision_end|>" if kind.startswith("qwen") else "<image>"


@functools.cache
def words(kind: str) -> Part:
    """Return the tokenizer of a kind."""
    found = copy.deepcopy(tokenizer(ends=False))
    found.add_special_tokens({"additional_special_tokens": _SPECIAL[kind]})
    found.model_max_length = 10**6
    return found


def processor(kind: str) -> Part:
    """Return a processor of images and texts; none of videos."""
    from torpor.targets.decoder.generation.vision.kinds import made_processor

    hf = hub()
    settings: dict[str, Any] = {"chat_template": _TEMPLATE.replace("IMAGE", _image(kind))}
    if kind in ("idefics3", "smolvlm"):
        made = hf.Idefics3ImageProcessorPil if kind == "idefics3" else hf.SmolVLMImageProcessorPil
        part = made(size={"longest_edge": 32}, max_image_size={"longest_edge": 16})
        settings |= {"image_seq_len": 4}
    elif kind == "llava":
        part = hf.LlavaImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    elif kind == "llava_next":
        part = hf.LlavaNextImageProcessorPil(
            size={"shortest_edge": 16},
            crop_size={"height": 16, "width": 16},
            image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
        )
    else:
        size = {"shortest_edge": 64, "longest_edge": 1024}
        part = hf.Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, temporal_patch_size=2, size=size)
    if kind in ("llava", "llava_next"):
        settings |= {"patch_size": 4, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return made_processor(kind, part, words(kind), settings)


def network(kind: str, seed: int = 0) -> Part:
    """Build a random model whose outputs depend on the image and end at varied lengths."""
    hf = hub()
    torch.manual_seed(seed)
    ids = words(kind)
    text: dict[str, Any] = {**_TEXT, "vocab_size": len(ids)}
    picture = {**_VISION, "image_size": 16, "patch_size": 4}
    image = {"image_token_id": ids.convert_tokens_to_ids("<image>")}
    model: Part
    if kind in ("idefics3", "smolvlm"):
        given = {"vision_config": picture, "text_config": hf.LlamaConfig(**text), "scale_factor": 2, **image}
        if kind == "idefics3":
            model = hf.Idefics3ForConditionalGeneration(hf.Idefics3Config(pad_token_id=PAD, **given))
        else:
            model = hf.SmolVLMForConditionalGeneration(hf.SmolVLMConfig(pad_token_id=PAD, **given))
    elif kind in ("llava", "llava_next"):
        given = {"vision_config": hf.CLIPVisionConfig(**picture), "text_config": hf.LlamaConfig(**text), **image}
        if kind == "llava":
            model = hf.LlavaForConditionalGeneration(hf.LlavaConfig(**given))
        else:
            pins = [[16, 32], [32, 16], [32, 32]]
            model = hf.LlavaNextForConditionalGeneration(hf.LlavaNextConfig(image_grid_pinpoints=pins, **given))
    else:
        names = ("vision_start", "vision_end", "image_pad", "video_pad")
        start, end, pad, video = (ids.convert_tokens_to_ids(f"<|{name}|>") for name in names)
        text["rope_parameters"] = {"rope_type": "default", "mrope_section": [1, 1, 2]}
        marks = {"image_token_id": pad, "video_token_id": video}
        marks |= {"vision_start_token_id": start, "vision_end_token_id": end}
        vision: dict[str, Any]
        cut = {"depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
        if kind == "qwen2_vl":
            vision = {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2, **cut}
            model = hf.Qwen2VLForConditionalGeneration(
                hf.Qwen2VLConfig(text_config=text, vision_config=vision, **marks)
            )
        else:
            vision = {"hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 24, "window_size": 16, **cut}
            vision |= {"fullatt_block_indexes": [1]}
            model = hf.Qwen2_5_VLForConditionalGeneration(
                hf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **marks)
            )
    model.eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape) * 0.3)
        model.get_output_embeddings().weight[EOS] *= 4
    model.generation_config = hf.GenerationConfig(max_new_tokens=CAP, pad_token_id=PAD, eos_token_id=EOS)
    return model


@functools.cache
def folder(kind: str) -> Path:
    """Save a model with all that belongs to it."""
    path = Path(_FOLDER.name) / kind
    network(kind).save_pretrained(path)
    made = processor(kind)
    made.image_processor.save_pretrained(path)
    made.tokenizer.save_pretrained(path)
    if "video_processor" not in type(made).get_attributes():
        made.save_pretrained(path)
    else:
        (path / "chat_template.jinja").write_text(made.chat_template, encoding="utf-8")
    return path


@functools.cache
def loaded(kind: str) -> VisionLanguageTarget:
    """Return the target as users load it."""
    height, width = SIZES[kind]
    target = load_target(f"hf:{folder(kind)}:image_size={width}x{height}")
    assert isinstance(target, VisionLanguageTarget)
    return target


def images(kind: str, count: int, seed: int = 0) -> Tensor:
    """Return random images of 8 bits."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, *SIZES[kind], generator=draw).mul(255).round() / 255


def by_transformers(target: VisionLanguageTarget, image: Tensor) -> list[int]:
    """Return what the processor and ``model.generate`` themselves make of an image ``[3, H, W]``."""
    given = target.reader.prompt.read(image.mul(255).round().to(torch.uint8))
    found = target.model.generate(**given)
    return list(found[0, given["input_ids"].shape[1] :].tolist())
