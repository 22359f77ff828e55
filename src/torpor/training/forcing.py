"""Teacher forcing: what a model of transformers predicts for every token of a true output, given those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from torpor.training.slips import FLAWLESS, Slips
from torpor.zoo.language.tokenizer import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from torpor.zoo.language.architectures import LanguageModel

IGNORED = -100  # a label that is padding


def teacher_forced(model: LanguageModel, pairs: Sequence[Pair], slips: Slips = FLAWLESS) -> tuple[Tensor, Tensor]:
    """Return the logits ``[N, V]`` of all true next tokens of all targets, the end included, and these ``[N]``.

    Args:
        model: to be taught.
        pairs: tokens of sources and targets.
        slips: mistakes in the tokens so far.
    """
    targets = [target for _, target in pairs]
    if not model.config.is_encoder_decoder:
        return answer_logits(model, targets, "input_ids", slips)
    pad, _, _ = _special(model)
    ids = _padded([source for source, _ in pairs], pad).to(model.device)
    return answer_logits(model, targets, "decoder_input_ids", slips, input_ids=ids, attention_mask=ids != pad)


def answer_logits(
    model: PreTrainedModel, answers: Sequence[list[int]], given_as: str, slips: Slips = FLAWLESS, **read: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the logits ``[N, V]`` of all true next tokens of ``answers``, the end included, and these ``[N]``.

    Args:
        model: with a language head.
        answers: their tokens, without start and end.
        given_as: name of the model's argument for the tokens so far.
        slips: mistakes in the tokens so far.
        **read: the model's other arguments.
    """
    pad, bos, eos = _special(model)
    given = _padded([[bos, *answer] for answer in answers], pad).to(model.device)
    given = slips(given, model.config.vocab_size)
    labels = _padded([[*answer, eos] for answer in answers], IGNORED).to(model.device)
    arguments = {**read, given_as: given}  # padded after the end: no token looks ahead
    hidden = model.base_model(**arguments, use_cache=False).last_hidden_state
    real = labels != IGNORED
    logits: Tensor = model.get_output_embeddings()(hidden[real]).float()  # type: ignore[no-untyped-call]
    return logits, labels[real]


def _special(model: PreTrainedModel) -> tuple[int, ...]:
    """Return the ids of padding, start and end."""
    return tuple(int(getattr(model.config, f"{name}_token_id")) for name in ("pad", "bos", "eos"))


def _padded(rows: list[list[int]], value: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)
