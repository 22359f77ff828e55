"""Make targets of transformers' models, given in memory, as a folder, or by their name on the hub."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torpor.core.errors import DataError, UsageError
from torpor.data.sets import DataSet
from torpor.targets.generation.codec import HuggingFaceCodec
from torpor.targets.generation.dense import DenseGenerationTarget
from torpor.targets.generation.prompts import PromptTarget
from torpor.targets.generation.readers import DenseReader, ImageReader, LogMelReader
from torpor.targets.generation.texts import SourceTarget

if TYPE_CHECKING:
    from torpor.targets.generation.target import GenerationTarget

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


def from_transformers(
    model: Any,  # noqa: ANN401 - transformers' own classes
    tokenizer_or_processor: Any,  # noqa: ANN401
    *,
    name: str | None = None,
    data: Callable[[Path | None], DataSet] | None = None,
) -> GenerationTarget:
    """Make a target of a model that generates texts: from texts, from images, or from speech (Whisper).

    It is decoded as its generation config says; see :class:`~torpor.targets.generation.GenerationTarget`. Prompts are
    taken as they are: no chat template, no task prefix.

    Args:
        model: one of transformers' models with a language head.
        tokenizer_or_processor: the tokenizer that belongs to it; for images and speech a processor with a tokenizer
            and an image processor or feature extractor.
        name: shown in reports; the name that the model was loaded by if None.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None).

    Raises:
        UsageError: if the model reads something else, or its deployment cannot be repeated exactly.
        MeterError: if its FLOPs cannot be counted, or are not linear in torpor's units.
    """
    tokenizer = getattr(tokenizer_or_processor, "tokenizer", tokenizer_or_processor)
    if tokenizer is None or not hasattr(tokenizer, "all_special_ids"):
        raise UsageError(
            f"expected a tokenizer, or a processor with one, got {type(tokenizer_or_processor).__name__}; load it from "
            "where the model is from"
        )
    codec = HuggingFaceCodec(tokenizer)
    name = name or Path(model.config.name_or_path or type(model).__name__).name
    modalities = model.input_modalities
    # text models of a family that also sees name what the family reads
    textual = modalities in ("text", ["text"], ("text",)) or model.config.get_text_config() is model.config
    if textual and model.main_input_name == "input_ids":
        kind = SourceTarget if model.config.is_encoder_decoder else PromptTarget
        return kind(model, codec, name=name, data=data)
    return DenseGenerationTarget(model, codec, _reader(model, tokenizer_or_processor), name=name, data=data)


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
        f"expected a model of texts, a vision-encoder-decoder or Whisper, got {kind}; write a StepTarget for it"
    )


def load_pretrained(name: str, *, data: Callable[[Path | None], DataSet] | None = None) -> GenerationTarget:
    """Make a target of a saved model: a local folder, or a name on the hub unless ``HF_HUB_OFFLINE`` is set.

    Weights are read from safetensors only, and no code that comes with a model is ever run.

    Args:
        name: of the folder or on the hub.
        data: makes the data to audit on from the user's ``--data-dir`` (a path or None).

    Raises:
        UsageError: if there is no such model, or transformers is missing.
        DataError: if its folder lacks a part.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise UsageError(f"expected transformers for hf:{name}, got {error}; pip install 'torpor[language]'") from error
    folder = Path(name).expanduser()
    local = folder.is_dir()
    if local:
        _check_folder(folder)
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UsageError(f"expected a folder with a saved model, got {name}: no such folder; check the path")
    offline = local or not _hub_answers(name)
    options = {"local_files_only": offline, "trust_remote_code": False}
    place = str(folder) if local else name
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(place, **options)
        model = _model_class(config).from_pretrained(place, use_safetensors=True, **options)
    except (OSError, ValueError, KeyError) as error:
        wanted = "a saved model" if local else "a local folder or the name of a model on the hub"
        absent = offline and not local and isinstance(error, OSError)
        got = (
            "no such folder, no safetensors in the cache, and the hub is out of reach" if absent else _first_line(error)
        )
        raise UsageError(f"expected {wanted}, got {name}: {got}; check it") from error
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
    processor = _Parts(place, options, config.model_type)
    return from_transformers(model, processor, name=folder.name if local else name, data=data)


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


def _check_folder(folder: Path) -> None:
    """Refuse folders that lack a configuration or safe weights."""
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"expected config.json in {folder}, got: {error}; save the model with save_pretrained"
        ) from error
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        found = f"only {pickles[0]}, which may run code when it is read" if pickles else "no weights"
        raise DataError(f"expected weights as safetensors in {folder}, got {found}; save the model again")


def _model_class(config: Any) -> Any:  # noqa: ANN401
    """Return the class with a language head that the configuration names, or that transformers chooses for it."""
    transformers: Any = importlib.import_module("transformers")
    modeling_auto: Any = importlib.import_module("transformers.models.auto.modeling_auto")
    for architecture in config.architectures or ():
        found = getattr(transformers, architecture, None)
        if found is not None and hasattr(found, "generate"):
            return found
    mappings = (
        ()
        if config.architectures
        else (
            (transformers.AutoModelForSpeechSeq2Seq, modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES),
            (transformers.AutoModelForSeq2SeqLM, modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
            (transformers.AutoModelForCausalLM, modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        )
    )
    for automatic, names in mappings:
        if config.model_type in names:
            return automatic
    raise UsageError(
        f"expected a model that generates, got {', '.join(config.architectures or [config.model_type])}; choose another"
    )


class _Parts:
    """Whatever of tokenizer, image processor and feature extractor a saved model needs.

    Args:
        place: folder or name.
        options: how to load.
        model_type: as its configuration names it.

    Raises:
        UsageError: if one of them is missing.
    """

    def __init__(self, place: str, options: dict[str, Any], model_type: str) -> None:
        transformers: Any = importlib.import_module("transformers")
        wanted = {"tokenizer": transformers.AutoTokenizer}
        if model_type == "vision-encoder-decoder":
            wanted["image_processor"] = transformers.AutoImageProcessor
        elif model_type == "whisper":
            wanted["feature_extractor"] = transformers.AutoFeatureExtractor
        for part, automatic in wanted.items():
            try:
                setattr(self, part, automatic.from_pretrained(place, **options))
            except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
                what = part.replace("_", " ")
                raise UsageError(
                    f"expected a {what} in {place}, got none: {_first_line(error)}; save it there"
                ) from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.:;') if lines else ''}"
