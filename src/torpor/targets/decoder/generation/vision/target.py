"""Targets that look at an image, read a fixed text, and answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from torpor.targets.decoder.generation.dense import DenseGenerationTarget
from torpor.targets.decoder.generation.fed import Decoded, Fed
from torpor.targets.decoder.generation.forcing import looked_up, mean_norms, padded_ids, step_mask, takes
from torpor.targets.decoder.generation.vision.layout import ImageLayout
from torpor.targets.decoder.generation.vision.prompt import PIXELS
from torpor.targets.decoder.generation.vision.reader import VisionReader, lengthened

TEXTUAL = ("input_ids", "attention_mask", "mm_token_type_ids")
"""Arguments of the decoder; all others are the vision encoder's."""


class VisionLanguageTarget(DenseGenerationTarget):
    """A vision encoder, whose tokens stand in a decoder's prompt, such as SmolVLM, LLaVA and Qwen2.5-VL.

    All images have one size, which decides how many tiles or patches and tokens they become; see :meth:`details`.

    Args:
        model: one of transformers' models.
        codec: the tokenizer of what is generated.
        reader: what turns images into the model's arguments.
        name: shown in reports.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None).
    """

    reader: VisionReader
    farthest = ImageLayout.farthest
    _tried = 0
    _settled = False

    @override
    def _layout(self) -> ImageLayout:  # type: ignore[override]
        shown = tuple(map(self.reader.shown, range(len(self.reader.cases))))
        names = tuple(self.reader.preprocessor.counts(self.reader.size))
        return ImageLayout(names, shown, windows=self._outgrown())

    @override
    def _possible(self, length: int, steps: int) -> bool:
        if not 0 <= length < len(self.reader.cases):
            return False
        return self.positions is None or self.reader.shown(length).tokens + steps - 1 <= self.positions

    @override
    def _example(self, length: int, *, varied: bool = False) -> Fed:
        given = self.reader.example(length, self.codec.ordinary, varied=varied)
        return Fed(self._as_model({name: value.to(self.device) for name, value in given.items()}))

    @override
    def _force(self, length: int, steps: int, varied: bool) -> None:
        same = self.reader.cases[length][0] == self.reader.size
        self.decoder.force(self._example(length, varied=varied), steps, learn=same)

    @property
    @override
    def most(self) -> int:
        return super().most + 1  # nothing is kept free

    @override
    def _settle(self) -> None:
        self._settled = False  # reading images takes long, and a batch of one has no neighbors

    @override
    def _decode(self, inputs: Tensor) -> tuple[list[Decoded], list[int]]:
        if len(inputs) > 1 and not self._settled:
            super()._settle()
            self._settled = True
        return super()._decode(inputs)

    @override
    def rows_at_once(self, length: int) -> int:
        return super().rows_at_once(self.decoder.start)

    @override
    def _forced(self, inputs: Tensor, decoded: Sequence[Decoded]) -> tuple[Tensor, Tensor, Tensor]:
        ids, look_up = padded_ids(decoded, self.device)[:, :-1], self.model.get_input_embeddings()
        read = self._read(inputs)
        vectors = look_up(torch.cat([read["input_ids"], ids], 1)).detach()
        named = [getattr(self.model.config, f"{what}_token_id", None) for what in ("image", "video")]
        stand_ins = torch.tensor([number for number in named if number is not None], device=ids.device)
        # where it wrote such a token, the model would look for one more image
        given = lengthened(read, ids.masked_fill(torch.isin(ids, stand_ins), self.codec.ordinary))
        if "attention_mask" in given:
            width = given["attention_mask"].shape[1] - ids.shape[1]
            seen = step_mask(decoded, self.device)[:, 1:].to(given["attention_mask"])
            given["attention_mask"] = torch.cat([given["attention_mask"][:, :width], seen], 1)
        steps = ids.shape[1] + 1
        kept = {"logits_to_keep": steps} if takes(self.model, "logits_to_keep") else {}
        with looked_up(look_up, vectors):
            outputs = self.model(**given, **kept, use_cache=False, output_hidden_states=True, return_dict=True)
        states = outputs.hidden_states
        return outputs.logits[:, -steps:], states[-1][:, -steps:], mean_norms(states, -steps)

    @override
    def features(self, inputs: Tensor) -> Tensor:
        """Return the mean of the tokens that stand for each image, ``[B, D]``."""
        given = {name: value for name, value in self._read(inputs).items() if name not in TEXTUAL}
        found = self.model.get_image_features(given.pop(PIXELS), **given, return_dict=True).pooler_output
        found = found if isinstance(found, Tensor) else torch.cat([one.flatten(0, -2) for one in found])
        return found.reshape(len(inputs), -1, found.shape[-1]).mean(1)

    @override
    def details(self) -> dict[str, Any]:
        layout, (height, width) = self._layout(), self.reader.size
        shown = layout.cases[0]
        image = {"width": width, "height": height, **dict(zip(layout.vision, shown.vision, strict=True))}
        return {
            **super().details(),
            "prompt": self.reader.prompt.text,
            "chat_template": self.reader.prompt.named,
            "image": {**image, "image_tokens": shown.image_tokens, "tokens": shown.tokens},
        }
