"""Make targets of transformers' models, given in memory, as a folder, or by their name on the hub."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from torpor.core.errors import DataError, UsageError
from torpor.data.sets import DataSet
from torpor.targets.decoder.generation.chat import ChatCodec
from torpor.targets.decoder.generation.codec import HuggingFaceCodec
from torpor.targets.decoder.generation.dense import DenseGenerationTarget
from torpor.targets.decoder.generation.fit import check_ids
from torpor.targets.decoder.generation.foreign import quietly
from torpor.targets.decoder.generation.library import check_library
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.decoder.generation.readers import DenseReader, ImageReader, LogMelReader
from torpor.targets.decoder.generation.saved import SavedModel
from torpor.targets.decoder.generation.texts import SourceTarget
from torpor.targets.model_options import Options

VISION_LANGUAGE = ("idefics3", "smolvlm", "llava", "llava_next", "qwen2_vl", "qwen2_5_vl")
"""Types of models of images and texts."""

if TYPE_CHECKING:
    from torpor.targets.decoder.generation.target import GenerationTarget


def from_transformers(
    model: Any,  # noqa: ANN401 - transformers' own classes
    tokenizer_or_processor: Any,  # noqa: ANN401
    *,
    name: str | None = None,
    data: Callable[[Path | None], DataSet] | None = None,
    raw: bool = False,
    prompt: str | None = None,
    image_size: tuple[int, int] | None = None,
    seconds: float | None = None,
) -> GenerationTarget:
    """Make a target of a model that generates texts: from texts, from images, from both, or from speech (Whisper).

    It is decoded as its generation config says; see :class:`~torpor.targets.decoder.generation.GenerationTarget`.
    Texts go through the chat template where the tokenizer has one, as user's turns; see
    :class:`~torpor.targets.decoder.generation.chat.ChatCodec`. Else they are taken as they are: no task prefix.

    Args:
        model: one of transformers' models with a language head.
        tokenizer_or_processor: the tokenizer that belongs to it; for images and speech a processor with a tokenizer
            and an image processor or feature extractor.
        name: shown in reports; the name that the model was loaded by if None.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None).
        raw: leave the chat template out.
        prompt: text beside each image that a vision-language model reads; ``"Describe the image."`` if None.
        image_size: height and width of these images; what the model was made for if None.
        seconds: that recordings take, where Whisper is to read more than one window; one window if None.

    Raises:
        UsageError: if the model reads something else, its deployment cannot be repeated exactly, or transformers is of
            a version that torpor does not know.
        MeterError: if its FLOPs cannot be counted, or are not linear in torpor's units.
    """
    tokenizer = getattr(tokenizer_or_processor, "tokenizer", tokenizer_or_processor)
    if tokenizer is None or not hasattr(tokenizer, "all_special_ids"):
        raise UsageError(
            f"expected a tokenizer, or a processor with one, got {type(tokenizer_or_processor).__name__}; load it from "
            "where the model is from"
        )
    check_library(importlib.import_module("transformers"))
    codec = HuggingFaceCodec(tokenizer)
    name = name or Path(model.config.name_or_path or type(model).__name__).name
    if model.config.model_type in VISION_LANGUAGE:
        from torpor.targets.decoder.generation.vision import kinds
        from torpor.targets.decoder.generation.vision.target import VisionLanguageTarget

        reader = kinds.vision_reader(model, tokenizer_or_processor, text=prompt, size=image_size, raw=raw)
        return VisionLanguageTarget(model, codec, reader, name=name, data=data)
    if prompt is not None or image_size is not None:
        raise UsageError(
            f"expected a model of images and texts ({', '.join(VISION_LANGUAGE)}) with a prompt or an image size, got "
            f"{model.config.model_type}; leave them out"
        )
    if seconds is not None and model.config.model_type != "whisper":
        raise UsageError(f"expected Whisper with seconds={seconds:g}, got {model.config.model_type}; leave seconds out")
    modalities = model.input_modalities
    # text models of a family that also sees name what the family reads
    textual = modalities in ("text", ["text"], ("text",)) or model.config.get_text_config() is model.config
    if textual and model.main_input_name == "input_ids":
        kind = SourceTarget if model.config.is_encoder_decoder else PromptTarget
        if getattr(tokenizer, "chat_template", None) and not raw:
            codec = ChatCodec(tokenizer)
        return kind(model, codec, name=name, data=data)
    dense = _reader(model, tokenizer_or_processor)
    if seconds is not None and isinstance(dense, LogMelReader) and seconds > dense.seconds:
        from torpor.targets.decoder.generation.long_form import LongFormTarget

        return LongFormTarget(model, codec, dense, seconds=seconds, name=name, data=data)
    return DenseGenerationTarget(model, codec, dense, name=name, data=data)


def _reader(model: Any, processor: Any) -> DenseReader:  # noqa: ANN401
    kind = model.config.model_type
    if kind == "vision-encoder-decoder":
        encoder, part = model.config.encoder, getattr(processor, "image_processor", None)
        if part is None:
            raise UsageError(
                "expected a processor with an image processor, got none; load it from where the model is from"
            )
        side = encoder.image_size
        size = (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
        return ImageReader(part, encoder.num_channels, size)
    if kind == "whisper":
        part = getattr(processor, "feature_extractor", None)
        if part is None:
            raise UsageError(
                "expected a processor with a feature extractor, got none; load it from where the model is from"
            )
        return LogMelReader(part, 2 * model.config.max_source_positions)
    raise UsageError(
        f"expected a model of texts, of images and texts ({', '.join(VISION_LANGUAGE)}), a vision-encoder-decoder or "
        f"Whisper, got {kind}; write a StepTarget for it"
    )


def load_pretrained(name: str, *, data: Callable[[Path | None], DataSet] | None = None) -> GenerationTarget:
    """Make a target of a saved model: a local folder, or a name on the hub unless ``HF_HUB_OFFLINE`` is set.

    Weights are read from safetensors only, no code that comes with a model is ever run, and nothing that a local folder
    names is fetched. A folder whose files are damaged, contradict each other, or do not fit the model is refused.

    Args:
        name: of the folder or on the hub, or of a GGUF file; options may follow, as in ``NAME:cap=64:dtype=bfloat16``,
            see :class:`~torpor.targets.model_options.Options`.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None).

    Raises:
        UsageError: if there is no such model, it is quantized or needs kernels of its own, or transformers is missing
            or of a version that torpor does not know.
        DataError: if a part of it is missing, damaged, or does not fit the others.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise UsageError(f"expected transformers for hf:{name}, got {error}; pip install 'torpor[language]'") from error
    check_library(transformers)
    name, options = Options.split(name)
    folder = Path(name).expanduser()
    local = folder.is_dir()
    if not local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise UsageError(f"expected a folder with a saved model, got {name}: no such folder; check the path")
    saved = SavedModel(
        transformers,
        str(folder) if local else name,
        local=local,
        online=not local and _hub_answers(name),
        loading=options.loading(transformers),
        gguf=options.gguf,
    )
    with quietly(transformers, offline=local):
        config = saved.config()
        model = saved.model(_model_class(config), config)
        parts = _parts(saved, config.model_type)
        check_ids(parts.tokenizer.get_vocab().values(), saved.vocabulary(config))
        with saved.reading():
            target = from_transformers(
                model, parts, name=folder.name if local else name, data=data, raw=options.raw, **options.seeing
            )
            if options.cap is not None:
                target = target.with_cap(options.cap)
            _rehearse(target)
    if options.cap is options.devices is None and not (saved.deployment_is_saved and saved.capped):
        lacking = "a limit of new tokens in it" if saved.deployment_is_saved else "one"
        warnings.warn(
            f"expected generation_config.json in {saved.place} to say how the model is deployed, got no file with "
            f"{lacking}: what holds is a cap of {target.cap} new tokens, as config.json or else transformers says",
            stacklevel=2,
        )
    target.deployment = saved.source if options.cap is None else f"{saved.source}, with a cap of the user's"
    return target


def _rehearse(target: GenerationTarget) -> None:
    """Decode one token as deployed, so that what transformers refuses only then is refused before an audit."""
    draws = [torch.Generator().manual_seed(0)]
    target.decoder.decode(
        lambda chunk: target._example(target._tried),
        [[0]],
        [1],
        (lambda chunk: draws) if target.decoder.samples else None,
    )


def _hub_answers(name: str) -> bool:
    """Ask the hub once whether it has a model; transformers would ask for half a minute before it gave up."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    hub: Any = importlib.import_module("huggingface_hub")
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(name, "config.json"))
    except Exception as error:  # of whichever library speaks HTTP for this version of the hub's
        return isinstance(error, hub.errors.HfHubHTTPError | hub.errors.HFValidationError)
    return True


def _model_class(config: Any) -> Any:  # noqa: ANN401
    """Return the class with a language head that the configuration names, or that transformers chooses for it."""
    transformers: Any = importlib.import_module("transformers")
    modeling_auto: Any = importlib.import_module("transformers.models.auto.modeling_auto")
    for architecture in config.architectures or ():
        found: Any = getattr(transformers, architecture, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel) and hasattr(found, "generate"):
            wanted = getattr(found, "config_class", None)
            if wanted is not None and not isinstance(config, wanted):
                raise DataError(
                    f"expected a configuration of {architecture} in config.json, got one of {config.model_type}; load "
                    "the one that belongs to the model"
                )
            return found
    mappings = (
        ()
        if config.architectures
        else (
            (transformers.AutoModelForSpeechSeq2Seq, modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES),
            (transformers.AutoModelForSeq2SeqLM, modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
            (transformers.AutoModelForImageTextToText, modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
            (transformers.AutoModelForCausalLM, modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        )
    )
    for automatic, names in mappings:
        if config.model_type in names:
            return automatic
    raise UsageError(
        f"expected a model that generates, got {', '.join(config.architectures or [config.model_type])}; choose another"
    )


def _parts(saved: SavedModel, model_type: str) -> Any:  # noqa: ANN401
    """Return the processor of a model of images and texts, or what a processor is made of."""
    parts = _Parts(saved, model_type)
    if model_type not in VISION_LANGUAGE:
        return parts
    from torpor.targets.decoder.generation.vision.kinds import made_processor

    transformers: Any = importlib.import_module("transformers")
    with saved.reading():
        settings = transformers.ProcessorMixin.get_processor_dict(saved.place, **saved.options)[0]
        return made_processor(model_type, parts.image_processor, parts.tokenizer, settings)


class _Parts:
    """Whatever of tokenizer, image processor and feature extractor a saved model needs.

    Args:
        saved: the model's files.
        model_type: as its configuration names it.

    Raises:
        UsageError: if one of them is missing.
    """

    tokenizer: Any
    image_processor: Any

    def __init__(self, saved: SavedModel, model_type: str) -> None:
        transformers: Any = importlib.import_module("transformers")
        wanted = {"tokenizer": transformers.AutoTokenizer}
        kinds = {
            "tokenizer": transformers.PreTrainedTokenizerBase,
            "image_processor": transformers.BaseImageProcessor,
            "feature_extractor": transformers.SequenceFeatureExtractor,
        }
        if model_type == "vision-encoder-decoder" or model_type in VISION_LANGUAGE:
            wanted["image_processor"] = transformers.AutoImageProcessor
        elif model_type == "whisper":
            wanted["feature_extractor"] = transformers.AutoFeatureExtractor
        for part, automatic in wanted.items():
            setattr(self, part, saved.part(part.replace("_", " "), automatic, kinds[part]))
