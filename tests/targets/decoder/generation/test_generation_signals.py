"""Teacher-forced signals: those of step-by-step decoding, gradients included."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from generation_models import KINDS, TEXTS, again, changed, examples, loaded, sentences
from torch import Tensor

from torpor.core.batches import Samples
from torpor.core.signals import StepSignals
from torpor.targets.decoder.generation.dense import DenseGenerationTarget
from torpor.targets.decoder.generation.forcing import force_decoder
from torpor.targets.decoder.generation.library import cache_in, cache_name
from torpor.targets.decoder.generation.prompts import PromptTarget
from torpor.targets.decoder.generation.target import GenerationTarget
from torpor.targets.decoder.generation.texts import TextGenerationTarget

COUNT = 4


def step_by_step(target: GenerationTarget, sample: Samples, ids: list[int]) -> tuple[Tensor, Tensor]:
    """Decode one sample with a cache and with gradients along ``ids``; return logits ``[T, V]`` and the leaf."""
    model = target.model
    if isinstance(target, TextGenerationTarget):
        tokens = torch.tensor(target.reader.rows(sample))
        leaf = target.embedding(tokens).detach().requires_grad_()
        given: dict[str, Any] = {"inputs_embeds": leaf}
    else:
        leaf = sample.detach().clone().requires_grad_()
        given = target.reader(leaf)  # type: ignore[attr-defined]
    if isinstance(target, PromptTarget):
        outputs = model(**given, use_cache=True)
        logits, fed = [outputs.logits[0, -1]], "input_ids"
        kept = {}
    else:
        encoder = model.get_encoder()
        if "inputs_embeds" in given:  # Marian scales what it looks up, but not what it is given
            given["inputs_embeds"] = leaf * getattr(encoder, "embed_scale", 1)
        kept = {"encoder_outputs": encoder(**given, return_dict=True)}
        start = torch.tensor([[target.config.decoder_start_token_id]])
        outputs = model(**kept, decoder_input_ids=start, use_cache=True)
        logits, fed = [outputs.logits[0, -1]], "decoder_input_ids"
    for token in ids[:-1]:
        step = {fed: torch.tensor([[token]])}
        outputs = model(**kept, **step, **{cache_name(): cache_in(outputs)}, use_cache=True)
        logits.append(outputs.logits[0, -1])
    return torch.stack(logits), leaf


def loss(logits: Tensor) -> Tensor:
    """Return something that depends on every score."""
    weights = torch.linspace(-1, 1, logits.shape[-1]) * torch.arange(1, logits.shape[-2] + 1).unsqueeze(1)
    return (logits.log_softmax(-1) * weights).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_step_by_step_decoding(kind: str) -> None:
    target, inputs = loaded(kind), examples(kind, COUNT)
    signals, outcome = target.signals(inputs), target.run(inputs)
    assert isinstance(signals, StepSignals)
    assert signals.work.counts.equal(outcome.work.counts)
    for row, output in enumerate(outcome.outputs):
        length = len(output.ids)
        assert signals.mask[row].sum() == length
        assert signals.ids[row, :length].tolist() == list(output.ids)
        logits, _ = step_by_step(target, inputs[row : row + 1], list(output.ids))
        assert torch.allclose(signals.logits[row, :length], logits, atol=1e-5 * float(logits.detach().abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_step_by_step_decoding(kind: str) -> None:
    """In double precision, where rounding does not blur the comparison."""
    target = again(loaded(kind), kind, copy.deepcopy(loaded(kind).model).double())
    inputs = examples(kind, COUNT)
    leaf = inputs if kind in TEXTS else inputs.double().requires_grad_()
    signals = target.signals(leaf)
    rows = [ids[kept].tolist() for ids, kept in zip(signals.ids, signals.mask, strict=True)]
    total = sum((loss(signals.logits[row, : len(ids)]) for row, ids in enumerate(rows)), torch.zeros(()))
    wrt = signals.embeddings if kind in TEXTS else leaf
    assert wrt is not None
    (gradient,) = torch.autograd.grad(total, wrt)
    for row, ids in enumerate(rows):
        logits, alone = step_by_step(target, leaf[row : row + 1], ids)
        assert torch.allclose(signals.logits[row, : len(ids)], logits, atol=1e-9)
        (wanted,) = torch.autograd.grad(loss(logits), alone)
        found = gradient[row]
        if kind in TEXTS:
            assert signals.input_ids is not None
            found = found[signals.input_ids[row] != target.codec.pad]
        assert found.abs().max() > 0
        assert torch.allclose(found, wanted[0], atol=1e-7 * float(wanted.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_hidden_states_make_the_logits(kind: str) -> None:
    target = loaded(kind)
    signals = target.signals(examples(kind, 3))
    assert signals.hidden is not None
    head = target.model.get_output_embeddings()
    again = head(signals.hidden)
    assert torch.allclose(again[signals.mask], signals.logits[signals.mask], atol=1e-4)


@pytest.mark.parametrize("kind", TEXTS)
def test_signals_of_texts_say_what_was_read(kind: str) -> None:
    target, texts = loaded(kind), sentences(COUNT)
    signals = target.signals(texts)
    assert isinstance(target, TextGenerationTarget)
    assert signals.input_ids is not None
    assert signals.input_mask is not None
    assert signals.embeddings is not None
    assert signals.embeddings.is_leaf
    assert signals.embeddings.requires_grad
    for ids, own, text in zip(signals.input_ids, signals.input_mask, texts, strict=True):
        assert tuple(ids[own].tolist()) == target.codec.encode(text)
    assert torch.equal(target.embedding_matrix()[signals.input_ids], signals.embeddings)
    assert target.decoder_only == (kind in ("gpt2", "llama"))


def test_gradients_reach_waves_and_pixels_and_nothing_else() -> None:
    for kind in ("captioner", "whisper"):
        target, inputs = loaded(kind), examples(kind, 2).requires_grad_()
        signals = target.signals(inputs)
        assert signals.embeddings is signals.input_ids is signals.input_mask is None
        signals.logits.sum().backward()
        assert inputs.grad is not None
        assert (inputs.grad.flatten(1).abs().amax(1) > 0).all()
        assert not any(weight.requires_grad for weight in target.model.parameters())


def test_beams_force_the_sequence_that_won() -> None:
    target, inputs = changed("marian", num_beams=2), examples("marian", 2)
    signals, outcome = target.signals(inputs), target.run(inputs)
    assert signals.mask.sum(1).tolist() == [len(output.ids) for output in outcome.outputs]
    assert signals.work.counts.equal(outcome.work.counts)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_soft_prompts_are_scored_like_hard_ones(kind: str) -> None:
    target, (text,) = loaded(kind), sentences(1)
    assert isinstance(target, PromptTarget)
    rows = target.reader.rows((text,))
    own = target.embedding_matrix()[torch.tensor([target.codec.encode(text)])].requires_grad_()
    logits = target.soft_logits(own)
    assert logits.shape == (1, own.shape[1], target.model.config.vocab_size)
    wanted = target.model(torch.tensor(rows)).logits[:, 1:]
    assert torch.allclose(logits, wanted, atol=1e-4)
    assert torch.allclose(logits[0, -1], target.signals((text,)).logits[0, 0], atol=1e-4)
    logits.sum().backward()
    assert own.grad is not None


@pytest.mark.parametrize("kind", ["captioner", "whisper"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_encoder_of_sounds_and_images_runs_once(kind: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    target = loaded(kind)
    assert isinstance(target, DenseGenerationTarget)
    inputs, encoder, runs = examples(kind, count), target.model.get_encoder(), 0
    assert isinstance(inputs, Tensor)
    layer = next(part for part in encoder.modules() if isinstance(part, torch.nn.ModuleList))[0]

    def count_rows(module: object, given: tuple[Tensor, ...]) -> None:
        nonlocal runs
        runs += len(given[0])

    leaf = inputs.clone().requires_grad_()
    with layer.register_forward_pre_hook(count_rows):
        signals = target.signals(leaf)
    assert runs == count
    assert "forward" not in vars(encoder)
    gradient = torch.autograd.grad(loss(signals.logits), leaf)[0]
    decoded, _ = target._decode(inputs)
    logits, *_ = force_decoder(target.model, target._read(leaf), decoded)
    assert torch.equal(signals.logits, logits)
    assert torch.equal(gradient, torch.autograd.grad(loss(logits), leaf)[0])
    assert gradient.abs().max() > 0
    with torch.no_grad():
        assert torch.equal(target.signals(inputs).logits, logits)
    own = encoder.forward
    monkeypatch.setattr(encoder, "forward", own, raising=False)  # as a model on several devices has it
    target.signals(inputs)
    assert encoder.forward is own
