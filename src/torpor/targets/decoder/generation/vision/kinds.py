"""Which vision-language models are known, and how their processors are made of what is saved."""

from __future__ import annotations

import importlib
from typing import Any

from torpor.core.errors import UsageError
from torpor.targets.decoder.generation.vision.idefics import IdeficsPreprocessor
from torpor.targets.decoder.generation.vision.llava import LlavaNextPreprocessor, LlavaPreprocessor
from torpor.targets.decoder.generation.vision.preprocessing import Preprocessor, Size
from torpor.targets.decoder.generation.vision.prompt import DEFAULT, ImagePrompt
from torpor.targets.decoder.generation.vision.qwen import QwenPreprocessor, QwenWindowsPreprocessor
from torpor.targets.decoder.generation.vision.reader import VisionReader

KINDS: dict[str, type[Preprocessor]] = {
    "idefics3": IdeficsPreprocessor,
    "smolvlm": IdeficsPreprocessor,
    "llava": LlavaPreprocessor,
    "llava_next": LlavaNextPreprocessor,
    "qwen2_vl": QwenPreprocessor,
    "qwen2_5_vl": QwenWindowsPreprocessor,
}
"""By the model's type: what its image processor does."""
PROCESSORS = {
    "idefics3": "Idefics3Processor",
    "smolvlm": "Idefics3Processor",
    "llava": "LlavaProcessor",
    "llava_next": "LlavaNextProcessor",
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
}
"""By the model's type: the class that puts images into texts; SmolVLM's does for images what Idefics3's does."""


def vision_reader(
    model: Any,  # noqa: ANN401 - transformers' own classes
    processor: Any,  # noqa: ANN401
    *,
    text: str | None = None,
    size: Size | None = None,
    raw: bool = False,
) -> VisionReader:
    """Return what turns images of one size into a model's arguments.

    Args:
        model: of one of :data:`KINDS`.
        processor: with a tokenizer, an image processor and perhaps a chat template.
        text: beside each image; the default one if None.
        size: height and width of images; what the model was made for if None.
        raw: leave the chat template out.

    Raises:
        UsageError: if there is no image processor, or torpor does not get the pixels that it gives.
    """
    part = getattr(processor, "image_processor", None)
    if part is None or not callable(processor):
        raise UsageError(
            "expected a processor with a tokenizer and an image processor, got "
            f"{type(processor).__name__}; load it from where the model is from"
        )
    preprocessor = KINDS[model.config.model_type](part, model.config)
    prompt = ImagePrompt(processor, DEFAULT if text is None else text, raw=raw)
    return VisionReader(preprocessor, prompt, size or preprocessor.usual(), int(model.config.image_token_id))


def made_processor(kind: str, image_processor: Any, tokenizer: Any, settings: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return a model's processor of images and texts; none of videos, which may need packages that are not there.

    Args:
        kind: the model's type.
        image_processor: transformers' image processor.
        tokenizer: of the model.
        settings: what ``processor_config.json`` and the chat template's file say.
    """
    transformers: Any = importlib.import_module("transformers")
    base = getattr(transformers, PROCESSORS[kind])
    own = ("image_seq_len", "patch_size", "vision_feature_select_strategy", "num_additional_image_tokens")
    given = {name: settings[name] for name in (*own, "image_token") if name in settings}
    template = settings.get("chat_template") or tokenizer.chat_template
    if "video_processor" not in base.get_attributes():
        return base(image_processor, tokenizer, chat_template=template, **given)

    # the same class that takes None for the part that reads videos
    of_images = type(base.__name__, (base,), {"check_argument_for_proper_class": lambda *_: None})
    return of_images(image_processor, tokenizer, None, chat_template=template, **given)
