"""The fixed text beside every image, as the model's processor renders it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from torpor.targets.decoder.generation.chat import named_template

DEFAULT = "Describe the image."
PIXELS = "pixel_values"


class ImagePrompt:
    """One user's turn: an image, then a text.

    Args:
        processor: transformers' processor of the model.
        text: what is asked.
        raw: leave the chat template out: the image's token, a line break and the text.
    """

    def __init__(self, processor: Any, text: str = DEFAULT, *, raw: bool = False) -> None:  # noqa: ANN401
        self.processor, self.text = processor, text
        self.template: str | None = None if raw else getattr(processor, "chat_template", None)

    @property
    def named(self) -> str | None:
        """Which chat template is used, in words; None for none."""
        return None if self.template is None else named_template(self.template)

    def read(self, image: Tensor) -> Mapping[str, Tensor]:
        """Return all that the processor makes of an image, uint8 ``[3, H, W]``, and the text, for a batch of one."""
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
        if self.template is None:
            text = f"{self.processor.image_token}\n{self.text}"
            return dict(self.processor(text=[text], images=[picture], return_tensors="pt"))
        content = [{"type": "image", "image": picture}, {"type": "text", "text": self.text}]
        return dict(
            self.processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        )
