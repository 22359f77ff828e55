"""Teach a model of transformers the true next token: resumable, the same weights for the same seed; save and judge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from torpor.core.errors import UsageError
from torpor.data.sets import DataSet
from torpor.targets.decoder.generation import GenerationTarget, load_pretrained
from torpor.training.checkpoint import Checkpoint
from torpor.training.decoders import judge
from torpor.training.loop import Draw, LoopRecipe, Progress, begin, decayed, run_epochs, silent
from torpor.zoo.entry import save_card

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Model = TypeVar("Model", bound=PreTrainedModel)

Lesson = Callable[[Any], tuple[Tensor, Tensor]]
"""Ask a model for the logits ``[N, V]`` of all next tokens of a batch, and return them with the true ones ``[N]``."""


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe(LoopRecipe):
    """How a model is taught: AdamW, one cycle of learning rates.

    Attributes:
        learning_rate: peak.
        warmup: share of the training over which the learning rate rises; then it falls to 0 as a cosine.
        weight_decay: of matrices.
        dropout: of embeddings and of what each block adds.
        label_smoothing: of every target but the end token, so that models end sharply.
        clip: largest norm of the gradient.
        bfloat16: compute in half the bits; for very narrow models, converting costs more than it saves.
    """

    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    label_smoothing: float = 0.1
    clip: float = 1.0
    bfloat16: bool = True


def check_packages(name: str) -> None:
    """Refuse to train ``name`` where a package is missing.

    Raises:
        UsageError: if one is.
    """
    for package in ("transformers", "tokenizers", "sacrebleu"):
        if find_spec(package) is None:
            raise UsageError(f"expected {package} to train {name}, got none; pip install 'torpor[language]'")


def smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float, eos: int) -> Tensor:
    """Return the mean cross-entropy, smoothed where the label is not the end token."""
    scores = logits.log_softmax(-1)
    right = -scores.gather(1, labels.unsqueeze(1)).squeeze(1)
    share = smoothing * (labels != eos)
    return (right * (1 - share) - scores.mean(-1) * share).mean()


def fit(
    build: Callable[[], Model],
    lessons: Draw[Lesson],
    data: str,
    recipe: TeacherRecipe,
    checkpoint: Path,
    *,
    device: str = "cpu",
    progress: Progress = silent,
    further: Callable[[Model], Tensor] | None = None,
) -> tuple[Model, float]:
    """Train from scratch, or from ``checkpoint`` where an interrupted run of the same recipe on the same data left one.

    Args:
        build: makes the untrained model.
        lessons: returns what it learns from in an epoch; all have as many.
        data: a fingerprint of the data.
        recipe: how it is taught.
        checkpoint: is replaced after every epoch.
        device: where to train.
        progress: see :data:`~torpor.training.loop.Progress`.
        further: a loss that is added after each lesson, such as one that balances experts.

    Returns:
        The trained model in evaluation mode, and the seconds that its training took.

    Raises:
        UsageError: if the checkpoint is damaged, or of another training that is not finished.
    """
    model = begin(build, recipe.seed, device)
    deployed = model.config._attn_implementation
    model.set_attn_implementation("eager")  # for short texts on a CPU a training step takes a quarter less
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}

    def loss(lesson: Lesson, epoch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        with torch.autocast(model.device.type, torch.bfloat16, recipe.bfloat16):
            logits, labels = lesson(model)
        found = smoothed_loss(logits, labels, recipe.label_smoothing, int(model.config.eos_token_id))
        return (found if further is None else found + further(model)), found

    groups = decayed(weights.values(), recipe.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
    plan = {**asdict(recipe), "model": json.loads(model.config.to_json_string()), "data": data}
    state = Checkpoint(checkpoint, plan, weights, [optimizer])
    seconds = run_epochs(model, state, recipe, lessons, loss, warmup=recipe.warmup, clip=recipe.clip, progress=progress)
    model.set_attn_implementation(deployed)
    return model, seconds


def save_pretrained(
    name: str,
    model: PreTrainedModel,
    parts: Sequence[Any],
    data: DataSet,
    recipe: TeacherRecipe,
    folder: Path,
    seconds: float,
    judged: Callable[[GenerationTarget], dict[str, Any]] = lambda target: {},
) -> Path:
    """Write model and decoding configuration in Hugging Face's layout, weights in half precision, and a card beside.

    The scores on the test split are those of what was written. The configuration asks for single precision, which
    is what users of the folder then compute in.

    Args:
        name: of the folder and of the card.
        model: trained.
        parts: tokenizer and, if there is one, feature extractor.
        data: whose test split is reported.
        recipe: how the model was taught.
        folder: for both.
        seconds: that the training took.
        judged: returns further scores for the card.

    Returns:
        The path of the card, ``NAME.json`` in ``folder``.
    """
    from transformers import __version__ as transformers_version

    home, card = folder / name, folder / f"{name}.json"
    card.unlink(missing_ok=True)  # it is written last: where it lies, the model is whole
    home.mkdir(parents=True, exist_ok=True)
    halves = {
        key: value.detach().cpu().half().contiguous() for key, value in model.named_parameters() if value.requires_grad
    }
    save_file(halves, home / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures, model.config.dtype = [type(model).__name__], "float32"
    for part in (model.config, model.generation_config, *parts):
        part.save_pretrained(home)
    target = load_pretrained(str(home))
    content = {
        "name": name,
        "parameters": sum(value.numel() for value in halves.values()),
        "vocabulary": target.codec.size,
        "data": data.fingerprint(),
        "test": {**judged(target), **judge(target, data, "test")},
        "recipe": asdict(recipe),
        "seconds": round(seconds, 1),
        "torch": torch.__version__,
        "transformers": transformers_version,
        "sha256": hashlib.sha256((home / "model.safetensors").read_bytes()).hexdigest(),
    }
    return save_card(card, content)
