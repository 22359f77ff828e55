"""One teacher-forced forward pass over what was generated, differentiable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from torpor.core.errors import UsageError
from torpor.core.signals import single
from torpor.targets.decoder.generation.fed import Decoded

TINY = 1e-12
"""What is added to squares, so that the norm of zeros has a gradient."""


def step_mask(decoded: Sequence[Decoded], device: torch.device) -> Tensor:
    """Return which steps led to each output, bool ``[B, T]``."""
    lengths = torch.tensor([len(one.ids) for one in decoded], device=device)
    return torch.arange(int(lengths.max()), device=device) < lengths.unsqueeze(1)


def padded_ids(decoded: Sequence[Decoded], device: torch.device) -> Tensor:
    """Return what was generated, int64 ``[B, T]``, zeros after each end."""
    return pad_sequence([torch.tensor(one.ids) for one in decoded], batch_first=True).to(device)


def mean_norms(hidden_states: Sequence[Tensor], first: int) -> Tensor:
    """Return the norm of each position's hidden states from ``first`` on, averaged over layers, ``[B, T]``.

    Args:
        hidden_states: of each layer ``[B, P, D]``, what goes into the first one before them.
        first: position.
    """
    norms = [(single(states[:, first:]).square().sum(-1) + TINY).sqrt() for states in hidden_states[1:]]
    return torch.stack(norms).mean(0)


class SharedEncoder:
    """The encoder's output of one batch, computed once: as the batch is decoded, with the graph that gradients need.

    Args:
        model: one of transformers' encoder-decoder models.
        arguments: what its encoder reads, differentiable.

    Attributes:
        arguments: of a forward pass over the same batch, which does not run the encoder again if it has run by then.
    """

    def __init__(self, model: Any, arguments: dict[str, Tensor]) -> None:  # noqa: ANN401
        self.model, self.arguments = model, dict[str, Any](arguments)
        self._given, self._grad = arguments, torch.is_grad_enabled()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let the first run of the encoder inside, if it is that of the whole batch, be the one that is kept.

        It runs as ever, so that its calls are counted, and what it hands to the decoder is the same.
        """
        encoder = self.model.get_encoder()
        before, own, main = vars(encoder).get("forward"), encoder.forward, encoder.main_input_name

        def forward(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            read, given = (args[0] if args else kwargs.get(main)), self._given.get(main)
            if given is None or read is None or read.shape != given.shape or not torch.equal(read, given):
                return own(*args, **kwargs)
            encoder.forward = own  # what is decoded again, alone, is not the batch
            with torch.set_grad_enabled(self._grad):
                found = own(given, *args[1:], **{name: one for name, one in kwargs.items() if name != main})
            states = found[0]
            self.arguments = {"encoder_outputs": (states,)}
            return type(found)(last_hidden_state=states.detach())

        encoder.forward = forward
        try:
            yield
        finally:
            del encoder.forward
            if before is not None:  # such as that of a model on several devices
                encoder.forward = before


def force_decoder(
    model: Any,  # noqa: ANN401
    arguments: dict[str, Any],
    decoded: Sequence[Decoded],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits ``[B, T, V]``, last hidden states ``[B, T, D]`` and mean norms of an encoder-decoder model.

    Args:
        model: one of transformers' models.
        arguments: what the encoder reads, or ``encoder_outputs``.
        decoded: what was generated.
    """
    starts = torch.tensor([one.start for one in decoded], device=model.device)
    ids = torch.cat([starts, padded_ids(decoded, model.device)[:, :-1]], 1)
    outputs = model(**arguments, decoder_input_ids=ids, use_cache=False, output_hidden_states=True, return_dict=True)
    first = starts.shape[1] - 1
    states = outputs.decoder_hidden_states
    return outputs.logits[:, first:], states[-1][:, first:], mean_norms(states, first)


def force_continuation(
    model: Any,  # noqa: ANN401
    prompts: Tensor,
    embeddings: Tensor,
    mask: Tensor,
    decoded: Sequence[Decoded],
) -> tuple[Tensor, Tensor]:
    """Return logits ``[B, T, V]`` and last hidden states ``[B, T, D]`` of a decoder-only model.

    Args:
        model: one of transformers' models.
        prompts: ids, padded on the left, int64 ``[B, P]``.
        embeddings: of the prompts, ``[B, P, D]``.
        mask: which of them are not padding, int64 ``[B, P]``.
        decoded: what was generated.
    """
    ids, look_up = padded_ids(decoded, model.device)[:, :-1], model.get_input_embeddings()
    vectors = torch.cat([embeddings, look_up(ids).detach()], 1)
    mask = torch.cat([mask, step_mask(decoded, model.device)[:, 1:].to(mask)], 1)
    arguments = {"input_ids": torch.cat([prompts, ids], 1), "attention_mask": mask}
    if takes(model, "position_ids"):
        arguments["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
    steps = ids.shape[1] + 1
    kept = {"logits_to_keep": steps} if takes(model, "logits_to_keep") else {}
    with looked_up(look_up, vectors):
        outputs = model(**arguments, **kept, use_cache=False, output_hidden_states=True, return_dict=True)
    return outputs.logits[:, -steps:], outputs.hidden_states[-1][:, -steps:]


@contextmanager
def looked_up(embedding: nn.Module, vectors: Tensor) -> Iterator[None]:
    """Let a model find ``vectors`` where it looks up the embeddings of the ids that it is given.

    Not as ``inputs_embeds``: Marian and others scale what they look up, but not what they are given, and some take the
    positions from the ids.

    Args:
        embedding: the module that it asks.
        vectors: ``[B, T, D]``, one for each id.

    Raises:
        UsageError: if it does not ask exactly once for as many.
    """
    asked: list[tuple[int, ...]] = []

    def give(module: object, given: object, found: Tensor) -> Tensor:
        asked.append(tuple(found.shape))
        return vectors

    hook = embedding.register_forward_hook(give)
    try:
        yield
    finally:
        hook.remove()
    if asked != [tuple(vectors.shape)]:
        raise UsageError(
            f"expected a model that looks its input up once, as {list(vectors.shape)}, got {asked}; attack it with a "
            "black-box attack"
        )


def takes(model: Any, name: str) -> bool:  # noqa: ANN401
    """Tell whether the model's forward pass knows an argument."""
    import inspect

    return name in inspect.signature(model.forward).parameters
