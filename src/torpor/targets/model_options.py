"""How a saved model is to be loaded and deployed, where not as its files have it: ``hf:NAME:cap=64:dtype=bfloat16``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

from torpor.core.errors import UsageError
from torpor.core.registry import MARK, Spec, typed

BITS = (4, 8)
DTYPES = ("float32", "bfloat16", "float16")
SIZE = re.compile("[1-9][0-9]{0,3}x[1-9][0-9]{0,3}")
MOST_SECONDS = 24 * 3600
DRAFTS = 5
"""Tokens per round that an assistant drafts by default."""
MOST_PIXELS = 1 << 24
"""Of an image: preprocessing takes some hundred bytes for each."""


@dataclass(frozen=True)
class Options:
    """What a user asks for beside the files of a saved model; None for what the files have.

    Attributes:
        cap: tokens that are generated at most.
        dtype: type that weights are computed in.
        raw: leave the chat template out.
        device_map: how accelerate lays the model's parts on devices, such as ``auto``.
        bits: of weights that bitsandbytes quantizes, 4 or 8.
        gguf: the file of GGUF in the folder that the weights are from.
        prompt: the text beside each image that a vision-language model reads; ``%3A`` stands for a colon.
        image_size: of these images, such as ``640x480``, the width first.
        seconds: of the recordings that Whisper reads in several windows.
        assistant: folder or name of a smaller model of the same tokenizer that drafts for this one; ``%3A`` stands for
            a colon.
        lookup: tokens per round that are looked up in the prompt and the output so far, instead of an assistant:
            transformers' ``prompt_lookup_num_tokens``.
        drafts: tokens per round that the assistant drafts.
        devices: that the experts of a mixture lie on, as many on each: prompts are read, and the busiest one counts.

    Raises:
        UsageError: if one cannot be, or needs a package that is not installed.

    >>> name, options = Options.split("model:cap=64:raw=true")
    >>> name, options.cap, options.raw
    ('model', 64, True)
    >>> Options(image_size="640x480").size
    (480, 640)
    """

    cap: int | None = None
    dtype: str | None = None
    raw: bool = False
    device_map: str | None = None
    bits: int | None = None
    gguf: str | None = None
    prompt: str | None = None
    image_size: str | None = None
    seconds: float | None = None
    assistant: str | None = None
    lookup: int | None = None
    drafts: int | None = None
    devices: int | None = None

    def __post_init__(self) -> None:
        if self.cap is not None and self.cap < 1:
            raise UsageError(f"expected a cap of 1 token or more, got {self.cap}")
        if self.dtype not in (None, *DTYPES):
            raise UsageError(f"expected weights in {' or '.join(DTYPES)}, got dtype={self.dtype}")
        if self.bits not in (None, *BITS):
            raise UsageError(f"expected weights of 4 or 8 bits, got bits={self.bits}")
        if self.image_size is not None and SIZE.fullmatch(self.image_size) is None:
            raise UsageError(f"expected a width and a height such as 640x480, got image_size={self.image_size}")
        if self.size is not None and math.prod(self.size) > MOST_PIXELS:
            raise UsageError(f"expected {MOST_PIXELS:,} pixels at most, got image_size={self.image_size}; choose less")
        if self.seconds is not None and not 0 < self.seconds <= MOST_SECONDS:
            raise UsageError(f"expected recordings of up to {MOST_SECONDS:,} seconds, got seconds={self.seconds}")
        self._check_drafting()
        if self.bits is not None and self.gguf is not None:
            raise UsageError("expected bits or gguf, got both; GGUF files are quantized already, leave bits out")
        for name, wanted, package in (
            ("device_map", self.device_map, "accelerate"),
            ("bits", self.bits, "bitsandbytes"),
            ("gguf", self.gguf, "gguf"),
            ("gguf", self.gguf, "accelerate"),
        ):
            if wanted is not None and find_spec(package) is None:
                raise UsageError(f"expected {package} for {name}={wanted}, got none; pip install {package}")

    def _check_drafting(self) -> None:
        if self.assistant is not None and self.lookup is not None:
            raise UsageError("expected assistant or lookup, got both; choose what drafts")
        if self.drafts is not None and self.assistant is None:
            raise UsageError(f"expected an assistant beside drafts={self.drafts}, got none; name it, or use lookup")
        if self.devices is not None and (self.guesses, self.cap) != (None, None):
            raise UsageError(
                f"expected devices={self.devices} without assistant, lookup or cap, got one; prompts are read, nothing "
                "is written"
            )

    @classmethod
    def split(cls, text: str) -> tuple[str, Self]:
        """Return the name of a model and the options after it; a file of GGUF is one in its folder.

        Raises:
            UsageError: on an option that there is none of, or a value that it cannot have.
        """
        parts = [text] if Path(text).expanduser().is_dir() else text.split(MARK)
        given = next((at for at in range(1, len(parts)) if all(map(_is_option, parts[at:]))), len(parts))
        name = MARK.join(parts[:given])
        options = dict(Spec.of("hf", MARK.join(parts[given:])).options)
        path = Path(name).expanduser()
        if path.suffix == ".gguf" and path.is_file():
            name, options = str(path.parent), {"gguf": path.name} | options
        elif path.is_dir() and "gguf" not in options and not (path / "config.json").exists():
            found = sorted(each.name for each in path.glob("*.gguf"))
            if len(found) > 1:
                raise UsageError(
                    f"expected one GGUF file in {name}, got {len(found)}; name one, as in hf:{path / found[0]}"
                )
            options |= {"gguf": found[0]} if found else {}
        return name, cls(**typed(cls, options, "hf"))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of images; None for what the model was made for."""
        if self.image_size is None:
            return None
        width, height = map(int, self.image_size.split("x"))
        return height, width

    @property
    def seeing(self) -> Mapping[str, Any]:
        """What is asked for that only models of images and texts, or of sounds, have."""
        text = None if self.prompt is None else unquote(self.prompt)
        asked = {"prompt": text, "image_size": self.size, "seconds": self.seconds}
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def guesses(self) -> int | None:
        """Tokens per round that something drafts; None without."""
        return (self.drafts or DRAFTS) if self.assistant is not None else self.lookup

    def loading(self, transformers: Any) -> Mapping[str, Any]:  # noqa: ANN401 - the library
        """Return what ``from_pretrained`` of the model takes for these."""
        found: dict[str, Any] = {}
        if self.dtype is not None:
            found["dtype"] = self.dtype
        if self.device_map is not None:
            found["device_map"] = self.device_map
        if self.bits is not None:
            found["quantization_config"] = transformers.BitsAndBytesConfig(**{f"load_in_{self.bits}bit": True})
        return found


def _is_option(part: str) -> bool:
    key, equals, _ = part.partition("=")
    return bool(equals) and key.isidentifier()
